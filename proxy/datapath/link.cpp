#include "proxy/datapath/link.hpp"

#include <arpa/inet.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <net/if_arp.h>

#include <cerrno>

#include "proxy/datapath/netlink.hpp"

namespace suture::datapath {
namespace {

void read_vxlan(const nlattr* data, Link& link) {
  each_nested(data, [&](const nlattr* attribute) {
    switch (mnl_attr_get_type(attribute)) {
      case IFLA_VXLAN_PORT:
        link.vxlan_port = ntohs(mnl_attr_get_u16(attribute));
        break;
      case IFLA_VXLAN_COLLECT_METADATA:
        link.vxlan_external = mnl_attr_get_u8(attribute) != 0;
        break;
      case IFLA_VXLAN_UDP_ZERO_CSUM6_RX:
        link.vxlan_udp6_zero_checksum_rx = mnl_attr_get_u8(attribute) != 0;
        break;
      default:
        break;
    }
  });
}

Link read_link(const nlmsghdr* message) {
  const auto* info = static_cast<const ifinfomsg*>(mnl_nlmsg_get_payload(message));
  Link link;
  link.ifindex = static_cast<unsigned>(info->ifi_index);
  link.type = info->ifi_type;
  link.up = (info->ifi_flags & IFF_UP) != 0;
  const nlattr* data = nullptr;
  each_attribute(message, sizeof *info, [&](const nlattr* attribute) {
    switch (mnl_attr_get_type(attribute)) {
      case IFLA_IFNAME:
        link.name = mnl_attr_get_str(attribute);
        break;
      case IFLA_MTU:
        link.mtu = mnl_attr_get_u32(attribute);
        break;
      case IFLA_LINKINFO:
        each_nested(attribute, [&](const nlattr* nested) {
          if (mnl_attr_get_type(nested) == IFLA_INFO_KIND) link.kind = mnl_attr_get_str(nested);
          if (mnl_attr_get_type(nested) == IFLA_INFO_DATA) data = nested;
        });
        break;
      default:
        break;
    }
  });
  if (link.kind == "vxlan" && data != nullptr) read_vxlan(data, link);
  return link;
}

ifinfomsg* put_ifinfo(nlmsghdr* header, unsigned ifindex) {
  auto* info = static_cast<ifinfomsg*>(mnl_nlmsg_put_extra_header(header, sizeof(ifinfomsg)));
  info->ifi_family = AF_UNSPEC;
  info->ifi_index = static_cast<int>(ifindex);
  return info;
}

Result<void> route_request(nlmsghdr* header, const std::string& what) {
  auto netlink = Netlink::open(NETLINK_ROUTE);
  if (!netlink) return netlink.error();
  return netlink->acknowledge(header, what);
}

}  // namespace

bool Link::has_ethernet_header() const {
  return type == ARPHRD_ETHER || type == ARPHRD_LOOPBACK;
}

Result<std::vector<Link>> list_links() {
  auto netlink = Netlink::open(NETLINK_ROUTE);
  if (!netlink) return netlink.error();
  NetlinkRequest request;
  nlmsghdr* header = request.header(RTM_GETLINK, NLM_F_DUMP);
  put_ifinfo(header, 0);
  std::vector<Link> links;
  const auto listed = netlink->ask(header, "list devices", [&](const nlmsghdr* m) { links.push_back(read_link(m)); });
  if (!listed) return listed.error();
  return links;
}

Result<std::optional<Link>> find_link(const std::string& name) {
  if (name.empty() || name.size() >= IFNAMSIZ)
    return Error{"interface name \"" + name + "\" is not 1 to 15 characters long"};
  auto netlink = Netlink::open(NETLINK_ROUTE);
  if (!netlink) return netlink.error();
  NetlinkRequest request;
  nlmsghdr* header = request.header(RTM_GETLINK, 0);
  put_ifinfo(header, 0);
  mnl_attr_put_strz(header, IFLA_IFNAME, name.c_str());
  std::optional<Link> link;
  const auto found = netlink->ask(header, "look up device " + name, [&](const nlmsghdr* m) { link = read_link(m); });
  if (!found && found.error().errno_value != ENODEV) return found.error();
  return link;
}

Result<void> create_vxlan(const VxlanDevice& device) {
  NetlinkRequest request;
  nlmsghdr* header = request.header(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
  put_ifinfo(header, 0);
  mnl_attr_put_strz(header, IFLA_IFNAME, device.name.c_str());
  mnl_attr_put_u32(header, IFLA_MTU, device.mtu);
  nlattr* info = mnl_attr_nest_start(header, IFLA_LINKINFO);
  mnl_attr_put_str(header, IFLA_INFO_KIND, "vxlan");
  nlattr* data = mnl_attr_nest_start(header, IFLA_INFO_DATA);
  mnl_attr_put_u8(header, IFLA_VXLAN_COLLECT_METADATA, 1);
  mnl_attr_put_u8(header, IFLA_VXLAN_LEARNING, 0);
  mnl_attr_put_u16(header, IFLA_VXLAN_PORT, htons(device.port));
  mnl_attr_put_u8(header, IFLA_VXLAN_UDP_ZERO_CSUM6_RX, 1);
  mnl_attr_put_u8(header, IFLA_VXLAN_UDP_ZERO_CSUM6_TX, 1);
  mnl_attr_nest_end(header, data);
  mnl_attr_nest_end(header, info);
  auto made = route_request(header, "create VXLAN device " + device.name);
  if (!made && made.error().errno_value == EOPNOTSUPP) {
    Error error = made.error();
    error.message += ": the kernel needs CONFIG_VXLAN (modprobe vxlan)";
    return error;
  }
  return made;
}

Result<void> set_link_up(unsigned ifindex, const std::string& name) {
  {
    NetlinkRequest request;
    nlmsghdr* header = request.header(RTM_NEWLINK, 0);
    put_ifinfo(header, ifindex);
    nlattr* families = mnl_attr_nest_start(header, IFLA_AF_SPEC);
    nlattr* inet6 = mnl_attr_nest_start(header, AF_INET6);
    mnl_attr_put_u8(header, IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE);
    mnl_attr_nest_end(header, inet6);
    mnl_attr_nest_end(header, families);
    // Without IPv6 in the kernel there is nothing to prevent.
    (void)route_request(header, "address generation off on " + name);
  }
  NetlinkRequest request;
  nlmsghdr* header = request.header(RTM_NEWLINK, 0);
  ifinfomsg* info = put_ifinfo(header, ifindex);
  info->ifi_flags = IFF_UP;
  info->ifi_change = IFF_UP;
  return route_request(header, "set device " + name + " up");
}

Result<void> set_link_mtu(unsigned ifindex, std::uint32_t mtu) {
  NetlinkRequest request;
  nlmsghdr* header = request.header(RTM_NEWLINK, 0);
  put_ifinfo(header, ifindex);
  mnl_attr_put_u32(header, IFLA_MTU, mtu);
  return route_request(header, "set MTU " + std::to_string(mtu));
}

Result<void> delete_link(unsigned ifindex) {
  NetlinkRequest request;
  nlmsghdr* header = request.header(RTM_DELLINK, 0);
  put_ifinfo(header, ifindex);
  return route_request(header, "delete device " + std::to_string(ifindex));
}

}  // namespace suture::datapath
