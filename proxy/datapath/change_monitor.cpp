#include "proxy/datapath/change_monitor.hpp"

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>

namespace suture::datapath {

Result<ChangeMonitor> ChangeMonitor::open() {
  FileDescriptor fd(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE));
  if (!fd) return errno_error("netlink socket");
  sockaddr_nl address{};
  address.nl_family = AF_NETLINK;
  address.nl_groups = RTMGRP_LINK | RTMGRP_TC;
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return errno_error("netlink notifications");
  return ChangeMonitor(std::move(fd));
}

// ENOBUFS: some were lost, and there may be more.
void ChangeMonitor::drain() {
  std::array<char, 16384> buffer;
  while (::recv(fd_.get(), buffer.data(), buffer.size(), 0) > 0 || errno == ENOBUFS || errno == EINTR) {
  }
}

}  // namespace suture::datapath
