// Network devices by rtnetlink (rtnetlink(7)): look up, create a VXLAN device, up, MTU, delete.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <suture/result.hpp>

namespace suture::datapath {

struct Link {
  unsigned ifindex = 0;
  std::string name;
  unsigned short type = 0;  // ARPHRD_*
  std::uint32_t mtu = 0;
  bool up = false;
  std::string kind;  // IFLA_INFO_KIND: "vxlan", "tun", "veth", ... or ""
  // kind "vxlan":
  std::uint16_t vxlan_port = 0;
  bool vxlan_external = false;
  bool vxlan_udp6_zero_checksum_rx = false;

  // Does a packet on it start with an Ethernet header? (tc programs see it from there.)
  bool has_ethernet_header() const;
};

// nullopt: there is no such device.
Result<std::optional<Link>> find_link(const std::string& name);
Result<std::vector<Link>> list_links();

struct VxlanDevice {
  std::string name;
  std::uint16_t port = 0;
  std::uint32_t mtu = 0;
};
// External (collect metadata) mode, no learning, zero UDP checksums accepted over IPv6; down.
Result<void> create_vxlan(const VxlanDevice& device);

// Up, and without a link-local address of its own (no router solicitations into it).
Result<void> set_link_up(unsigned ifindex, const std::string& name);
Result<void> set_link_mtu(unsigned ifindex, std::uint32_t mtu);
Result<void> delete_link(unsigned ifindex);

}  // namespace suture::datapath
