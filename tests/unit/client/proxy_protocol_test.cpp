// The examples and rules of HAProxy's proxy-protocol.txt, each header also byte by byte: it is neither taken nor
// refused before it is whole, unless no further byte can help.
#include <array>
#include <random>
#include <vector>

#include <gtest/gtest.h>
#include <proxy/client/proxy_protocol.hpp>

namespace suture::proxy_protocol {
namespace {

using namespace std::string_literals;

const std::string kSignature = "\r\n\r\n\0\r\nQUIT\n"s;
const std::string kRequest = "GET / HTTP/1.1\r\nHost: 192.168.0.11\r\n\r\n";

std::string u16(std::size_t n) {
  return {static_cast<char>(n >> 8), static_cast<char>(n & 0xff)};
}

std::string v2(unsigned command, unsigned family, const std::string& block) {
  return kSignature + static_cast<char>(command) + static_cast<char>(family) + u16(block.size()) + block;
}

std::string tlv(unsigned type, const std::string& value) {
  return static_cast<char>(type) + u16(value.size()) + value;
}

const std::string kInet = "\xc0\xa8\x00\x01\xc0\xa8\x00\x0b\xdc\x04\x01\xbb"s;  // the example's addresses
const std::string kInet6 =
    "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x02\x10\x00\0\x50"s;

// By a table, as in RFC 3309; the code under test goes bit by bit.
std::uint32_t crc32c(const std::string& bytes) {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t i = 0; i < 256; ++i) {
    std::uint32_t c = i;
    for (int bit = 0; bit < 8; ++bit) c = c & 1 ? 0x82f63b78U ^ c >> 1 : c >> 1;
    table[i] = c;
  }
  std::uint32_t c = 0xffffffffU;
  for (const char byte : bytes) c = table[(c ^ static_cast<unsigned char>(byte)) & 0xff] ^ c >> 8;
  return c ^ 0xffffffffU;
}

std::string with_checksum(std::string header, std::size_t at, std::uint32_t change = 0) {
  const std::uint32_t sum = crc32c(header) ^ change;
  for (int i = 0; i < 4; ++i) header[at + static_cast<std::size_t>(i)] = static_cast<char>(sum >> (24 - 8 * i));
  return header;
}

std::string text(const Endpoint& e) {
  return e.address().to_string() + ' ' + std::to_string(e.port());
}

// "more", "malformed: REASON", "local", "SOURCE PORT DESTINATION PORT"
std::string outcome(std::string_view bytes) {
  const Parsed parsed = parse(bytes);
  if (std::holds_alternative<NeedMore>(parsed)) return "more";
  if (const auto* malformed = std::get_if<Malformed>(&parsed)) return std::string("malformed: ") + malformed->reason;
  const Header& header = std::get<Header>(parsed);
  return header.local ? "local" : text(header.source) + ' ' + text(header.destination);
}

struct Row {
  const char* name;
  std::string header;
  unsigned version;
  const char* wanted;
};

const std::vector<Row> kHeaders = {
    {"2.1: the example", "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n", 1, "192.168.0.1 56324 192.168.0.11 443"},
    {"2.1: longest TCP4", "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", 1,
     "255.255.255.255 65535 255.255.255.255 65535"},
    {"2.1: longest TCP6",
     "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n", 1,
     "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535"},
    {"2.1: unknown, short form", "PROXY UNKNOWN\r\n", 1, "local"},
    {"2.1: worst case",
     "PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n", 1,
     "local"},
    {"unknown, anything behind", "PROXY UNKNOWN \0 x\t\xff\r\n"s, 1, "local"},
    {"ports 0", "PROXY TCP4 10.0.0.1 10.0.0.2 0 0\r\n", 1, "10.0.0.1 0 10.0.0.2 0"},
    {"upper case, double colon", "PROXY TCP6 2001:DB8::1 ::1 1 2\r\n", 1, "2001:db8::1 1 ::1 2"},
    {"mapped, as nginx writes it", "PROXY TCP6 ::ffff:10.0.0.1 ::1 1 2\r\n", 1, "::ffff:10.0.0.1 1 ::1 2"},
    {"v2, TCP over IPv4", v2(0x21, 0x11, kInet), 2, "192.168.0.1 56324 192.168.0.11 443"},
    {"v2, TCP over IPv6", v2(0x21, 0x21, kInet6), 2, "2001:db8::1 4096 2001:db8::2 80"},
    {"v2, LOCAL", v2(0x20, 0x00, ""), 2, "local"},
    {"v2, LOCAL: the block is skipped whatever is in it", v2(0x20, 0xff, "abc"), 2, "local"},
    {"v2, UNSPEC", v2(0x21, 0x00, ""), 2, "local"},
    {"v2, UNSPEC with a block", v2(0x21, 0x00, "abcdefg"), 2, "local"},
    {"v2, a family without transport", v2(0x21, 0x10, kInet), 2, "local"},
    {"v2, UDP over IPv4", v2(0x21, 0x12, kInet), 2, "local"},
    {"v2, UDP over IPv6", v2(0x21, 0x22, kInet6), 2, "local"},
    {"v2, unix stream", v2(0x21, 0x31, std::string(216, 'u')), 2, "local"},
    {"v2, unix datagram", v2(0x21, 0x32, std::string(216, 'u')), 2, "local"},
    {"v2, TLVs", v2(0x21, 0x11, kInet + tlv(0x02, "example.com") + tlv(0x04, "") + tlv(0xe0, std::string(300, 'x'))), 2,
     "192.168.0.1 56324 192.168.0.11 443"},
    {"v2, as long as allowed", v2(0x21, 0x21, kInet6 + tlv(0x04, std::string(4096 - 16 - 36 - 3, '\0'))), 2,
     "2001:db8::1 4096 2001:db8::2 80"},
    {"v2, checksum", with_checksum(v2(0x21, 0x11, kInet + tlv(0x03, "\0\0\0\0"s)), 16 + 12 + 3), 2,
     "192.168.0.1 56324 192.168.0.11 443"},
    {"v2, checksum between others",
     with_checksum(v2(0x21, 0x21, kInet6 + tlv(0x01, "h2") + tlv(0x03, "\0\0\0\0"s) + tlv(0x05, "id")),
                   16 + 36 + 5 + 3),
     2, "2001:db8::1 4096 2001:db8::2 80"},
};

TEST(ProxyProtocol, HeadersWholeAndAtEveryByte) {
  EXPECT_EQ(crc32c("123456789"), 0xe3069283U) << "the test's own sum";
  for (const Row& row : kHeaders) {
    SCOPED_TRACE(row.name);
    for (std::size_t n = 0; n < row.header.size(); ++n) ASSERT_EQ(outcome(row.header.substr(0, n)), "more") << n;
    for (const std::string& rest : {""s, kRequest, row.header, "\n"s}) {
      EXPECT_EQ(outcome(row.header + rest), row.wanted);
      const Parsed parsed = parse(row.header + rest);
      ASSERT_TRUE(std::holds_alternative<Header>(parsed));
      EXPECT_EQ(std::get<Header>(parsed).bytes, row.header.size());
      EXPECT_EQ(std::get<Header>(parsed).version, row.version);
    }
  }
}

struct Bad {
  const char* reason;
  std::string bytes;
};

const std::vector<Bad> kMalformed = {
    {"no PROXY", kRequest},
    {"no PROXY", "PROXy TCP4"},
    {"no PROXY", "PROXY\t"},
    {"no PROXY", "\r\n\r\n\0\r\nQUIT\r"s},
    {"no PROXY", " PROXY TCP4 "},
    {"unknown family", "PROXY TCP5 10.0.0.1 10.0.0.2 1 2\r\n"},
    {"unknown family", "PROXY tcp4 10.0.0.1 10.0.0.2 1 2\r\n"},
    {"unknown family", "PROXY  TCP4 10.0.0.1 10.0.0.2 1 2\r\n"},
    {"unknown family", "PROXY UDP4 10.0.0.1 10.0.0.2 1 2\r\n"},
    {"unknown family", "PROXY UNKNOWNX 10.0.0.2 1 2 3\r\n"},
    {"too few words", "PROXY UNKNOWNX\r\n"},
    {"too few words", "PROXY \r\n"},
    {"too few words", "PROXY TCP4\r\n"},
    {"too few words", "PROXY TCP4 10.0.0.1 10.0.0.2 1\r\n"},
    {"not a port", "PROXY TCP4 10.0.0.1 10.0.0.2 1 \r\n"},
    {"not a port", "PROXY TCP4 10.0.0.1 10.0.0.2 1 2 \r\n"},
    {"not a port", "PROXY TCP4 10.0.0.1 10.0.0.2 1 2 3\r\n"},
    {"not a port", "PROXY TCP4 10.0.0.1 10.0.0.2  1 2\r\n"},
    {"not a port", "PROXY TCP4 10.0.0.1 10.0.0.2 65536 2\r\n"},
    {"not a port", "PROXY TCP4 10.0.0.1 10.0.0.2 01 2\r\n"},
    {"not a port", "PROXY TCP4 10.0.0.1 10.0.0.2 00 2\r\n"},
    {"not a port", "PROXY TCP4 10.0.0.1 10.0.0.2 +1 2\r\n"},
    {"not a port", "PROXY TCP4 10.0.0.1 10.0.0.2 -1 2\r\n"},
    {"not a port", "PROXY TCP4 10.0.0.1 10.0.0.2 0x1 2\r\n"},
    {"not an address", "PROXY TCP4  10.0.0.1 10.0.0.2 1 2\r\n"},
    {"not an address", "PROXY TCP4 10.0.0.256 10.0.0.2 1 2\r\n"},
    {"not an address", "PROXY TCP4 10.0.0.01 10.0.0.2 1 2\r\n"},
    {"not an address", "PROXY TCP4 010.0.0.1 10.0.0.2 1 2\r\n"},
    {"not an address", "PROXY TCP4 10.0.1 10.0.0.2 1 2\r\n"},
    {"not an address", "PROXY TCP4 10.0.0.1. 10.0.0.2 1 2\r\n"},
    {"not an address", "PROXY TCP4 0xa.0.0.1 10.0.0.2 1 2\r\n"},
    {"not an address", "PROXY TCP4 10.0.0.1\0 10.0.0.2 1 2\r\n"s},
    {"not an address", "PROXY TCP4 ::1 ::2 1 2\r\n"},
    {"not an address", "PROXY TCP4 10.0.0.1 ::2 1 2\r\n"},
    {"not an address", "PROXY TCP6 10.0.0.1 10.0.0.2 1 2\r\n"},
    {"not an address", "PROXY TCP6 1::2::3 ::1 1 2\r\n"},
    {"not an address", "PROXY TCP6 12345::1 ::1 1 2\r\n"},
    {"not an address", "PROXY TCP6 fe80::1%1 ::1 1 2\r\n"},
    {"not an address", "PROXY TCP6 [::1] ::1 1 2\r\n"},
    {"alone", "PROXY TCP4 10.0.0.1 10.0.0.2 1 2\n"},
    {"alone", "PROXY TCP4 10.0.0.1 10.0.0.2 1 2\rGET"},
    {"alone", "PROXY UNKNOWN a\rb\r\n"},
    {"alone", "PROXY UNKNOWN a\nb\r\n"},
    {"107", "PROXY UNKNOWN " + std::string(93, 'x')},
    {"107", "PROXY UNKNOWN " + std::string(92, 'x') + "\r"},
    {"107", "PROXY UNKNOWN " + std::string(92, 'x') + "\r\n"},
    {"version or command", kSignature + "\x11"},
    {"version or command", kSignature + "\x31"},
    {"version or command", kSignature + "\x22"},
    {"version or command", kSignature + "\x2f"},
    {"family or transport", kSignature + "\x21\x41"},
    {"family or transport", kSignature + "\x21\x13"},
    {"family or transport", kSignature + "\x21\x03"},
    {"4096", kSignature + "\x21\x11" + u16(4081)},
    {"4096", kSignature + "\x20" + "\0"s + "\xff\xff"},
    {"shorter", kSignature + "\x21\x11" + u16(11)},
    {"shorter", kSignature + "\x21\x21" + u16(35)},
    {"shorter", kSignature + "\x21\x31" + u16(215)},
    {"shorter", kSignature + "\x21\x12" + u16(0)},
    {"TLV", v2(0x21, 0x11, kInet + "\x04")},
    {"TLV", v2(0x21, 0x11, kInet + "\x04" + u16(1))},
    {"TLV", v2(0x21, 0x11, kInet + tlv(0x04, "x") + "\x04" + "\xff\xff" + "abc")},
    {"TLV", v2(0x21, 0x31, std::string(216, 'u') + "x")},
    {"one checksum", v2(0x21, 0x11, kInet + tlv(0x03, "abc"))},
    {"one checksum", v2(0x21, 0x11, kInet + tlv(0x03, "abcde"))},
    {"wrong checksum", v2(0x21, 0x11, kInet + tlv(0x03, "\0\0\0\0"s))},
    {"wrong checksum", with_checksum(v2(0x21, 0x11, kInet + tlv(0x03, "\0\0\0\0"s)), 16 + 12 + 3, 0x80000000U)},
};

// Complete nonsense is refused with the byte that makes it so, and whatever follows.
TEST(ProxyProtocol, MalformedAtSomeByteAndFromThereOn) {
  for (const Bad& row : kMalformed) {
    SCOPED_TRACE(row.reason + ": "s + ::testing::PrintToString(row.bytes));
    EXPECT_NE(outcome(row.bytes).find("malformed: "), std::string::npos);
    EXPECT_NE(outcome(row.bytes).find(row.reason), std::string::npos) << outcome(row.bytes);
    EXPECT_EQ(outcome(row.bytes + kRequest), outcome(row.bytes));
    bool refused = false;
    for (std::size_t n = 0; n <= row.bytes.size(); ++n) {
      const std::string now = outcome(row.bytes.substr(0, n));
      ASSERT_TRUE(now == "more" || now.starts_with("malformed")) << now << " at " << n;
      ASSERT_FALSE(refused && now == "more") << n;
      refused = now != "more";
    }
  }
}

TEST(ProxyProtocol, NoBitOfASummedHeaderMayChange) {
  const std::string header =
      with_checksum(v2(0x21, 0x11, kInet + tlv(0x02, "a") + tlv(0x03, "\0\0\0\0"s)), 16 + 12 + 4 + 3);
  for (std::size_t bit = 16 * 8; bit < header.size() * 8; ++bit) {
    std::string changed = header;
    changed[bit / 8] = static_cast<char>(changed[bit / 8] ^ 1 << bit % 8);
    const std::string now = outcome(changed);
    // Unless the checksum's own type is what changed: then it is a TLV like others.
    EXPECT_TRUE(now.starts_with("malformed") || bit / 8 == 16 + 12 + 4) << bit << ": " << now;
  }
}

Endpoint endpoint(const char* address, std::uint16_t port) {
  return {boost::asio::ip::make_address(address), port};
}

TEST(ProxyProtocol, Built) {
  const auto v4 = endpoint("192.168.0.1", 56324), v4_to = endpoint("192.168.0.11", 443);
  EXPECT_EQ(build_v1(v4, v4_to), "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n");
  EXPECT_EQ(build_v2(v4, v4_to), v2(0x21, 0x11, kInet));
  const auto v6 = endpoint("2001:db8::1", 4096), v6_to = endpoint("2001:db8::2", 80);
  EXPECT_EQ(build_v1(v6, v6_to), "PROXY TCP6 2001:db8::1 2001:db8::2 4096 80\r\n");
  EXPECT_EQ(build_v2(v6, v6_to), v2(0x21, 0x21, kInet6));
  EXPECT_EQ(build_v1(v4, v6), "PROXY TCP6 ::ffff:c0a8:1 2001:db8::1 56324 4096\r\n");
  EXPECT_EQ(outcome(build_v2(v4, v6)), "::ffff:192.168.0.1 56324 2001:db8::1 4096");
  EXPECT_EQ(build_v1(endpoint("fe80::1%1", 1), v6), "PROXY TCP6 fe80::1 2001:db8::1 1 4096\r\n");
}

TEST(ProxyProtocol, WhatIsBuiltIsParsed) {
  std::mt19937 random(20261121);
  const auto any = [&]() -> Endpoint {
    const auto port = static_cast<std::uint16_t>(random());
    if (random() & 1) return {boost::asio::ip::address_v4(static_cast<std::uint32_t>(random())), port};
    boost::asio::ip::address_v6::bytes_type bytes{};
    for (auto& byte : bytes)
      if (random() & 1) byte = static_cast<unsigned char>(random());
    return {boost::asio::ip::address_v6(bytes), port};
  };
  for (int i = 0; i < 5000; ++i) {
    const Endpoint source = any(), destination = any();
    const std::string one = build_v1(source, destination), two = build_v2(source, destination);
    ASSERT_LE(one.size(), kV1BytesMax);
    ASSERT_EQ(outcome(one), outcome(two)) << one;
    const bool one_family = source.address().is_v4() == destination.address().is_v4();
    ASSERT_TRUE(!one_family || outcome(one) == text(source) + ' ' + text(destination)) << one;
    const Parsed parsed = parse(two);
    ASSERT_TRUE(std::holds_alternative<Header>(parsed));
    ASSERT_EQ(std::get<Header>(parsed).bytes, two.size());
  }
}

// Headers changed at random: never beyond the end, and the same from there on whatever follows.
TEST(ProxyProtocol, MutatedHeadersStandOrFallWhole) {
  std::mt19937 random(7);
  for (int round = 0; round < 4000; ++round) {
    std::string bytes = kHeaders[random() % kHeaders.size()].header;
    for (auto n = 1 + random() % 3; n-- > 0;) {
      const std::size_t at = random() % bytes.size();
      if (random() % 3 == 0)
        bytes.erase(at, 1);
      else
        bytes[at] = random() & 1 ? static_cast<char>(random()) : bytes[random() % bytes.size()];
    }
    SCOPED_TRACE(::testing::PrintToString(bytes));
    const Parsed parsed = parse(bytes);
    if (const auto* header = std::get_if<Header>(&parsed)) {
      ASSERT_LE(header->bytes, bytes.size());
      ASSERT_EQ(outcome(bytes.substr(0, header->bytes)), outcome(bytes));
      for (std::size_t n = 0; n < header->bytes; ++n) ASSERT_EQ(outcome(bytes.substr(0, n)), "more");
    } else if (std::holds_alternative<Malformed>(parsed)) {
      ASSERT_EQ(outcome(bytes + kRequest), outcome(bytes));
    }
  }
}

}  // namespace
}  // namespace suture::proxy_protocol
