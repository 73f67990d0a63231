#include <proxy/client/priming.hpp>

#include <algorithm>
#include <cerrno>
#include <limits>

#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>

namespace suture::priming {
namespace {

bool set(int fd, int level, int name, int value) {
  return ::setsockopt(fd, level, name, &value, sizeof value) == 0;
}

// In repair mode the queue does not drain: it must take all of it.
bool make_room(int fd, std::size_t bytes) {
  int now = 0;
  socklen_t size = sizeof now;
  if (::getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &now, &size) != 0) return false;
  const std::size_t wanted = bytes * 2 + 65536;  // with the kernel's own book-keeping
  if (static_cast<std::size_t>(now) >= wanted) return true;
  if (wanted > static_cast<std::size_t>(std::numeric_limits<int>::max())) return errno = EMSGSIZE, false;
  return set(fd, SOL_SOCKET, SO_SNDBUFFORCE, static_cast<int>(wanted));
}

bool write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const auto sent = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(sent));
  }
  return true;
}

}  // namespace

bool put_sent(int fd, std::string_view bytes) {
  if (!make_room(fd, bytes.size()) || !set(fd, IPPROTO_TCP, TCP_REPAIR, TCP_REPAIR_ON)) return false;
  const bool done = set(fd, IPPROTO_TCP, TCP_REPAIR_QUEUE, TCP_SEND_QUEUE) && write_all(fd, bytes);
  const int error = errno;
  // With a window probe: the client answers it. Leaving forgets the reuse options, without which the next process could
  // not bind the VIP beside this socket.
  const bool left = set(fd, IPPROTO_TCP, TCP_REPAIR, TCP_REPAIR_OFF);
  (void)(set(fd, SOL_SOCKET, SO_REUSEADDR, 1) && set(fd, SOL_SOCKET, SO_REUSEPORT, 1));
  errno = error;
  return done && left;
}

}  // namespace suture::priming
