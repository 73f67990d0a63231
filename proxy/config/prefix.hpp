// Address prefixes ("10.0.0.0/8"): header only, sessions ask covers() of each connection.
#pragma once

#include <boost/asio/ip/address.hpp>

namespace suture::config {

struct Prefix {
  boost::asio::ip::address address;
  unsigned bits = 0;  // bits of the address beyond them are 0, but for what parse_prefix() gives
};

// Without the bits beyond its length.
inline Prefix canonical(const Prefix& prefix) {
  const auto masked = [&](auto bytes) {
    for (unsigned i = prefix.bits; i < bytes.size() * 8; i = i / 8 * 8 + 8)
      bytes[i / 8] &= static_cast<unsigned char>(~(0xffU >> i % 8));
    return bytes;
  };
  if (prefix.address.is_v4())
    return {boost::asio::ip::address_v4(masked(prefix.address.to_v4().to_bytes())), prefix.bits};
  return {boost::asio::ip::address_v6(masked(prefix.address.to_v6().to_bytes())), prefix.bits};
}

// An IPv4-mapped address is IPv6 here.
inline bool covers(const Prefix& prefix, const boost::asio::ip::address& address) {
  return prefix.address.is_v4() == address.is_v4() && canonical({address, prefix.bits}).address == prefix.address;
}

}  // namespace suture::config
