#include "proxy/datapath/address.hpp"

#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <net/if.h>

#include <cerrno>
#include <cstring>

#include <suture/ids.hpp>

#include "proxy/datapath/netlink.hpp"

namespace suture::datapath {
namespace {

using Address = boost::asio::ip::address;

// IFA_PROTO: who added an address (Linux 5.18, include/uapi/linux/if_addr.h; `ip addr` says "proto 0x53"). 0 to 3 are
// the kernel's own. Suture needs 6.1 for other reasons, so there is no second way.
constexpr std::uint8_t kAddressProtocol = 0x53;

unsigned ifindex_of_loopback() {
  return ::if_nametoindex("lo");
}

void put_address(nlmsghdr* header, std::uint16_t attribute, const Address& address) {
  if (address.is_v4())
    mnl_attr_put(header, attribute, 4, address.to_v4().to_bytes().data());
  else
    mnl_attr_put(header, attribute, 16, address.to_v6().to_bytes().data());
}

Result<void> change(std::uint16_t type, std::uint16_t flags, unsigned ifindex, const Address& address,
                    const std::string& what, int harmless) {
  auto netlink = Netlink::open(NETLINK_ROUTE);
  if (!netlink) return netlink.error();
  NetlinkRequest request;
  nlmsghdr* header = request.header(type, flags);
  auto* body = static_cast<ifaddrmsg*>(mnl_nlmsg_put_extra_header(header, sizeof(ifaddrmsg)));
  body->ifa_family = address.is_v4() ? AF_INET : AF_INET6;
  body->ifa_prefixlen = address.is_v4() ? 32 : 128;
  body->ifa_index = ifindex;
  if (address.is_v6()) body->ifa_flags = IFA_F_NODAD;
  if (type == RTM_NEWADDR) mnl_attr_put_u8(header, IFA_PROTO, kAddressProtocol);
  put_address(header, IFA_LOCAL, address);
  put_address(header, IFA_ADDRESS, address);
  auto done = netlink->acknowledge(header, what + " " + address.to_string());
  if (!done && done.error().errno_value == harmless) return {};
  return done;
}

}  // namespace

Result<AddressOwner> find_address(const Address& address) {
  auto netlink = Netlink::open(NETLINK_ROUTE);
  if (!netlink) return netlink.error();
  NetlinkRequest request;
  nlmsghdr* header = request.header(RTM_GETADDR, NLM_F_DUMP);
  auto* body = static_cast<ifaddrmsg*>(mnl_nlmsg_put_extra_header(header, sizeof(ifaddrmsg)));
  body->ifa_family = address.is_v4() ? AF_INET : AF_INET6;
  const suture_addr wanted = to_addr(address);
  AddressOwner owner = AddressOwner::nobody;
  const auto listed = netlink->ask(header, "list addresses", [&](const nlmsghdr* m) {
    const auto* message = static_cast<const ifaddrmsg*>(mnl_nlmsg_get_payload(m));
    // IPv4's own address is IFA_LOCAL (IFA_ADDRESS is the other end's); IPv6 has only IFA_ADDRESS where there is no
    // other end.
    const nlattr* own = nullptr;
    std::uint8_t protocol = 0;
    each_attribute(m, sizeof *message, [&](const nlattr* a) {
      const auto type = mnl_attr_get_type(a);
      if (type == IFA_LOCAL || (type == IFA_ADDRESS && own == nullptr)) own = a;
      if (type == IFA_PROTO) protocol = mnl_attr_get_u8(a);
    });
    if (own == nullptr) return;
    const std::size_t bytes = message->ifa_family == AF_INET ? 4 : 16;
    if (mnl_attr_get_payload_len(own) != bytes || message->ifa_family != (address.is_v4() ? AF_INET : AF_INET6)) return;
    if (std::memcmp(mnl_attr_get_payload(own), wanted.b + (16 - bytes), bytes) != 0) return;
    const bool marked = protocol == kAddressProtocol && message->ifa_index == ifindex_of_loopback();
    if (!marked)
      owner = AddressOwner::others;
    else if (owner == AddressOwner::nobody)
      owner = AddressOwner::suture;
  });
  if (!listed) return listed.error();
  return owner;
}

Result<void> add_address(unsigned ifindex, const Address& address) {
  return change(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, ifindex, address, "add address", EEXIST);
}

Result<void> delete_address(unsigned ifindex, const Address& address) {
  return change(RTM_DELADDR, 0, ifindex, address, "delete address", EADDRNOTAVAIL);
}

}  // namespace suture::datapath
