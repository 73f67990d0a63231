#include "tests/packet/packet_builder.hpp"

#include <arpa/inet.h>

#include <algorithm>

#include <boost/asio/ip/address.hpp>

#include <suture/ids.hpp>

namespace suture::packet_test {
namespace {

namespace ip = boost::asio::ip;

void put16(Bytes& out, std::size_t at, unsigned value) {
  out[at] = static_cast<std::uint8_t>(value >> 8);
  out[at + 1] = static_cast<std::uint8_t>(value);
}
void put32(Bytes& out, std::size_t at, std::uint32_t value) {
  put16(out, at, value >> 16);
  put16(out, at + 2, value & 0xffff);
}
std::uint32_t get32(std::span<const std::uint8_t> in, std::size_t at) {
  return static_cast<std::uint32_t>(in[at]) << 24 | static_cast<std::uint32_t>(in[at + 1]) << 16 |
         static_cast<std::uint32_t>(in[at + 2]) << 8 | in[at + 3];
}

std::uint16_t checksum(const Bytes& data) {
  std::uint32_t sum = 0;
  for (std::size_t i = 0; i < data.size(); i += 2)
    sum += static_cast<std::uint32_t>(data[i]) << 8 | (i + 1 < data.size() ? data[i + 1] : 0U);
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<std::uint16_t>(~sum);
}

Bytes address_bytes(const std::string& text) {
  const auto address = ip::make_address(text);
  if (address.is_v4()) {
    const auto b = address.to_v4().to_bytes();
    return {b.begin(), b.end()};
  }
  const auto b = address.to_v6().to_bytes();
  return {b.begin(), b.end()};
}

Bytes pseudo_header(const std::string& source, const std::string& destination, unsigned protocol, std::size_t length) {
  Bytes out = address_bytes(source) + address_bytes(destination);
  out = out + Bytes{0, static_cast<std::uint8_t>(protocol), static_cast<std::uint8_t>(length >> 8),
                    static_cast<std::uint8_t>(length)};
  return out;
}

Bytes ip_header(const std::string& source, const std::string& destination, unsigned protocol, std::size_t payload,
                const Bytes& options, std::uint16_t fragment) {
  if (source.find(':') != std::string::npos) {
    Bytes h(8);
    h[0] = 0x60;
    put16(h, 4, static_cast<unsigned>(payload));
    h[6] = static_cast<std::uint8_t>(protocol);
    h[7] = 64;
    return h + address_bytes(source) + address_bytes(destination);
  }
  Bytes h(12);
  h[0] = static_cast<std::uint8_t>(0x45 + options.size() / 4);
  put16(h, 2, static_cast<unsigned>(20 + options.size() + payload));
  put16(h, 6, fragment);
  h[8] = 64;
  h[9] = static_cast<std::uint8_t>(protocol);
  h = h + address_bytes(source) + address_bytes(destination) + options;
  put16(h, 10, checksum(h));
  return h;
}

}  // namespace

Bytes operator+(Bytes a, const Bytes& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

Bytes TcpPacket::ip() const {
  Bytes padded = options;
  while (padded.size() % 4 != 0) padded.push_back(0);
  Bytes tcp(20);
  put16(tcp, 0, source_port);
  put16(tcp, 2, destination_port);
  put32(tcp, 4, seq);
  put32(tcp, 8, ack);
  tcp[12] = static_cast<std::uint8_t>((20 + padded.size()) / 4 << 4);
  tcp[13] = flags;
  put16(tcp, 14, 65535);
  tcp = tcp + padded + payload;
  put16(tcp, 16, checksum(pseudo_header(source, destination, 6, tcp.size()) + tcp));
  const unsigned protocol = extension_headers.empty() ? 6 : first_extension;
  return ip_header(source, destination, protocol, extension_headers.size() + tcp.size(), ip_options, fragment) +
         extension_headers + tcp;
}

Bytes with_ethernet(const Bytes& packet) {
  const bool six = !packet.empty() && packet[0] >> 4 == 6;
  return Bytes{2,
               0,
               0,
               0,
               0,
               2,
               2,
               0,
               0,
               0,
               0,
               1,
               static_cast<std::uint8_t>(six ? 0x86 : 0x08),
               static_cast<std::uint8_t>(six ? 0xdd : 0)} +
         packet;
}

Bytes TcpPacket::ethernet() const {
  return with_ethernet(ip());
}

suture_flow_key TcpPacket::key() const {
  return make_flow_key({ip::make_address(source), source_port}, {ip::make_address(destination), destination_port});
}

Bytes icmp_error(const std::string& router, const TcpPacket& offending, std::size_t inner_bytes, std::uint8_t type,
                 std::uint8_t code) {
  Bytes inner = offending.ip();
  const std::size_t header =
      offending.v6() ? 40 + offending.extension_headers.size() : 20 + offending.ip_options.size();
  inner.resize(std::min(inner.size(), header + inner_bytes));
  Bytes icmp = Bytes{type, code, 0, 0, 0, 0, 5, 0x78} + inner;
  const unsigned protocol = offending.v6() ? 58 : 1;
  put16(icmp, 2,
        checksum(offending.v6() ? pseudo_header(router, offending.source, protocol, icmp.size()) + icmp : icmp));
  return with_ethernet(ip_header(router, offending.source, protocol, icmp.size(), {}, 0) + icmp);
}

Bytes bare_timestamp(std::uint32_t value, std::uint32_t echo) {
  Bytes option{8, 10, 0, 0, 0, 0, 0, 0, 0, 0};
  put32(option, 2, value);
  put32(option, 6, echo);
  return option;
}

Bytes timestamp_option(std::uint32_t value, std::uint32_t echo) {
  return Bytes{1, 1} + bare_timestamp(value, echo);
}

std::optional<ParsedTcp> parse_tcp(std::span<const std::uint8_t> p) {
  if (p.size() < 40) return std::nullopt;
  const std::size_t header = p[0] >> 4 == 6 ? 40 : (p[0] & 0xfU) * 4;
  const unsigned protocol = p[0] >> 4 == 6 ? p[6] : p[9];
  if (protocol != 6 || p.size() < header + 20) return std::nullopt;
  const auto tcp = p.subspan(header);
  const std::size_t head = std::min<std::size_t>((tcp[12] >> 4) * 4U, tcp.size());
  ParsedTcp out{tcp[13], get32(tcp, 4), get32(tcp, 8), static_cast<std::uint16_t>(tcp[0] << 8 | tcp[1]),
                static_cast<std::uint16_t>(tcp[2] << 8 | tcp[3])};
  out.payload = tcp.size() - head;
  for (std::size_t at = 20; at + 10 <= head && tcp[at] != 0;) {
    if (tcp[at] == 8) {
      out.tsval = get32(tcp, at + 2);
      out.tsecr = get32(tcp, at + 6);
      break;
    }
    at += tcp[at] == 1 ? 1U : std::max<std::size_t>(tcp[at + 1], 2);
  }
  return out;
}

}  // namespace suture::packet_test
