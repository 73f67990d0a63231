// Bytes that a former owner sent and the client holds out of order (SACK) must count as sent in a rebuilt socket: the
// client's next ACK jumps over them, and an ACK above SND.NXT is ignored (net/ipv4/tcp_input.c, tcp_ack), for ever.
//
//    out:  ... c | hole | held by the client | ...
//                |<-------- primed ---------->|  in the send queue, as already sent
#pragma once

#include <string_view>

namespace suture::priming {

// Puts `bytes` at the end of a rebuilt socket's send queue as sent and not acknowledged (TCP_REPAIR, TCP_SEND_QUEUE:
// net/ipv4/tcp_output.c, tcp_write_xmit sends nothing then), and asks the client for an ACK, whose SACK makes the
// kernel send what is missing. Nothing else may wait in the queue. False: refused, errno says why; the socket is as
// before, or holds a part of `bytes`.
bool put_sent(int fd, std::string_view bytes);

}  // namespace suture::priming
