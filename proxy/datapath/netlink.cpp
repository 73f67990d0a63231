#include "proxy/datapath/netlink.hpp"

#include <linux/netlink.h>

#include <array>
#include <cerrno>
#include <ctime>
#include <vector>

namespace suture::datapath {
namespace {

// The kernel's own sentence about a refusal (NLMSGERR_ATTR_MSG), or "".
std::string extended_ack(const nlmsghdr* message) {
  if (!(message->nlmsg_flags & NLM_F_ACK_TLVS)) return {};
  const auto* error = static_cast<const nlmsgerr*>(mnl_nlmsg_get_payload(message));
  std::size_t offset = sizeof(nlmsgerr);
  if (!(message->nlmsg_flags & NLM_F_CAPPED)) offset += MNL_ALIGN(error->msg.nlmsg_len - sizeof(nlmsghdr));
  std::string text;
  each_attribute(message, offset, [&](const nlattr* a) {
    if (mnl_attr_get_type(a) == NLMSGERR_ATTR_MSG) text = mnl_attr_get_str(a);
  });
  return text;
}

}  // namespace

Result<Netlink> Netlink::open(int protocol) {
  mnl_socket* socket = mnl_socket_open2(protocol, SOCK_CLOEXEC);
  if (socket == nullptr) return errno_error("netlink socket");
  Netlink netlink(socket);
  if (mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) < 0) return errno_error("netlink bind");
  int on = 1;
  mnl_socket_setsockopt(socket, NETLINK_EXT_ACK, &on, sizeof on);
  mnl_socket_setsockopt(socket, NETLINK_CAP_ACK, &on, sizeof on);
  mnl_socket_setsockopt(socket, NETLINK_GET_STRICT_CHK, &on, sizeof on);  // dumps filtered by the kernel: Linux 4.20
  return netlink;
}

Result<void> Netlink::acknowledge(nlmsghdr* request, const std::string& what) {
  request->nlmsg_flags |= NLM_F_ACK;
  return ask(request, what, [](const nlmsghdr*) {});
}

Result<void> Netlink::ask(nlmsghdr* request, const std::string& what,
                          const std::function<void(const nlmsghdr*)>& each) {
  request->nlmsg_seq = ++sequence_;
  const bool ends_by_itself = (request->nlmsg_flags & (NLM_F_ACK | NLM_F_DUMP)) == 0;
  if (mnl_socket_sendto(socket_.get(), request, request->nlmsg_len) < 0) return errno_error(what);
  std::vector<char> buffer(32768);
  for (;;) {
    const ssize_t received = mnl_socket_recvfrom(socket_.get(), buffer.data(), buffer.size());
    if (received < 0) {
      if (errno == EINTR) continue;
      return errno_error(what);
    }
    int left = static_cast<int>(received);
    for (const auto* m = reinterpret_cast<const nlmsghdr*>(buffer.data()); mnl_nlmsg_ok(m, left);
         m = mnl_nlmsg_next(m, &left)) {
      if (m->nlmsg_seq != request->nlmsg_seq) continue;
      if (m->nlmsg_type == NLMSG_ERROR) {
        const int code = -static_cast<const nlmsgerr*>(mnl_nlmsg_get_payload(m))->error;
        if (code == 0) return {};
        errno = code;
        Error error = errno_error(what);
        if (const std::string words = extended_ack(m); !words.empty()) error.message += " (" + words + ")";
        return error;
      }
      if (m->nlmsg_type == NLMSG_DONE) return {};
      each(m);
      if (ends_by_itself) return {};
    }
  }
}

}  // namespace suture::datapath
