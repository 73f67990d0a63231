// Sends single packets to a peer's VXLAN device from user space: the question about a stray, and what was held
// meanwhile. The peer cannot tell them from the kernel's: same outer source address, VNI and headers.
#pragma once

#include <cstdint>
#include <span>

#include <boost/asio/ip/address.hpp>

#include <suture/datapath_abi.h>
#include <suture/metrics.hpp>
#include <suture/result.hpp>

#include "proxy/datapath/file_descriptor.hpp"

namespace suture::datapath {

class TunnelSender {
 public:
  // `underlay` is our address, one sender per family. Peers check the source address, not the port.
  static Result<TunnelSender> open(const boost::asio::ip::address& underlay, std::uint16_t vxlan_port,
                                   std::uint32_t vni_base);

  // `packet` from its IP header on, at most packet_bytes_max. Never blocks; a full socket buffer is an error (the
  // client sends its segment again).
  Result<void> send(const boost::asio::ip::address& peer, suture_tunnel_kind kind,
                    std::span<const std::uint8_t> packet) const;

  static constexpr std::size_t packet_bytes_max = 65000;

 private:
  FileDescriptor socket_;
  std::uint16_t port_ = 0;
  std::uint32_t vni_base_ = 0;
  bool v6_ = false;
};

}  // namespace suture::datapath
