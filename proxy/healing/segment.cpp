#include "proxy/healing/segment.hpp"

#include <algorithm>
#include <cassert>
#include <cstring>

#include <arpa/inet.h>
#include <netinet/in.h>

#include <suture/ids.hpp>

#include "proxy/healing/checksum.hpp"
#include "proxy/healing/nudge.hpp"

namespace suture::healing {
namespace {

constexpr std::size_t kIpv4HeaderBytes = 20;
constexpr std::size_t kIpv6HeaderBytes = 40;
constexpr std::size_t kTcpHeaderBytes = 20;
constexpr std::uint8_t kHopLimit = 64;
constexpr std::uint8_t kOptionEnd = 0;
constexpr std::uint8_t kOptionNop = 1;
constexpr std::uint8_t kOptionSack = 5;
constexpr std::uint8_t kOptionTimestamps = 8;
constexpr std::size_t kTimestampsBytes = 10;

std::uint16_t be16(const std::uint8_t* p) {
  return static_cast<std::uint16_t>(p[0] << 8 | p[1]);
}
std::uint32_t be32(const std::uint8_t* p) {
  return static_cast<std::uint32_t>(be16(p)) << 16 | be16(p + 2);
}
void put16(std::uint8_t* p, std::uint16_t v) {
  p[0] = static_cast<std::uint8_t>(v >> 8);
  p[1] = static_cast<std::uint8_t>(v);
}
void put32(std::uint8_t* p, std::uint32_t v) {
  put16(p, static_cast<std::uint16_t>(v >> 16));
  put16(p + 2, static_cast<std::uint16_t>(v));
}

suture_addr mapped(std::span<const std::uint8_t> address) {
  suture_addr out{};
  if (address.size() == 4) {
    out.b[10] = out.b[11] = 0xff;
    std::memcpy(out.b + 12, address.data(), 4);
  } else {
    std::memcpy(out.b, address.data(), 16);
  }
  return out;
}

bool is_ipv4(const suture_addr& addr) {
  return from_addr(addr).is_v4();
}

// SACK blocks: 2 bytes of kind and length, 8 for each block (RFC 2018 section 3).
void read_sacks(std::span<const std::uint8_t> option, Segment& out) {
  if ((option.size() - 2) % 8 != 0) return;
  for (std::size_t i = 2; i < option.size() && out.sacks.size() < out.sacks.capacity(); i += 8)
    out.sacks.push_back({be32(&option[i]), be32(&option[i + 4])});
}

// Options in any order (RFC 9293 section 3.1): the first timestamps option of the right length counts, and every SACK
// block. A malformed length ends the walk, as in Linux (tcp_parse_options).
void read_options(std::span<const std::uint8_t> options, Segment& out) {
  std::size_t i = 0;
  while (i < options.size()) {
    const std::uint8_t kind = options[i];
    if (kind == kOptionEnd) break;
    if (kind == kOptionNop) {
      ++i;
      continue;
    }
    if (i + 1 >= options.size()) break;
    const std::size_t size = options[i + 1];
    if (size < 2 || i + size > options.size()) break;
    if (kind == kOptionTimestamps && size == kTimestampsBytes && !out.timestamps)
      out.timestamps = Timestamps{be32(&options[i + 2]), be32(&options[i + 6])};
    if (kind == kOptionSack) read_sacks(options.subspan(i, size), out);
    i += size;
  }
}

Result<Segment> parse_tcp(std::span<const std::uint8_t> source, std::span<const std::uint8_t> destination,
                          std::span<const std::uint8_t> tcp) {
  if (tcp.size() < kTcpHeaderBytes) return Error{"truncated"};
  const std::size_t header = static_cast<std::size_t>(tcp[12] >> 4) * 4;
  if (header < kTcpHeaderBytes || header > tcp.size()) return Error{"tcp header length"};
  const auto pseudo = tcp_pseudo_header(source, destination, static_cast<std::uint32_t>(tcp.size()));
  if (checksum_finish(checksum_add(pseudo, tcp)) != 0) return Error{"tcp checksum"};
  Segment out;
  out.key.client = mapped(source);
  out.key.vip = mapped(destination);
  std::memcpy(&out.key.client_port, &tcp[0], 2);
  std::memcpy(&out.key.vip_port, &tcp[2], 2);
  out.seq = be32(&tcp[4]);
  out.ack = be32(&tcp[8]);
  out.flags = tcp[13];
  out.window = be16(&tcp[14]);
  out.payload_bytes = static_cast<std::uint32_t>(tcp.size() - header);
  read_options(tcp.subspan(kTcpHeaderBytes, header - kTcpHeaderBytes), out);
  return out;
}

Result<Segment> parse_ipv4(std::span<const std::uint8_t> packet) {
  if (packet.size() < kIpv4HeaderBytes) return Error{"truncated"};
  const std::size_t header = static_cast<std::size_t>(packet[0] & 0x0f) * 4;
  const std::size_t total = be16(&packet[2]);
  if (header < kIpv4HeaderBytes || total < header || total > packet.size()) return Error{"ip length"};
  if ((be16(&packet[6]) & 0x3fff) != 0) return Error{"fragment"};
  if (packet[9] != IPPROTO_TCP) return Error{"not tcp"};
  if (checksum_finish(checksum_add(0, packet.first(header))) != 0) return Error{"ip checksum"};
  return parse_tcp(packet.subspan(12, 4), packet.subspan(16, 4), packet.subspan(header, total - header));
}

Result<Segment> parse_ipv6(std::span<const std::uint8_t> packet) {
  if (packet.size() < kIpv6HeaderBytes) return Error{"truncated"};
  const std::size_t payload = be16(&packet[4]);
  if (kIpv6HeaderBytes + payload > packet.size()) return Error{"ip length"};
  if (packet[6] != IPPROTO_TCP) return Error{"not tcp"};
  auto out = parse_tcp(packet.subspan(8, 16), packet.subspan(24, 16), packet.subspan(kIpv6HeaderBytes, payload));
  if (out) out->flow_label = be32(&packet[0]) & 0xfffff;
  return out;
}

// What the packets of our own making differ in.
struct Outgoing {
  suture_flow_key key{};
  std::uint32_t seq = 0;
  std::uint32_t ack = 0;
  std::uint8_t flags = 0;
  std::uint16_t window = 0;
  std::optional<Timestamps> timestamps{};
  std::span<const std::uint8_t> payload{};
  std::uint32_t flow_label = 0;
};

// TCP header and payload, its checksum still zero.
std::vector<std::uint8_t> tcp_of(const Outgoing& out) {
  std::vector<std::uint8_t> tcp(kTcpHeaderBytes);
  std::memcpy(&tcp[0], &out.key.vip_port, 2);
  std::memcpy(&tcp[2], &out.key.client_port, 2);
  put32(&tcp[4], out.seq);
  put32(&tcp[8], out.ack);
  tcp[13] = out.flags;
  put16(&tcp[14], out.window);
  if (out.timestamps) {  // two NOPs in front, as everybody does (RFC 7323 appendix A)
    tcp.insert(tcp.end(), {kOptionNop, kOptionNop, kOptionTimestamps, kTimestampsBytes, 0, 0, 0, 0, 0, 0, 0, 0});
    put32(&tcp[kTcpHeaderBytes + 4], out.timestamps->value);
    put32(&tcp[kTcpHeaderBytes + 8], out.timestamps->echo);
  }
  tcp[12] = static_cast<std::uint8_t>((tcp.size() / 4) << 4);
  tcp.insert(tcp.end(), out.payload.begin(), out.payload.end());
  return tcp;
}

// The IP header for `bytes` of TCP.
std::vector<std::uint8_t> ip_of(std::span<const std::uint8_t> source, std::span<const std::uint8_t> destination,
                                std::size_t bytes, std::uint32_t flow_label) {
  const bool v4 = source.size() == 4;
  std::vector<std::uint8_t> ip(v4 ? kIpv4HeaderBytes : kIpv6HeaderBytes);
  if (v4) {
    ip[0] = 0x45;
    put16(&ip[2], static_cast<std::uint16_t>(kIpv4HeaderBytes + bytes));
    put16(&ip[6], 0x4000);  // don't fragment
    ip[8] = kHopLimit;
    ip[9] = IPPROTO_TCP;
    std::copy(source.begin(), source.end(), &ip[12]);
    std::copy(destination.begin(), destination.end(), &ip[16]);
    put16(&ip[10], checksum_finish(checksum_add(0, ip)));
  } else {
    put32(&ip[0], 0x60000000U | (flow_label & 0xfffffU));
    put16(&ip[4], static_cast<std::uint16_t>(bytes));
    ip[6] = IPPROTO_TCP;
    ip[7] = kHopLimit;
    std::copy(source.begin(), source.end(), &ip[8]);
    std::copy(destination.begin(), destination.end(), &ip[24]);
  }
  return ip;
}

std::vector<std::uint8_t> packet_of(const Outgoing& out) {
  const std::size_t skip = is_ipv4(out.key.client) ? 12 : 0;  // of an IPv4-mapped address
  const auto source = std::span(out.key.vip.b).subspan(skip);
  const auto destination = std::span(out.key.client.b).subspan(skip);
  auto tcp = tcp_of(out);
  const auto pseudo = tcp_pseudo_header(source, destination, static_cast<std::uint32_t>(tcp.size()));
  put16(&tcp[16], checksum_finish(checksum_add(pseudo, tcp)));
  auto packet = ip_of(source, destination, tcp.size(), out.flow_label);
  packet.insert(packet.end(), tcp.begin(), tcp.end());
  return packet;
}

}  // namespace

Result<Segment> parse_segment(std::span<const std::uint8_t> packet) {
  if (packet.empty()) return Error{"truncated"};
  switch (packet[0] >> 4) {
    case 4:
      return parse_ipv4(packet);
    case 6:
      return parse_ipv6(packet);
    default:
      return Error{"ip version"};
  }
}

std::vector<std::uint8_t> build_reset(const Segment& stray) {
  assert((stray.flags & kRst) == 0);
  const bool has_ack = (stray.flags & kAck) != 0;
  return packet_of({.key = stray.key,
                    .seq = has_ack ? stray.ack : 0,
                    .ack = has_ack ? 0 : stray.seq + stray.length(),
                    .flags = has_ack ? kRst : static_cast<std::uint8_t>(kRst | kAck),
                    .flow_label = stray.flow_label});
}

std::vector<std::uint8_t> build_nudge(const Nudge& nudge) {
  static constexpr std::uint8_t kGarbage[1] = {0};
  return packet_of({.key = nudge.key,
                    .seq = nudge.seq,
                    .ack = nudge.ack,
                    .flags = kAck,
                    .window = 65535,
                    .timestamps = nudge.timestamps,
                    .payload = kGarbage,
                    .flow_label = nudge.flow_label});
}

std::vector<std::uint8_t> build_session_reset(const suture_flow_key& key, std::uint32_t seq, std::uint32_t ack,
                                              std::optional<Timestamps> timestamps, std::uint32_t flow_label) {
  return packet_of(
      {.key = key, .seq = seq, .ack = ack, .flags = kRst | kAck, .timestamps = timestamps, .flow_label = flow_label});
}

}  // namespace suture::healing
