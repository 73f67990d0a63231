#include <proxy/client/proxy_protocol.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <optional>

#include <arpa/inet.h>

namespace suture::proxy_protocol {
namespace {

using boost::asio::ip::address;
using boost::asio::ip::address_v4;
using boost::asio::ip::address_v6;

constexpr std::string_view kV1Signature = "PROXY ";
constexpr std::string_view kV2Signature("\r\n\r\n\0\r\nQUIT\n", 12);
constexpr std::size_t kV2FixedBytes = 16;

bool agree(std::string_view bytes, std::string_view signature) {
  const std::size_t n = std::min(bytes.size(), signature.size());
  return bytes.substr(0, n) == signature.substr(0, n);
}

// --- version 1 (2.1) -------------------------------------------------------------------------------------------------

std::optional<std::uint16_t> port_of(std::string_view text) {
  std::uint16_t port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  const bool whole = error == std::errc{} && end == text.data() + text.size();
  // "Heading zeroes are not permitted in front of numbers in order to avoid any possible confusion with octal numbers."
  if (!whole || (text.size() > 1 && text[0] == '0')) return std::nullopt;
  return port;
}

// inet_pton takes neither heading zeroes nor fewer than four numbers, other than most parsers.
std::optional<address> address_of(std::string_view text, bool v6) {
  if (text.find('\0') != std::string_view::npos) return std::nullopt;
  const std::string terminated(text);
  if (v6) {
    address_v6::bytes_type bytes;
    if (::inet_pton(AF_INET6, terminated.c_str(), bytes.data()) != 1) return std::nullopt;
    return address_v6(bytes);
  }
  address_v4::bytes_type bytes;
  if (::inet_pton(AF_INET, terminated.c_str(), bytes.data()) != 1) return std::nullopt;
  return address_v4(bytes);
}

Parsed parse_v1_line(std::string_view line, std::size_t bytes) {
  line.remove_prefix(kV1Signature.size());
  // "The receiver must ignore anything presented before the CRLF is found."
  if (line == "UNKNOWN" || line.starts_with("UNKNOWN ")) return Header{bytes, 1, true, {}, {}};
  std::array<std::string_view, 5> words;
  for (std::size_t i = 0; i < words.size(); ++i) {
    const std::size_t end = i + 1 < words.size() ? line.find(' ') : line.size();
    if (end == std::string_view::npos) return Malformed{"v1: too few words"};
    words[i] = line.substr(0, end);
    line.remove_prefix(std::min(line.size(), end + 1));
  }
  if (words[0] != "TCP4" && words[0] != "TCP6") return Malformed{"v1: unknown family"};
  const bool v6 = words[0] == "TCP6";
  const auto source = address_of(words[1], v6), destination = address_of(words[2], v6);
  if (!source || !destination) return Malformed{"v1: not an address of its family"};
  const auto from = port_of(words[3]), to = port_of(words[4]);
  if (!from || !to) return Malformed{"v1: not a port"};
  return Header{bytes, 1, false, {*source, *from}, {*destination, *to}};
}

Parsed parse_v1(std::string_view bytes) {
  const std::string_view line = bytes.substr(0, kV1BytesMax);
  const std::size_t end = line.find_first_of("\r\n");
  if (end != std::string_view::npos && end + 1 < line.size())
    return line.substr(end, 2) == "\r\n" ? parse_v1_line(line.substr(0, end), end + 2)
                                         : Malformed{"v1: a CR or LF alone"};
  if (end != std::string_view::npos && line[end] == '\n') return Malformed{"v1: a CR or LF alone"};
  if (line.size() == kV1BytesMax) return Malformed{"v1: longer than 107 bytes"};
  return NeedMore{};
}

// --- version 2 (2.2) -------------------------------------------------------------------------------------------------

unsigned byte_at(std::string_view bytes, std::size_t at) {
  return static_cast<unsigned char>(bytes[at]);
}

std::uint16_t u16_at(std::string_view bytes, std::size_t at) {
  return static_cast<std::uint16_t>(byte_at(bytes, at) << 8 | byte_at(bytes, at + 1));
}

// RFC 4960 appendix B (Castagnoli, reflected), as iSCSI and SCTP have it.
class Crc32c {
 public:
  void add(std::string_view bytes) {
    for (const char c : bytes) {
      state_ ^= static_cast<unsigned char>(c);
      for (int bit = 0; bit < 8; ++bit) state_ = state_ >> 1 ^ (state_ & 1 ? 0x82f63b78U : 0U);
    }
  }
  std::uint32_t value() const { return ~state_; }

 private:
  std::uint32_t state_ = ~0U;
};

constexpr unsigned kTlvCrc32c = 0x03;

// nullptr: they fill the header from `at` on, and their checksum, if there is one, is right.
const char* tlv_mistake(std::string_view header, std::size_t at) {
  bool summed = false;
  while (at < header.size()) {
    if (header.size() - at < 3) return "v2: a TLV beyond the header";
    const unsigned type = byte_at(header, at);
    const std::size_t length = u16_at(header, at + 1), value = at + 3;
    if (header.size() - value < length) return "v2: a TLV beyond the header";
    if (type == kTlvCrc32c) {
      if (length != 4 || summed) return "v2: not one checksum of 4 bytes";
      summed = true;
      Crc32c sum;
      sum.add(header.substr(0, value));
      sum.add(std::string_view("\0\0\0\0", 4));
      sum.add(header.substr(value + 4));
      const auto said = static_cast<std::uint32_t>(u16_at(header, value)) << 16 | u16_at(header, value + 2);
      if (sum.value() != said) return "v2: wrong checksum";
    }
    at = value + length;
  }
  return nullptr;
}

template <class IpAddress>
Header addresses_at(std::string_view header, std::size_t at) {
  typename IpAddress::bytes_type source, destination;
  std::memcpy(source.data(), header.data() + at, source.size());
  std::memcpy(destination.data(), header.data() + at + source.size(), destination.size());
  const std::size_t ports = at + source.size() + destination.size();
  return {header.size(),
          2,
          false,
          {IpAddress(source), u16_at(header, ports)},
          {IpAddress(destination), u16_at(header, ports + 2)}};
}

Parsed parse_v2(std::string_view bytes) {
  if (bytes.size() > 12 && byte_at(bytes, 12) != 0x20 && byte_at(bytes, 12) != 0x21)
    return Malformed{"v2: unknown version or command"};
  const bool local = bytes.size() > 12 && byte_at(bytes, 12) == 0x20;
  const unsigned family = bytes.size() > 13 ? byte_at(bytes, 13) >> 4 : 0;
  const unsigned transport = bytes.size() > 13 ? byte_at(bytes, 13) & 0xf : 0;
  // Of LOCAL "discard the protocol block including the family which is ignored".
  if (!local && (family > 3 || transport > 2)) return Malformed{"v2: unknown family or transport"};
  if (bytes.size() < kV2FixedBytes) return NeedMore{};
  const std::size_t size = kV2FixedBytes + u16_at(bytes, 14);
  if (size > kV2BytesMax) return Malformed{"v2: longer than 4096 bytes"};
  constexpr std::array<std::size_t, 4> kAddressBytes{0, 12, 36, 216};
  const bool known = !local && family != 0 && transport != 0;
  if (known && size < kV2FixedBytes + kAddressBytes[family]) return Malformed{"v2: shorter than its addresses"};
  if (bytes.size() < size) return NeedMore{};
  const std::string_view header = bytes.substr(0, size);
  // Where nothing is taken from it, nothing of it has to be right: of an unknown family we do not know where TLVs
  // begin.
  if (!known) return Header{size, 2, true, {}, {}};
  if (const char* mistake = tlv_mistake(header, kV2FixedBytes + kAddressBytes[family])) return Malformed{mistake};
  constexpr unsigned kInet = 1, kInet6 = 2, kStream = 1;
  if (transport == kStream && family == kInet) return addresses_at<address_v4>(header, kV2FixedBytes);
  if (transport == kStream && family == kInet6) return addresses_at<address_v6>(header, kV2FixedBytes);
  // UDP, unix: "automatically falls back to the UNSPEC mode for the valid combinations above that it does not support".
  return Header{size, 2, true, {}, {}};
}

// --- building --------------------------------------------------------------------------------------------------------

address_v6 as_v6(const address& from) {
  return from.is_v6() ? from.to_v6() : boost::asio::ip::make_address_v6(boost::asio::ip::v4_mapped, from.to_v4());
}

// Hexadecimal groups only (2.1), which other writers do not promise for mapped addresses.
std::string v6_text(const address& from) {
  const address_v6 v6 = as_v6(from);
  if (!v6.is_v4_mapped()) return address_v6(v6.to_bytes()).to_string();  // without a scope
  const auto bytes = v6.to_bytes();
  std::array<char, 24> text;
  std::snprintf(text.data(), text.size(), "::ffff:%x:%x", static_cast<unsigned>(bytes[12] << 8 | bytes[13]),
                static_cast<unsigned>(bytes[14] << 8 | bytes[15]));
  return text.data();
}

void append_u16(std::string& out, std::uint16_t n) {
  out.push_back(static_cast<char>(n >> 8));
  out.push_back(static_cast<char>(n & 0xff));
}

template <class IpAddress>
void append_address(std::string& out, const IpAddress& from) {
  const auto bytes = from.to_bytes();
  out.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

bool both_v4(const Endpoint& a, const Endpoint& b) {
  return a.address().is_v4() && b.address().is_v4();
}

}  // namespace

Parsed parse(std::string_view bytes) {
  if (agree(bytes, kV2Signature)) return parse_v2(bytes);
  if (!agree(bytes, kV1Signature)) return Malformed{"no PROXY protocol header"};
  return parse_v1(bytes);
}

std::string build_v1(const Endpoint& source, const Endpoint& destination) {
  const bool v4 = both_v4(source, destination);
  const auto text = [v4](const Endpoint& e) { return v4 ? e.address().to_string() : v6_text(e.address()); };
  return (v4 ? "PROXY TCP4 " : "PROXY TCP6 ") + text(source) + ' ' + text(destination) + ' ' +
         std::to_string(source.port()) + ' ' + std::to_string(destination.port()) + "\r\n";
}

std::string build_v2(const Endpoint& source, const Endpoint& destination) {
  const bool v4 = both_v4(source, destination);
  std::string out(kV2Signature);
  out.push_back(0x21);
  out.push_back(v4 ? 0x11 : 0x21);
  append_u16(out, v4 ? 12 : 36);
  for (const Endpoint* e : {&source, &destination}) {
    if (v4)
      append_address(out, e->address().to_v4());
    else
      append_address(out, as_v6(e->address()));
  }
  append_u16(out, source.port());
  append_u16(out, destination.port());
  return out;
}

}  // namespace suture::proxy_protocol
