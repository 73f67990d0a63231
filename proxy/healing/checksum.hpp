// The Internet checksum (RFC 1071) and its TCP pseudo headers (RFC 9293 section 3.1, RFC 8200 section 8.1).
#pragma once

#include <cstdint>
#include <span>

namespace suture::healing {

// Ones' complement sum of big-endian 16-bit words, not yet folded; an odd last byte is padded with zero. Sums of
// several pieces may be added as long as every piece but the last has even length.
std::uint64_t checksum_add(std::uint64_t sum, std::span<const std::uint8_t> bytes);
// Folded and complemented, host order. A buffer that contains its own correct checksum gives 0.
std::uint16_t checksum_finish(std::uint64_t sum);

// Sum of the pseudo header of a TCP segment of `length` bytes. Addresses: 4 or 16 bytes each.
std::uint64_t tcp_pseudo_header(std::span<const std::uint8_t> source, std::span<const std::uint8_t> destination,
                                std::uint32_t length);

}  // namespace suture::healing
