// Device routes in a routing table of our own: the announcement of a VIP (DESIGN.md, idea 5). The kernel removes such a
// route with its device.
#pragma once

#include <cstdint>

#include <boost/asio/ip/address.hpp>

#include <suture/result.hpp>

namespace suture::datapath {

class Netlink;

struct DeviceRoute {
  boost::asio::ip::address destination;  // host route: /32 or /128
  unsigned ifindex = 0;
  std::uint32_t table = 0;
  std::uint8_t protocol = 0;  // RTPROT_*, so that the BGP daemon (and we) know it
};
// `netlink` (NETLINK_ROUTE) is the caller's and stays open: a process that has run out of descriptors must still be
// able to withdraw. Replaces a route of the same destination and table.
Result<void> add_route(Netlink& netlink, const DeviceRoute& route);
// Is exactly this route there?
Result<bool> has_route(Netlink& netlink, const DeviceRoute& route);
// Ok if it is not there.
Result<void> delete_route(Netlink& netlink, const DeviceRoute& route);

}  // namespace suture::datapath
