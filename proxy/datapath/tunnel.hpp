// The VXLAN device through which PoPs forward to each other (RFC 7348, external mode: the BPF programs give the outer
// header of each packet and check that of received ones).
#pragma once

#include <cstdint>
#include <string>

#include <suture/result.hpp>

namespace suture::datapath {

struct TunnelConfig {
  std::string device = "suture-vx";
  std::uint16_t port = 7102;
  bool return_tunnel = false;  // answers are routed from the device to clients: needs forwarding on it, and only on it
};

// The MTU of the VXLAN device. Larger than any path: what a forwarded packet may measure is decided by the MSS clamp
// (tunnel_mss), and a packet that is too large for the underlay is fragmented there rather than lost.
inline constexpr std::uint32_t kTunnelMtu = 65000;

// Outer headers: Ethernet (inner) 14 + VXLAN 8 + UDP 8 + IPv4 20 or IPv6 40.
inline constexpr std::uint32_t kTunnelOverhead4 = 50;
inline constexpr std::uint32_t kTunnelOverhead6 = 70;

// The MSS to announce to clients on every PoP, so that a forwarded full-size packet fits the underlay unfragmented.
// RFC 6691: without the room for TCP options.
constexpr std::uint32_t tunnel_mss(std::uint32_t underlay_mtu, bool underlay6, bool client6) {
  return underlay_mtu - (underlay6 ? kTunnelOverhead6 : kTunnelOverhead4) - (client6 ? 40 : 20) - 20;
}

class Tunnel {
 public:
  // Creates the device, or adopts what an unclean exit left (same name, port and mode; of another port or mode but ours
  // by name and kind: replaced). The error says who else has the port or the name.
  static Result<Tunnel> open(const TunnelConfig& config);
  // Clean exit. Without it the device stays, and with it the programs that forward for a dead process.
  Result<void> remove();

  // Sets it up again, or makes it anew, where somebody set it down or deleted it; true: one of these. ifindex() may be
  // another one then, without programs.
  Result<bool> restore();

  unsigned ifindex() const { return ifindex_; }
  const std::string& device() const { return config_.device; }
  bool adopted() const { return adopted_; }

 private:
  unsigned ifindex_ = 0;
  TunnelConfig config_;
  bool adopted_ = false;
};

}  // namespace suture::datapath
