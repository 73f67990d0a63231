// The one kind of segment that healing sends to a client before it owns a socket: one garbage byte that the client has
// long acknowledged (PROTOCOL.md, "Probe, fence, claim"). Every stack answers a data byte at once with an ACK
// (RFC 9293 section 3.10.7.4); pure ACKs are rate-limited or ignored (net/ipv4/tcp_input.c, tcp_oow_rate_limited).
#pragma once

#include <cstdint>
#include <optional>

#include "proxy/healing/segment.hpp"

namespace suture::healing {

// VIP to client, host byte order; segment.hpp's build_nudge() makes the packet.
struct Nudge {
  suture_flow_key key{};
  std::uint32_t seq = 0;  // of the garbage byte
  std::uint32_t ack = 0;
  std::optional<Timestamps> timestamps;  // always there once negotiated: FreeBSD drops segments without them
  std::uint32_t flow_label = 0;          // the flow's own: a Linux client follows a change of it
};

// Its window field. The largest, because Linux clips the SEQ of its answers to the window it was last offered
// (tcp_acceptable_seq), and that SEQ is how we learn S.
inline constexpr std::uint16_t kNudgeWindow = 65535;

}  // namespace suture::healing
