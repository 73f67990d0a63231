// Arithmetic on TCP sequence numbers and timestamps (RFC 9293 section 3.4, RFC 7323 section 5): 32-bit, modulo 2^32.
#pragma once

#include <cstdint>

namespace suture {

// a - b as a signed distance; meaningful while the two lie within 2^31 of each other.
constexpr std::int32_t seq_diff(std::uint32_t a, std::uint32_t b) {
  return static_cast<std::int32_t>(a - b);
}
constexpr bool seq_before(std::uint32_t a, std::uint32_t b) {
  return seq_diff(a, b) < 0;
}
constexpr bool seq_at_or_before(std::uint32_t a, std::uint32_t b) {
  return seq_diff(a, b) <= 0;
}
constexpr std::uint32_t seq_max(std::uint32_t a, std::uint32_t b) {
  return seq_before(a, b) ? b : a;
}

// A stream offset (64 bit, 0 = first byte after the SYN) to the wire and back. `near` is an offset known to lie within
// 2^31 of the wanted one.
constexpr std::uint32_t to_seq(std::uint32_t isn, std::uint64_t offset) {
  return isn + 1U + static_cast<std::uint32_t>(offset);
}
constexpr std::uint64_t to_offset(std::uint32_t isn, std::uint32_t seq, std::uint64_t near) {
  return near + static_cast<std::uint64_t>(static_cast<std::int64_t>(seq_diff(seq, to_seq(isn, near))));
}

}  // namespace suture
