#include "proxy/datapath/socket_destroyer.hpp"

#include <arpa/inet.h>
#include <linux/inet_diag.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

#include <cerrno>
#include <cstring>
#include <optional>
#include <vector>

#include <suture/ids.hpp>

#include "proxy/datapath/netlink.hpp"

namespace suture::datapath {
namespace {

constexpr __u8 kTimeWaitTimer = 3;  // inet_twsk_diag_fill, whatever state it gives: TIME_WAIT, or FIN_WAIT2 before it

inet_diag_req_v2* put_request(nlmsghdr* header, int family) {
  auto* request = static_cast<inet_diag_req_v2*>(mnl_nlmsg_put_extra_header(header, sizeof(inet_diag_req_v2)));
  request->sdiag_family = static_cast<__u8>(family);
  request->sdiag_protocol = IPPROTO_TCP;
  request->idiag_states = ~(1U << TCP_LISTEN);
  return request;
}

// A dual-stack listener's connections are AF_INET6 sockets with mapped addresses: both families are asked.
Result<std::vector<inet_diag_msg>> find(Netlink& netlink, int family, const suture_addr& vip, std::uint16_t port) {
  NetlinkRequest request;
  nlmsghdr* header = request.header(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP);
  put_request(header, family)->id.idiag_sport = htons(port);
  std::vector<inet_diag_msg> found;
  const auto listed = netlink.ask(header, "list TCP sockets", [&](const nlmsghdr* m) {
    if (mnl_nlmsg_get_payload_len(m) < sizeof(inet_diag_msg)) return;
    inet_diag_msg socket;
    std::memcpy(&socket, mnl_nlmsg_get_payload(m), sizeof socket);
    if (socket.id.idiag_sport != htons(port) || socket.idiag_state == TCP_LISTEN) return;
    suture_addr local{};
    if (socket.idiag_family == AF_INET) {
      local.b[10] = local.b[11] = 0xff;
      std::memcpy(local.b + 12, socket.id.idiag_src, 4);
    } else {
      std::memcpy(local.b, socket.id.idiag_src, 16);
    }
    if (local == vip) found.push_back(socket);
  });
  if (!listed) {
    Error error = listed.error();
    if (error.errno_value == ENOENT) error.message += ": the kernel needs CONFIG_INET_TCP_DIAG (modprobe tcp_diag)";
    return error;
  }
  return found;
}

Result<bool> destroy(Netlink& netlink, const inet_diag_msg& socket) {
  NetlinkRequest request;
  nlmsghdr* header = request.header(SOCK_DESTROY, 0);
  put_request(header, socket.idiag_family)->id = socket.id;
  const auto done = netlink.acknowledge(header, "destroy TCP socket");
  if (done) return true;
  if (done.error().errno_value == ENOENT) return false;  // it ended by itself meanwhile
  Error error = done.error();
  if (error.errno_value == EOPNOTSUPP) error.message += ": the kernel needs CONFIG_INET_DIAG_DESTROY";
  return error;
}

}  // namespace

Result<unsigned> destroy_sockets(const boost::asio::ip::address& vip, std::uint16_t port) {
  auto netlink = Netlink::open(NETLINK_SOCK_DIAG);
  if (!netlink) return netlink.error();
  unsigned destroyed = 0;
  for (const int family : {AF_INET, AF_INET6}) {
    if (family == AF_INET && vip.is_v6()) continue;
    const auto sockets = find(*netlink, family, to_addr(vip), port);
    if (!sockets) return sockets.error();
    for (const auto& socket : *sockets) {
      const auto done = destroy(*netlink, socket);
      if (!done) return done.error();
      destroyed += *done ? 1 : 0;
    }
  }
  return destroyed;
}

Result<bool> destroy_time_wait(const suture_flow_key& key) {
  auto netlink = Netlink::open(NETLINK_SOCK_DIAG);
  if (!netlink) return netlink.error();
  const auto vip = vip_of(key);
  const auto client = client_of(key);
  const auto put = [](const boost::asio::ip::address& address, __be32(&to)[4]) {
    if (address.is_v4()) {
      std::memcpy(to, address.to_v4().to_bytes().data(), 4);
    } else {
      std::memcpy(to, address.to_v6().to_bytes().data(), 16);
    }
  };
  NetlinkRequest request;
  nlmsghdr* header = request.header(SOCK_DIAG_BY_FAMILY, 0);
  auto& id = put_request(header, vip.address().is_v4() ? AF_INET : AF_INET6)->id;
  put(vip.address(), id.idiag_src);
  put(client.address(), id.idiag_dst);
  id.idiag_sport = htons(vip.port());
  id.idiag_dport = htons(client.port());
  id.idiag_cookie[0] = id.idiag_cookie[1] = INET_DIAG_NOCOOKIE;
  std::optional<inet_diag_msg> found;
  const auto asked = netlink->ask(header, "find TCP socket", [&](const nlmsghdr* m) {
    if (mnl_nlmsg_get_payload_len(m) < sizeof(inet_diag_msg)) return;
    std::memcpy(&found.emplace(), mnl_nlmsg_get_payload(m), sizeof *found);
  });
  if (!asked && asked.error().errno_value != ENOENT) return asked.error();
  if (!found || found->idiag_timer != kTimeWaitTimer) return false;
  return destroy(*netlink, *found);
}

}  // namespace suture::datapath
