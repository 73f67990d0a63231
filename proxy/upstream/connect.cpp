#include <proxy/upstream/connect.hpp>

#include <cerrno>
#include <cstring>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/un.h>

namespace suture {
namespace {

Result<ConnectStart> connect_to(int family, const sockaddr* address, socklen_t size) {
  ConnectStart start;
  start.socket = StreamSocket(::socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!start.socket.is_open()) return errno_error("socket for the upstream");
  if (family != AF_UNIX) {
    const int on = 1;
    ::setsockopt(start.socket.fd(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  }
  if (::connect(start.socket.fd(), address, size) == 0)
    start.connected = true;
  else if (errno != EINPROGRESS)
    return errno_error("connect to the upstream");
  return start;
}

}  // namespace

Result<ConnectStart> start_connect(const config::UpstreamAddress& address) {
  if (const auto* endpoint = std::get_if<config::TcpEndpoint>(&address))
    return connect_to(endpoint->protocol().family(), endpoint->data(), static_cast<socklen_t>(endpoint->size()));
  const std::string& path = std::get<config::UnixPath>(address).path;
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  if (path.size() >= sizeof name.sun_path) return Error{"the upstream's unix path is too long: " + path, ENAMETOOLONG};
  std::memcpy(name.sun_path, path.data(), path.size());
  return connect_to(AF_UNIX, reinterpret_cast<const sockaddr*>(&name), sizeof name);
}

int connect_result(int fd) {
  int error = 0;
  socklen_t size = sizeof error;
  if (::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0) return errno;
  return error;
}

}  // namespace suture
