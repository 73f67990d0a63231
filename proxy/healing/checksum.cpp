#include "proxy/healing/checksum.hpp"

#include <array>

#include <netinet/in.h>

namespace suture::healing {

std::uint64_t checksum_add(std::uint64_t sum, std::span<const std::uint8_t> bytes) {
  std::size_t i = 0;
  for (; i + 1 < bytes.size(); i += 2) sum += static_cast<std::uint64_t>(bytes[i] << 8 | bytes[i + 1]);
  if (i < bytes.size()) sum += static_cast<std::uint64_t>(bytes[i] << 8);
  return sum;
}

std::uint16_t checksum_finish(std::uint64_t sum) {
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<std::uint16_t>(~sum & 0xffff);
}

std::uint64_t tcp_pseudo_header(std::span<const std::uint8_t> source, std::span<const std::uint8_t> destination,
                                std::uint32_t length) {
  std::uint64_t sum = checksum_add(checksum_add(0, source), destination);
  sum += (length >> 16) + (length & 0xffff);
  return sum + IPPROTO_TCP;
}

}  // namespace suture::healing
