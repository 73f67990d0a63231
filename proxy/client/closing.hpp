// A client's connection closes only on purpose (DESIGN.md idea 4): the kernel's egress program drops every FIN and RST
// from a VIP unless its packet carries the mark for it. These are the only places that set marks; one bit per kind,
// because a bit set for a half-close would let a later RST out as well.
#pragma once

#include <cstdint>

#include <proxy/upstream/stream_socket.hpp>
#include <suture/clock.hpp>

namespace suture::closing {

struct Marks {
  std::uint32_t fin = 0;  // bits of SO_MARK; other bits of the socket's mark are left alone
  std::uint32_t rst = 0;
};

// Before anything that makes the kernel send a FIN / an RST. False: the kernel refused (CAP_NET_ADMIN is missing).
bool allow(int fd, std::uint32_t bits);

void half_close(StreamSocket& socket, const Marks& marks);  // FIN; reading goes on
void close(StreamSocket& socket, const Marks& marks);       // FIN, or RST where unread bytes remain
void reset(StreamSocket& socket, const Marks& marks);       // RST; what was not sent yet is thrown away
// No segment at all: the socket is closed in repair mode (net/ipv4/tcp.c, tcp_disconnect). Without the privilege it is
// closed unmarked, so that at least the egress program keeps silence.
void close_silently(StreamSocket& socket);

// Bytes given to the kernel that the client has not acknowledged, sent or not (SIOCOUTQ; a FIN counts as one).
std::uint64_t unacknowledged(int fd);

// The kernel has given the connection up (reset, or timed out): nothing will be acknowledged any more.
bool is_dead(int fd);

// How long the client has said nothing, neither data nor acknowledgement: the two clocks that the egress program looks
// at before it lets an RST out (datapath/bpf/gate.bpf.h). 0 of a dead connection, which sends nothing anyway.
Millis silence(int fd);
// Makes the kernel send what every living client answers, without a byte for its application: a window probe at once
// (leaving repair mode by 0 sends it; docs/kernel_contract.md), where the connection is established and we have the
// privilege; and a keep-alive each second from the first second of silence on, which half-closed ones send too
// (net/ipv4/tcp_output.c tcp_send_window_probe, tcp_timer.c tcp_keepalive_timer). Unacknowledged data asks by itself.
void ask_client(int fd);

}  // namespace suture::closing
