// TCP segments as bytes: what a punted stray says, and the segments that we make ourselves. The one place where packets
// are taken apart and put together in user space; no sockets here.
//
//   IPv4:  | IP header (IHL*4) | TCP header (offset*4) | payload |        total length in the IP header
//   IPv6:  | IP header (40)    | TCP header (offset*4) | payload |        extension headers: refused, counted
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include <boost/container/static_vector.hpp>

#include <suture/flow_key.h>
#include <suture/result.hpp>

namespace suture::healing {

inline constexpr std::uint8_t kFin = 0x01;
inline constexpr std::uint8_t kSyn = 0x02;
inline constexpr std::uint8_t kRst = 0x04;
inline constexpr std::uint8_t kAck = 0x10;

struct Timestamps {
  std::uint32_t value = 0;
  std::uint32_t echo = 0;
};

// One block of a SACK option (RFC 2018 section 3): the client holds [left, right) of what it was sent.
struct SackBlock {
  std::uint32_t left = 0;
  std::uint32_t right = 0;
};

// A segment from a client to a VIP, host byte order.
struct Segment {
  suture_flow_key key{};
  std::uint32_t seq = 0;
  std::uint32_t ack = 0;
  std::uint8_t flags = 0;
  std::uint16_t window = 0;
  std::uint32_t payload_bytes = 0;
  std::optional<Timestamps> timestamps;
  boost::container::static_vector<SackBlock, 4> sacks;  // as sent; four is what fits into the options
  std::uint32_t flow_label = 0;                         // IPv6, 20 bits

  // Sequence space that it occupies (RFC 9293 section 3.4, SEG.LEN).
  std::uint32_t length() const { return payload_bytes + ((flags & kSyn) != 0) + ((flags & kFin) != 0); }
};

// `packet` starts at the IP header. Verifies lengths and both checksums: a tc program sees packets before the kernel
// has verified anything. Errors name what was wrong ("tcp checksum", "truncated", "not tcp", "fragment").
Result<Segment> parse_segment(std::span<const std::uint8_t> packet);

// The builders below make IP packets from VIP to client: checksums filled in, TTL and hop limit 64, IPv4 with DF.

// The answer to a segment of an unknown connection (RFC 9293 section 3.10.7.1): for one with ACK, SEQ = its ACK and no
// ACK of our own; for one without, SEQ 0 and ACK = SEQ + LEN. Must not be called for an RST: nobody answers those.
std::vector<std::uint8_t> build_reset(const Segment& stray);

// A probe or a fence (nudge.hpp). ACK only, no PSH; window 65535 before scaling: Linux clips the SEQ of its answer to
// the window that it was just offered.
struct Nudge;
std::vector<std::uint8_t> build_nudge(const Nudge& nudge);

// Ends a connection of ours that has no socket here. `seq` must be exactly the client's RCV.NXT (c): any other value in
// the window only draws a challenge ACK (RFC 5961 section 3.2). `ack` at or below what the client has sent.
std::vector<std::uint8_t> build_session_reset(const suture_flow_key& key, std::uint32_t seq, std::uint32_t ack,
                                              std::optional<Timestamps> timestamps, std::uint32_t flow_label);

}  // namespace suture::healing
