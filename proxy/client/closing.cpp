#include <proxy/client/closing.hpp>

#include <algorithm>
#include <optional>

#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

namespace suture::closing {
namespace {

std::optional<tcp_info> info_of(int fd) {
  tcp_info info{};
  socklen_t size = sizeof info;
  if (::getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) != 0 || info.tcpi_state == TCP_CLOSE) return std::nullopt;
  return info;
}

void set(int fd, int level, int option, int value) {
  ::setsockopt(fd, level, option, &value, sizeof value);
}

}  // namespace

bool allow(int fd, std::uint32_t bits) {
  if (bits == 0) return true;
  std::uint32_t mark = 0;
  socklen_t size = sizeof mark;
  if (::getsockopt(fd, SOL_SOCKET, SO_MARK, &mark, &size) != 0) mark = 0;
  mark |= bits;
  return ::setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof mark) == 0;
}

void half_close(StreamSocket& socket, const Marks& marks) {
  allow(socket.fd(), marks.fin);
  socket.shutdown_write();
}

void close(StreamSocket& socket, const Marks& marks) {
  allow(socket.fd(), marks.fin | marks.rst);
  socket.close();
}

void reset(StreamSocket& socket, const Marks& marks) {
  allow(socket.fd(), marks.rst);
  const linger abort{1, 0};
  ::setsockopt(socket.fd(), SOL_SOCKET, SO_LINGER, &abort, sizeof abort);
  socket.close();
}

void close_silently(StreamSocket& socket) {
  set(socket.fd(), IPPROTO_TCP, TCP_REPAIR, TCP_REPAIR_ON);
  socket.close();
}

std::uint64_t unacknowledged(int fd) {
  int bytes = 0;
  return ::ioctl(fd, SIOCOUTQ, &bytes) == 0 && bytes > 0 ? static_cast<std::uint64_t>(bytes) : 0;
}

bool is_dead(int fd) {
  return !info_of(fd);
}

Millis silence(int fd) {
  const auto info = info_of(fd);
  return Millis(info ? std::min(info->tcpi_last_ack_recv, info->tcpi_last_data_recv) : 0);
}

void ask_client(int fd) {
  constexpr int kKeepAliveProbes = 120;  // the kernel must not give up before us
  set(fd, IPPROTO_TCP, TCP_REPAIR, TCP_REPAIR_ON);
  set(fd, IPPROTO_TCP, TCP_REPAIR, TCP_REPAIR_OFF);
  set(fd, IPPROTO_TCP, TCP_KEEPCNT, kKeepAliveProbes);
  set(fd, IPPROTO_TCP, TCP_KEEPINTVL, 1);
  set(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  // Last: only of a socket with SO_KEEPALIVE the kernel counts the silence so far.
  set(fd, IPPROTO_TCP, TCP_KEEPIDLE, 1);
}

}  // namespace suture::closing
