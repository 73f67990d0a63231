// The announcer's only door to the kernel: one route per VIP (VIP/32 or VIP/128) in the announce table, pointing to the
// TUN device that this process holds open (DESIGN.md idea 5). Implemented on proxy/datapath's netlink by the node's
// wiring; a fake in tests. Called on the control thread; synchronous, must not block for longer than a netlink request.
#pragma once

#include <boost/asio/ip/address.hpp>

#include <suture/result.hpp>

namespace suture {

class AnnouncedRoutes {
 public:
  virtual ~AnnouncedRoutes() = default;
  // Is the route there as add() would make it?
  virtual Result<bool> present(const boost::asio::ip::address& vip) = 0;
  // Idempotent: success also if the route is already there as wanted.
  virtual Result<void> add(const boost::asio::ip::address& vip) = 0;
  // Idempotent: success also if there is no such route.
  virtual Result<void> remove(const boost::asio::ip::address& vip) = 0;
};

}  // namespace suture
