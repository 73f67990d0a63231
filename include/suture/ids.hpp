// Identifiers that several folders share.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <functional>
#include <string>

#include <boost/asio/ip/address.hpp>
#include <boost/asio/ip/tcp.hpp>

#include <suture/flow_key.h>
#include <suture/node_id.hpp>

// In the structs' own (global) namespace, where argument-dependent look-up finds them.
bool operator==(const suture_flow_key& a, const suture_flow_key& b);
bool operator==(const suture_addr& a, const suture_addr& b);

namespace suture {

// IPv4 becomes IPv4-mapped (flow_key.h).
suture_addr to_addr(const boost::asio::ip::address& address);
boost::asio::ip::address from_addr(const suture_addr& addr);

// Client connection as seen by the server's accepted socket.
suture_flow_key make_flow_key(const boost::asio::ip::tcp::endpoint& client, const boost::asio::ip::tcp::endpoint& vip);
boost::asio::ip::tcp::endpoint client_of(const suture_flow_key& key);
boost::asio::ip::tcp::endpoint vip_of(const suture_flow_key& key);

// "[2001:db8::1]:4242>203.0.113.10:80", for logs.
std::string to_string(const suture_flow_key& key);

// Keyed (SipHash-like) by a secret drawn at process start: clients choose these keys, and must not choose the bucket.
struct FlowKeyHash {
  std::size_t operator()(const suture_flow_key& key) const noexcept;
};

}  // namespace suture
