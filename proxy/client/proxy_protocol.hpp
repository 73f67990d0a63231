// The PROXY protocol (HAProxy's doc/proxy-protocol.txt, versions 1 and 2): the header by which a balancer says whose
// connection it passes on. Section numbers are that document's.
//
//   v1   "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n" | the client's bytes
//   v2   signature (12) | version, command | family, transport | length (2) | addresses, TLVs: `length` bytes | ...
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>

#include <boost/asio/ip/tcp.hpp>

namespace suture::proxy_protocol {

using Endpoint = boost::asio::ip::tcp::endpoint;

inline constexpr std::size_t kV1BytesMax = 107;   // with CR LF (2.1)
inline constexpr std::size_t kV2BytesMax = 4096;  // TLVs: a host name, a certificate's name, an id; nobody sends more

struct NeedMore {};
// What no further byte makes a header. `reason` is static.
struct Malformed {
  const char* reason = "";
};
struct Header {
  std::size_t bytes = 0;  // of the whole header; the client's own bytes begin there
  unsigned version = 1;
  // The balancer's own connection, or addresses that are no TCP: the socket's stand, source and destination are empty.
  bool local = false;
  Endpoint source, destination;  // of one family; a port may be 0
};
using Parsed = std::variant<NeedMore, Malformed, Header>;

// `bytes`: everything since the connection began. A header is recognised by its signature and taken whole; a checksum
// among its TLVs is verified (2.2.3), other TLVs are skipped.
Parsed parse(std::string_view bytes);

// Headers for the application. Endpoints of two families are both written as IPv6, the IPv4 one mapped.
std::string build_v1(const Endpoint& source, const Endpoint& destination);
std::string build_v2(const Endpoint& source, const Endpoint& destination);

}  // namespace suture::proxy_protocol
