// One netlink conversation: a request, its acknowledgement or its dump. Thin over libmnl; link, address, route and
// socket_destroyer build on it. Blocking, short (the kernel answers at once), for start, exit and rare changes.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include <libmnl/libmnl.h>

#include <suture/result.hpp>

namespace suture::datapath {

class Netlink {
 public:
  // protocol: NETLINK_ROUTE, NETLINK_SOCK_DIAG
  static Result<Netlink> open(int protocol);

  // Sends `request` (in a buffer of at least MNL_SOCKET_BUFFER_SIZE) and waits for the acknowledgement. The error says
  // `what`, the kernel's errno and its own words (extended ack), if it has any.
  Result<void> acknowledge(nlmsghdr* request, const std::string& what);
  // Sends `request` and calls `each` for every message of the answer.
  Result<void> ask(nlmsghdr* request, const std::string& what, const std::function<void(const nlmsghdr*)>& each);

 private:
  struct Close {
    void operator()(mnl_socket* socket) const { mnl_socket_close(socket); }
  };
  explicit Netlink(mnl_socket* socket) : socket_(socket) {}
  std::unique_ptr<mnl_socket, Close> socket_;
  std::uint32_t sequence_ = 0;
};

// libmnl's own loops are C macros that C++ does not take.
template <class F>
void each_attribute(const nlattr* first, const void* end, F&& f) {
  const auto* tail = static_cast<const char*>(end);
  for (const nlattr* a = first; mnl_attr_ok(a, static_cast<int>(tail - reinterpret_cast<const char*>(a)));
       a = mnl_attr_next(a))
    f(a);
}
template <class F>
void each_attribute(const nlmsghdr* message, std::size_t offset, F&& f) {
  each_attribute(static_cast<const nlattr*>(mnl_nlmsg_get_payload_offset(message, offset)),
                 mnl_nlmsg_get_payload_tail(message), f);
}
template <class F>
void each_nested(const nlattr* nest, F&& f) {
  const auto* payload = static_cast<const char*>(mnl_attr_get_payload(nest));
  each_attribute(reinterpret_cast<const nlattr*>(payload), payload + mnl_attr_get_payload_len(nest), f);
}

// Room for one request; put the header, then the attributes.
struct NetlinkRequest {
  alignas(nlmsghdr) char buffer[8192] = {};
  nlmsghdr* header(std::uint16_t type, std::uint16_t flags) {
    nlmsghdr* h = mnl_nlmsg_put_header(buffer);
    h->nlmsg_type = type;
    h->nlmsg_flags = static_cast<std::uint16_t>(NLM_F_REQUEST | flags);
    return h;
  }
};

}  // namespace suture::datapath
