#include "proxy/datapath/tunnel_sender.hpp"

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string>

#include <boost/asio/ip/udp.hpp>

namespace suture::datapath {
namespace {

using Endpoint = boost::asio::ip::udp::endpoint;

// VXLAN header and inner Ethernet header:
//   flags (I) 0 0 0 | VNI (24) 0 | destination MAC (6) | source MAC (6) | EtherType
// The MAC addresses are those of bpf/tunnel.bpf.h push_ethernet: the source must not be a receiver's own.
std::array<std::uint8_t, 22> inner_headers(std::uint32_t vni, bool v6) {
  return {0x08,
          0,
          0,
          0,
          static_cast<std::uint8_t>(vni >> 16),
          static_cast<std::uint8_t>(vni >> 8),
          static_cast<std::uint8_t>(vni),
          0,
          0x02,
          0x53,
          0x75,
          0x74,
          0x00,
          0x02,
          0x02,
          0x53,
          0x75,
          0x74,
          0x00,
          0x01,
          static_cast<std::uint8_t>(v6 ? 0x86 : 0x08),
          static_cast<std::uint8_t>(v6 ? 0xdd : 0x00)};
}

}  // namespace

Result<TunnelSender> TunnelSender::open(const boost::asio::ip::address& underlay, std::uint16_t vxlan_port,
                                        std::uint32_t vni_base) {
  TunnelSender sender;
  sender.v6_ = underlay.is_v6();
  sender.port_ = vxlan_port;
  sender.vni_base_ = vni_base;
  sender.socket_ =
      FileDescriptor(::socket(sender.v6_ ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!sender.socket_) return errno_error("tunnel socket");
  const Endpoint local(underlay, 0);
  if (::bind(sender.socket_.get(), local.data(), static_cast<socklen_t>(local.size())) < 0) {
    const int why = errno;  // to_string() calls into the library
    const std::string address = underlay.to_string();
    if (why == EADDRNOTAVAIL)
      return Error{"node.underlay: " + address + " is not an address of this host; ip address add it, or correct it",
                   why};
    errno = why;
    return errno_error("bind tunnel socket to underlay address " + address);
  }
  // Like the kernel's tunnel: a packet too large for the underlay is fragmented, not refused.
  const int level = sender.v6_ ? IPPROTO_IPV6 : IPPROTO_IP;
  const int dont = sender.v6_ ? IPV6_PMTUDISC_DONT : IP_PMTUDISC_DONT;
  if (::setsockopt(sender.socket_.get(), level, sender.v6_ ? IPV6_MTU_DISCOVER : IP_MTU_DISCOVER, &dont, sizeof dont) <
      0)
    return errno_error("tunnel socket path MTU discovery off");
  return sender;
}

Result<void> TunnelSender::send(const boost::asio::ip::address& peer, suture_tunnel_kind kind,
                                std::span<const std::uint8_t> packet) const {
  if (packet.empty() || packet.size() > packet_bytes_max)
    return Error{"tunnelled packet of " + std::to_string(packet.size()) + " bytes", EMSGSIZE};
  if (peer.is_v6() != v6_) return Error{"peer " + peer.to_string() + " is of the other address family", EAFNOSUPPORT};
  auto headers = inner_headers(vni_base_ | static_cast<std::uint32_t>(kind), (packet[0] >> 4) == 6);
  iovec parts[2] = {{headers.data(), headers.size()},
                    {const_cast<std::uint8_t*>(packet.data()), packet.size()}};  // sendmsg only reads
  Endpoint to(peer, port_);
  msghdr message{};
  message.msg_name = to.data();
  message.msg_namelen = static_cast<socklen_t>(to.size());
  message.msg_iov = parts;
  message.msg_iovlen = 2;
  if (::sendmsg(socket_.get(), &message, 0) < 0) {
    const int why = errno;
    const std::string what = "send to peer " + peer.to_string();
    errno = why;
    return errno_error(what);
  }
  return {};
}

}  // namespace suture::datapath
