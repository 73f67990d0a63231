#include "proxy/datapath/route.hpp"

#include <linux/rtnetlink.h>

#include <cerrno>
#include <cstring>

#include <suture/ids.hpp>

#include "proxy/datapath/netlink.hpp"

namespace suture::datapath {
namespace {

Result<void> change(Netlink& netlink, std::uint16_t type, std::uint16_t flags, const DeviceRoute& route,
                    const std::string& what) {
  NetlinkRequest request;
  nlmsghdr* header = request.header(type, flags);
  auto* body = static_cast<rtmsg*>(mnl_nlmsg_put_extra_header(header, sizeof(rtmsg)));
  const bool v4 = route.destination.is_v4();
  body->rtm_family = v4 ? AF_INET : AF_INET6;
  body->rtm_dst_len = v4 ? 32 : 128;
  body->rtm_protocol = route.protocol;
  body->rtm_scope = v4 ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
  body->rtm_type = RTN_UNICAST;
  mnl_attr_put_u32(header, RTA_TABLE, route.table);
  if (v4)
    mnl_attr_put(header, RTA_DST, 4, route.destination.to_v4().to_bytes().data());
  else
    mnl_attr_put(header, RTA_DST, 16, route.destination.to_v6().to_bytes().data());
  mnl_attr_put_u32(header, RTA_OIF, route.ifindex);
  return netlink.acknowledge(
      header, what + " route " + route.destination.to_string() + " in table " + std::to_string(route.table));
}

}  // namespace

Result<void> add_route(Netlink& netlink, const DeviceRoute& route) {
  return change(netlink, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, route, "add");
}

// A dump of all tables where the kernel does not filter (NETLINK_GET_STRICT_CHK), so the table is compared here, too.
Result<bool> has_route(Netlink& netlink, const DeviceRoute& route) {
  NetlinkRequest request;
  nlmsghdr* header = request.header(RTM_GETROUTE, NLM_F_DUMP);
  auto* body = static_cast<rtmsg*>(mnl_nlmsg_put_extra_header(header, sizeof(rtmsg)));
  body->rtm_family = route.destination.is_v4() ? AF_INET : AF_INET6;
  mnl_attr_put_u32(header, RTA_TABLE, route.table);
  const suture_addr wanted = to_addr(route.destination);
  const std::size_t bytes = route.destination.is_v4() ? 4 : 16;
  bool found = false;
  const auto listed = netlink.ask(header, "list routes", [&](const nlmsghdr* m) {
    if (m->nlmsg_type != RTM_NEWROUTE) return;
    const auto* message = static_cast<const rtmsg*>(mnl_nlmsg_get_payload(m));
    if (message->rtm_dst_len != bytes * 8 || message->rtm_protocol != route.protocol) return;
    bool destination = false;
    std::uint32_t table = message->rtm_table;
    unsigned device = 0;
    each_attribute(m, sizeof *message, [&](const nlattr* a) {
      const auto type = mnl_attr_get_type(a);
      if (type == RTA_DST)
        destination = mnl_attr_get_payload_len(a) == bytes &&
                      std::memcmp(mnl_attr_get_payload(a), wanted.b + (16 - bytes), bytes) == 0;
      if (type == RTA_TABLE) table = mnl_attr_get_u32(a);
      if (type == RTA_OIF) device = mnl_attr_get_u32(a);
    });
    found = found || (destination && table == route.table && device == route.ifindex);
  });
  if (!listed) {
    if (listed.error().errno_value == ENOENT) return false;  // no such table yet
    return listed.error();
  }
  return found;
}

Result<void> delete_route(Netlink& netlink, const DeviceRoute& route) {
  auto done = change(netlink, RTM_DELROUTE, 0, route, "delete");
  if (!done && (done.error().errno_value == ESRCH || done.error().errno_value == ENODEV)) return {};
  return done;
}

}  // namespace suture::datapath
