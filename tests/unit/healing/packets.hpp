// Builds client-to-VIP packets for the tests of this folder, independently of proxy/healing/segment.cpp's builder.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "proxy/healing/checksum.hpp"

namespace suture::healing::test {

struct PacketSpec {
  bool v6 = false;
  std::uint16_t client_port = 4242;
  std::uint16_t vip_port = 80;
  std::uint32_t seq = 1000;
  std::uint32_t ack = 2000;
  std::uint8_t flags = 0x10;
  std::vector<std::uint8_t> options{};  // padded to 4 with end-of-options
  std::string payload{};
};

inline void append(std::vector<std::uint8_t>& out, std::initializer_list<unsigned> bytes) {
  for (const unsigned b : bytes) out.push_back(static_cast<std::uint8_t>(b));
}
inline void append16(std::vector<std::uint8_t>& out, std::uint32_t v) {
  append(out, {v >> 8 & 0xff, v & 0xff});
}
inline void append32(std::vector<std::uint8_t>& out, std::uint32_t v) {
  append16(out, v >> 16);
  append16(out, v & 0xffff);
}

inline std::vector<std::uint8_t> build(const PacketSpec& spec) {
  std::vector<std::uint8_t> options = spec.options;
  while (options.size() % 4 != 0) options.push_back(0);
  std::vector<std::uint8_t> tcp;
  append16(tcp, spec.client_port);
  append16(tcp, spec.vip_port);
  append32(tcp, spec.seq);
  append32(tcp, spec.ack);
  append(tcp, {static_cast<unsigned>((20 + options.size()) / 4) << 4, spec.flags});
  append16(tcp, 512);
  append32(tcp, 0);
  tcp.insert(tcp.end(), options.begin(), options.end());
  tcp.insert(tcp.end(), spec.payload.begin(), spec.payload.end());

  std::vector<std::uint8_t> source, destination;
  if (spec.v6) {
    source = {0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7};
    destination = {0x20, 0x01, 0x0d, 0xb8, 1, 0x13, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10};
  } else {
    source = {192, 0, 2, 7};
    destination = {203, 0, 113, 10};
  }
  const auto size = static_cast<std::uint32_t>(tcp.size());
  const std::uint16_t sum = checksum_finish(checksum_add(tcp_pseudo_header(source, destination, size), tcp));
  tcp[16] = static_cast<std::uint8_t>(sum >> 8);
  tcp[17] = static_cast<std::uint8_t>(sum);

  std::vector<std::uint8_t> out;
  if (spec.v6) {
    append32(out, 0x600abcdeU);
    append16(out, size);
    append(out, {6, 64});
  } else {
    append(out, {0x45, 0});
    append16(out, 20 + size);
    append32(out, 0x00014000U);
    append(out, {64, 6, 0, 0});
  }
  out.insert(out.end(), source.begin(), source.end());
  out.insert(out.end(), destination.begin(), destination.end());
  if (!spec.v6) {
    const std::uint16_t ip = checksum_finish(checksum_add(0, out));
    out[10] = static_cast<std::uint8_t>(ip >> 8);
    out[11] = static_cast<std::uint8_t>(ip);
  }
  out.insert(out.end(), tcp.begin(), tcp.end());
  return out;
}

}  // namespace suture::healing::test
