#include <proxy/client/listener.hpp>

#include <cerrno>
#include <sstream>

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include <suture/limits.hpp>
#include <suture/log.hpp>

namespace suture {
namespace {

constexpr int kBacklog = 4096;  // the kernel caps it at net.core.somaxconn
constexpr auto kPause = std::chrono::milliseconds(100);
constexpr auto kLogInterval = std::chrono::seconds(5);
constexpr unsigned kAcceptsPerEvent = 64;

std::string text_of(const config::TcpEndpoint& endpoint) {
  std::ostringstream out;
  out << endpoint;
  return out.str();
}

Error bind_error(const config::TcpEndpoint& address, int error) {
  const std::string where = text_of(address);
  switch (error) {
    case EADDRINUSE:
      return {"port " + std::to_string(address.port()) + " on " + address.address().to_string() +
                  " is in use by another process (see: ss -ltnp 'sport = :" + std::to_string(address.port()) + "')",
              error};
    case EACCES:
      return {"no permission to bind " + where +
                  ": ports below 1024 need CAP_NET_BIND_SERVICE (systemd: AmbientCapabilities=CAP_NET_BIND_SERVICE)",
              error};
    case EADDRNOTAVAIL:
      return {"VIP " + address.address().to_string() + " is not on an interface of this host (add it: ip address add " +
                  address.address().to_string() + (address.address().is_v6() ? "/128" : "/32") + " dev lo)",
              error};
    default: {
      errno = error;
      return errno_error("cannot bind " + where);
    }
  }
}

// The kernel gives out the lowest free number, so a number tells how many are left below the limit. Asked each time:
// the limit of a running process can be changed (prlimit(2)).
bool in_reserve(int descriptor) {
  rlimit limit{};
  return descriptor < 0 || (::getrlimit(RLIMIT_NOFILE, &limit) == 0 &&
                            static_cast<rlim_t>(descriptor) + limits::descriptors_reserved >= limit.rlim_cur);
}

int lowest_free_descriptor(int any_open) {
  const int probe = ::fcntl(any_open, F_DUPFD_CLOEXEC, 0);
  if (probe >= 0) ::close(probe);
  return probe;
}

}  // namespace

Result<void> Listener::open() {
  const bool v6 = options_.address.address().is_v6();
  fd_ = ::socket(v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd_ < 0) return errno_error("cannot make a listening socket");
  const auto fail = [this](Error error) {
    close();
    return error;
  };
  const auto set = [this](int level, int option, int value) {
    return ::setsockopt(fd_, level, option, &value, sizeof value) == 0;
  };
  if (!set(SOL_SOCKET, SO_REUSEADDR, 1) || !set(SOL_SOCKET, SO_REUSEPORT, 1))
    return fail(errno_error("cannot share the port between workers (SO_REUSEPORT)"));
  if (v6 && !set(IPPROTO_IPV6, IPV6_V6ONLY, 1)) return fail(errno_error("IPV6_V6ONLY"));
  // Accepted sockets inherit these.
  if (!set(IPPROTO_TCP, TCP_NODELAY, 1)) return fail(errno_error("TCP_NODELAY"));
  if (!set(IPPROTO_TCP, TCP_SAVE_SYN, 1)) return fail(errno_error("TCP_SAVE_SYN"));
  if (options_.mss_clamp != 0 && !set(IPPROTO_TCP, TCP_MAXSEG, options_.mss_clamp))
    return fail(errno_error("cannot clamp the MSS to " + std::to_string(options_.mss_clamp)));
  if (::bind(fd_, options_.address.data(), static_cast<socklen_t>(options_.address.size())) != 0)
    return fail(bind_error(options_.address, errno));
  if (::listen(fd_, kBacklog) != 0) return fail(bind_error(options_.address, errno));
  socklen_t size = static_cast<socklen_t>(options_.address.capacity());
  ::getsockname(fd_, options_.address.data(), &size);
  return {};
}

Result<void> Listener::watch() {
  return worker_.loop.add(fd_, *this);
}

void Listener::close() {
  if (fd_ < 0) return;
  worker_.loop.remove(fd_, *this);
  ::close(fd_);
  fd_ = -1;
}

void Listener::on_events(std::uint32_t) {
  ready_ = true;
  accept_some();
}

void Listener::tick() {
  if (ready_ && fd_ >= 0) accept_some();
}

void Listener::released() {
  --sessions_;
  if (full_ && sessions_ < options_.connections_max) full_ = false;
}

void Listener::accept_some() {
  if (fd_ < 0 || worker_.loop.now() < paused_until_ || full_) return;
  for (unsigned n = 0; n < kAcceptsPerEvent; ++n) {
    if (sessions_ >= options_.connections_max) {
      full_ = true;
      return pause(worker_.metrics.rejected_connections_max, "connections_max", 0);
    }
    if (!worker_.pending_erasures.empty()) return;
    if (scarce_ && in_reserve(lowest_free_descriptor(fd_)))
      return pause(worker_.metrics.accept_error_descriptors, "descriptors", EMFILE);
    scarce_ = false;
    config::TcpEndpoint client;
    socklen_t size = static_cast<socklen_t>(client.capacity());
    const int fd = ::accept4(fd_, client.data(), &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
      ++sessions_;
      on_accept_(*this, StreamSocket(fd), client);
      scarce_ = in_reserve(fd);
      continue;
    }
    switch (errno) {
      case EAGAIN:
        ready_ = false;
        return;
      case EINTR:
        break;
      case EMFILE:
      case ENFILE:
        return pause(worker_.metrics.accept_error_descriptors, "descriptors", errno);
      case ENOBUFS:
      case ENOMEM:
        return pause(worker_.metrics.accept_error_memory, "memory", errno);
      case EINVAL:
      case EBADF:
      case ENOTSOCK:
        return pause(worker_.metrics.accept_error_other, "listener", errno);
      default:
        worker_.metrics.accept_error_aborted.add();  // accept(2): pending network errors of that connection
    }
  }
  worker_.loop.resume(*this);
}

void Listener::pause(Counter& counter, const char* reason, int error) {
  counter.add();
  const TimePoint now = worker_.loop.now();
  paused_until_ = now + kPause;
  if (now - logged_at_ < kLogInterval) return;
  logged_at_ = now;
  log::warn("accept_paused",
            {{"listener", text_of(options_.address)}, {"reason", reason}, {"errno", error}, {"sessions", sessions_}});
}

}  // namespace suture
