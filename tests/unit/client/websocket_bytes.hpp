// WebSocket frames as both ends send them, and a reader of what arrived that shares nothing with the proxy's own.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace suture::test {

inline constexpr unsigned kText = 1, kBinary = 2, kCloseFrame = 8, kPing = 9, kPong = 10, kMore = 0;

// `first`: opcode and flags. `masked`: as a client.
inline std::string frame(unsigned first, std::string_view payload, bool masked) {
  std::string out(1, static_cast<char>(first));
  const unsigned mask_bit = masked ? 0x80 : 0;
  const auto byte = [&](std::uint64_t n) { out.push_back(static_cast<char>(n & 0xff)); };
  const auto n = payload.size();
  if (n < 126) {
    byte(mask_bit | n);
  } else if (n < 65536) {
    byte(mask_bit | 126U);
    byte(n >> 8);
    byte(n);
  } else {
    byte(mask_bit | 127U);
    for (int shift = 56; shift >= 0; shift -= 8) byte(static_cast<std::uint64_t>(n) >> shift);
  }
  if (!masked) return out.append(payload);
  const std::string key = {static_cast<char>(0x37 + n), '\x5a', static_cast<char>(first), '\x11'};
  out.append(key);
  for (std::size_t i = 0; i < n; ++i) out.push_back(static_cast<char>(payload[i] ^ key[i % 4]));
  return out;
}
inline std::string from_client(unsigned opcode, std::string_view payload, unsigned flags = 0x80) {
  return frame(flags | opcode, payload, true);
}
inline std::string from_application(unsigned opcode, std::string_view payload, unsigned flags = 0x80) {
  return frame(flags | opcode, payload, false);
}
inline std::string close_of(unsigned code) {
  return {static_cast<char>(code >> 8), static_cast<char>(code & 0xff)};
}

// One end's reading, byte by byte, of what the other sent.
struct ReadFrame {
  unsigned first = 0;
  std::string payload;
  unsigned opcode() const { return first & 15U; }
  friend bool operator==(const ReadFrame&, const ReadFrame&) = default;
};
struct Reading {
  std::vector<ReadFrame> frames;
  std::vector<std::string> messages;  // data, joined; the first byte of the first frame in front (RSV1 counts)
  std::string rest;                   // of a frame that is not whole
};
inline Reading read_frames(std::string_view bytes) {
  Reading out;
  std::string message;
  for (;;) {
    if (bytes.size() < 2) break;
    const auto at = [&](std::size_t i) { return static_cast<std::uint8_t>(bytes[i]); };
    std::uint64_t n = at(1) & 0x7fU;
    const std::size_t extended = n == 127 ? 8 : n == 126 ? 2 : 0;
    const bool masked = (at(1) & 0x80U) != 0;
    const std::size_t head = 2 + extended + (masked ? 4 : 0);
    if (bytes.size() < head) break;
    if (extended != 0) {
      n = 0;
      for (std::size_t i = 0; i < extended; ++i) n = n << 8 | at(2 + i);
    }
    if (bytes.size() - head < n) break;
    ReadFrame f{at(0), std::string(bytes.substr(head, n))};
    for (std::size_t i = 0; masked && i < n; ++i)
      f.payload[i] = static_cast<char>(f.payload[i] ^ bytes[head - 4 + i % 4]);
    bytes.remove_prefix(head + n);
    if (f.opcode() < 8) {
      if (f.opcode() != kMore) message.assign(1, static_cast<char>(f.first & 0x7fU));
      message.append(f.payload);
      if ((f.first & 0x80U) != 0) out.messages.push_back(std::move(message)), message.clear();
    }
    out.frames.push_back(std::move(f));
  }
  out.rest = bytes;
  return out;
}

}  // namespace suture::test
