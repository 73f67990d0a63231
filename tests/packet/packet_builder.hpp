// Packets as byte vectors: Ethernet, IPv4 or IPv6, TCP, with valid checksums; then bent out of shape by the tests.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <suture/flow_key.h>

namespace suture::packet_test {

using Bytes = std::vector<std::uint8_t>;

inline constexpr std::uint8_t kFin = 0x01, kSyn = 0x02, kRst = 0x04, kPsh = 0x08, kAck = 0x10;

struct TcpPacket {
  std::string source, destination;
  std::uint16_t source_port = 0, destination_port = 0;
  std::uint8_t flags = kAck;
  std::uint32_t seq = 1000, ack = 2000;
  Bytes options{};  // padded with zero bytes to a multiple of 4
  Bytes payload{};
  Bytes ip_options{};                // IPv4, multiple of 4
  Bytes extension_headers{};         // IPv6, whole; their last next-header byte must be 6
  std::uint8_t first_extension = 0;  // IPv6 next header that announces them
  std::uint16_t fragment = 0;        // IPv4 flags and offset

  bool v6() const { return source.find(':') != std::string::npos; }
  Bytes ip() const;             // from the IP header on
  Bytes ethernet() const;       // with an Ethernet header
  suture_flow_key key() const;  // source is the client
};

Bytes with_ethernet(const Bytes& ip);
// An ICMP error about `offending` (its IP header and `inner_bytes` of what follows), sent by `router` to its source.
Bytes icmp_error(const std::string& router, const TcpPacket& offending, std::size_t inner_bytes, std::uint8_t type = 3,
                 std::uint8_t code = 4);
// NOP NOP timestamp.
Bytes timestamp_option(std::uint32_t value, std::uint32_t echo);
// The timestamp option alone.
Bytes bare_timestamp(std::uint32_t value, std::uint32_t echo);
Bytes operator+(Bytes a, const Bytes& b);

struct ParsedTcp {
  std::uint8_t flags;
  std::uint32_t seq, ack;
  std::uint16_t source_port, destination_port;
  std::size_t payload = 0;                        // bytes
  std::optional<std::uint32_t> tsval{}, tsecr{};  // of the timestamp option
};
std::optional<ParsedTcp> parse_tcp(std::span<const std::uint8_t> ip);

}  // namespace suture::packet_test
