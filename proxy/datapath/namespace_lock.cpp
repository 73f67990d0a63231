#include "proxy/datapath/namespace_lock.hpp"

#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <fstream>
#include <string>

namespace suture::datapath {
namespace {

constexpr char kName[] = "suture-datapath";
constexpr int kCallersMax = 128;

struct Address {
  sockaddr_un words{};
  socklen_t bytes = offsetof(sockaddr_un, sun_path) + 1 + sizeof kName - 1;
  Address() {
    words.sun_family = AF_UNIX;
    std::memcpy(words.sun_path + 1, kName, sizeof kName - 1);
  }
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&words); }
};

FileDescriptor unix_socket() {
  return FileDescriptor(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
}

// "pid 4711 (suture)". The credentials are those of its listen(): unix(7), SO_PEERCRED.
std::string holder() {
  const FileDescriptor socket = unix_socket();
  const Address address;
  ucred who{};
  socklen_t bytes = sizeof who;
  if (!socket || ::connect(socket.get(), address.get(), address.bytes) != 0 ||
      ::getsockopt(socket.get(), SOL_SOCKET, SO_PEERCRED, &who, &bytes) != 0)
    return "of unknown pid";
  if (who.pid == 0) return "in another PID namespace";
  std::string program = "gone";
  std::ifstream file("/proc/" + std::to_string(who.pid) + "/comm");
  std::getline(file, program);
  return "pid " + std::to_string(who.pid) + " (" + program + ")";
}

}  // namespace

Result<NamespaceLock> NamespaceLock::take() {
  FileDescriptor socket = unix_socket();
  if (!socket) return errno_error("unix socket");
  const Address address;
  if (::bind(socket.get(), address.get(), address.bytes) != 0) {
    if (errno != EADDRINUSE) return errno_error(std::string("bind @") + kName);
    return Error{"another suture, " + holder() +
                     ", runs in this network namespace: stop it first, or start this one in a namespace of its own",
                 EADDRINUSE};
  }
  if (::listen(socket.get(), kCallersMax) != 0) return errno_error(std::string("listen @") + kName);
  return NamespaceLock(std::move(socket));
}

void NamespaceLock::forget_callers() {
  while (FileDescriptor(::accept4(fd_.get(), nullptr, nullptr, SOCK_CLOEXEC))) {
  }
}

}  // namespace suture::datapath
