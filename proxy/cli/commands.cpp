#include <proxy/cli/cli.hpp>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <proxy/config/environment.hpp>
#include <proxy/pki/pki.hpp>
#include <suture/clock.hpp>

namespace suture::cli {
namespace {

constexpr Millis health_timeout{3000};  // Docker's own default is 30 s; an answer later than this is no answer
constexpr std::size_t answer_bytes_max = 64 * 1024;

int fail(const Error& error) {
  std::fprintf(stderr, "suture: %s\n", error.message.c_str());
  return 1;
}

// A socket that is closed at the end of its scope.
struct Socket {
  int fd;
  explicit Socket(int family) : fd(::socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) {}
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  ~Socket() {
    if (fd >= 0) ::close(fd);
  }
};

Result<void> wait_for(int fd, short events, TimePoint deadline) {
  const auto left = std::chrono::duration_cast<Millis>(deadline - Clock::now()).count();
  pollfd poll_fd{fd, events, 0};
  const int ready = left <= 0 ? 0 : ::poll(&poll_fd, 1, static_cast<int>(left));
  if (ready < 0 && errno != EINTR) return errno_error("poll");
  if (ready == 0) return Error{"no answer within " + std::to_string(health_timeout.count()) + " ms", ETIMEDOUT};
  return {};
}

// A request without body, and everything that comes back (HTTP/1.0: the server closes).
Result<std::string> http_get(const boost::asio::ip::tcp::endpoint& server, const std::string& path) {
  const auto deadline = Clock::now() + health_timeout;
  const Socket socket(server.protocol().family());
  if (socket.fd < 0) return errno_error("cannot make a socket");
  if (::connect(socket.fd, server.data(), static_cast<socklen_t>(server.size())) != 0 && errno != EINPROGRESS) {
    return errno_error("cannot connect");
  }
  if (auto ready = wait_for(socket.fd, POLLOUT, deadline); !ready) return ready.error();
  int failure = 0;
  socklen_t size = sizeof failure;
  ::getsockopt(socket.fd, SOL_SOCKET, SO_ERROR, &failure, &size);
  if (failure != 0) return Error{std::string("cannot connect: ") + std::strerror(failure), failure};

  const std::string request = "GET " + path + " HTTP/1.0\r\nHost: suture\r\nConnection: close\r\n\r\n";
  if (::send(socket.fd, request.data(), request.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(request.size())) {
    return errno_error("cannot send");
  }
  std::string answer;
  char chunk[4096];
  while (answer.size() < answer_bytes_max) {
    if (auto ready = wait_for(socket.fd, POLLIN, deadline); !ready) return ready.error();
    const ssize_t n = ::recv(socket.fd, chunk, sizeof chunk, 0);
    if (n == 0) break;
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) continue;
    if (n < 0) return errno_error("cannot receive");
    answer.append(chunk, static_cast<std::size_t>(n));
  }
  // Spelled out: an Error could be made from a string, too.
  return Result<std::string>(boost::system::in_place_value, std::move(answer));
}

}  // namespace

config::LoadResult load_config(const Run& command) {
  return command.config_file.empty() ? config::load_environment(environ) : config::load_file(command.config_file);
}

int check_config(const Run& command) {
  const auto loaded = load_config(command);
  const std::string name = command.config_file.empty() ? "environment" : command.config_file;
  for (const auto& mistake : loaded.mistakes) std::fprintf(stderr, "%s\n", config::to_string(mistake).c_str());
  if (!loaded.config) return 1;
  const auto& c = *loaded.config;
  const auto certificate =
      pki::check_node_certificate(c.statesync.cert_file, c.statesync.key_file, c.statesync.ca_file, c.node.id);
  if (!certificate) {
    std::fprintf(stderr, "%s: statesync: %s\n", name.c_str(), certificate.error().message.c_str());
    return 1;
  }
  std::printf("%s: ok\n", name.c_str());
  return 0;
}

int execute(const PkiInit& command) {
  const auto files = pki::init_ca(command.dir, pki::valid_for_days(command.days));
  if (!files) return fail(files.error());
  std::printf("CA certificate %s (give it to every node)\nCA key         %s (keep it off the nodes)\n",
              files->cert_file.c_str(), files->key_file.c_str());
  return 0;
}

int execute(const PkiNode& command) {
  const auto files =
      pki::issue_node(command.dir, {command.name, command.id, command.addresses, pki::valid_for_days(command.days)});
  if (!files) return fail(files.error());
  std::printf("certificate %s\nkey         %s (of node %u, %u days)\n", files->cert_file.c_str(),
              files->key_file.c_str(), to_int(command.id), command.days);
  return 0;
}

int execute(const HealthCheck& command) {
  const auto answer = http_get(command.admin, command.live ? "/healthz" : "/readyz");
  if (!answer) return fail({"healthcheck: " + answer.error().message});
  const auto body = answer->find("\r\n\r\n");
  const bool ready = answer->starts_with("HTTP/1.") && answer->size() > 12 && answer->compare(9, 3, "200") == 0;
  if (ready) return 0;
  std::fprintf(stderr, "suture: not %s: %s", command.live ? "alive" : "ready",
               body == std::string::npos ? "no HTTP answer\n" : answer->substr(body + 4).c_str());
  return 1;
}

int execute(const Done& command) {
  std::fputs(command.text.c_str(), command.exit_code == 0 ? stdout : stderr);
  return command.exit_code;
}

}  // namespace suture::cli
