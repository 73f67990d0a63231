#include "proxy/datapath/tunnel.hpp"

#include <cerrno>

#include <suture/log.hpp>

#include "proxy/datapath/any_source.hpp"
#include "proxy/datapath/link.hpp"
#include "proxy/datapath/sysctl.hpp"

namespace suture::datapath {
namespace {

Error port_taken(std::uint16_t port, const std::string& by) {
  return Error{"VXLAN port " + std::to_string(port) + " is taken by " + by +
                   ": set datapath.vxlan_port to another one, the same on all nodes",
               EADDRINUSE};
}

Result<void> allow_forwarding(const std::string& device) {
  if (auto done = ensure_sysctl("net/ipv4/conf/" + device + "/forwarding", 1); !done) return done;
  const std::string v6 = "net/ipv6/conf/" + device + "/forwarding";
  if (!read_sysctl(v6)) return {};  // no IPv6 in this kernel
  return ensure_sysctl(v6, 1);
}

}  // namespace

Result<Tunnel> Tunnel::open(const TunnelConfig& config) {
  const auto links = list_links();
  if (!links) return links.error();
  Tunnel tunnel;
  tunnel.config_ = config;
  for (const Link& link : *links) {
    if (link.name != config.device) {
      if (link.kind == "vxlan" && link.vxlan_port == config.port) return port_taken(config.port, "device " + link.name);
      continue;
    }
    if (link.kind != "vxlan" || !link.vxlan_external)
      return Error{"device " + link.name +
                   " exists and is not a VXLAN device in external mode: remove it, or set datapath.vxlan_device"};
    if (link.vxlan_port == config.port && link.vxlan_udp6_zero_checksum_rx) {
      tunnel.ifindex_ = link.ifindex;
      tunnel.adopted_ = true;
    } else if (auto done = delete_link(link.ifindex); !done) {
      return done.error();
    }
  }
  if (!tunnel.adopted_) {
    if (auto done = create_vxlan({config.device, config.port, kTunnelMtu}); !done) return done.error();
    const auto made = find_link(config.device);
    if (!made) return made.error();
    if (!made->has_value()) return Error{"VXLAN device " + config.device + " vanished"};
    tunnel.ifindex_ = (*made)->ifindex;
  }
  const auto configure = [&]() -> Result<void> {
    if (auto done = set_link_mtu(tunnel.ifindex_, kTunnelMtu); !done) return done;
    if (auto done = allow_any_source(tunnel.ifindex_, config.device, "127.83.117.2"); !done) return done;
    if (config.return_tunnel)
      if (auto done = allow_forwarding(config.device); !done) return done;
    auto up = set_link_up(tunnel.ifindex_, config.device);
    if (!up && up.error().errno_value == EADDRINUSE) return port_taken(config.port, "another program's UDP socket");
    return up;
  };
  if (auto done = configure(); !done) {
    (void)tunnel.remove();
    return done.error();
  }
  log::info("tunnel_up",
            {{"device", config.device}, {"port", config.port}, {"adopted", tunnel.adopted_ ? "yes" : "no"}});
  return tunnel;
}

Result<bool> Tunnel::restore() {
  const auto link = find_link(config_.device);
  if (!link) return link.error();
  if (*link && (*link)->ifindex == ifindex_) {
    if ((*link)->up) return false;
    if (auto done = set_link_up(ifindex_, config_.device); !done) return done.error();
    return true;
  }
  auto again = open(config_);
  if (!again) return again.error();
  ifindex_ = again->ifindex_;
  return true;
}

Result<void> Tunnel::remove() {
  auto done = delete_link(ifindex_);
  if (!done && done.error().errno_value == ENODEV) return {};
  return done;
}

}  // namespace suture::datapath
