#include "tests/simulation/http_application.hpp"

#include <atomic>
#include <cerrno>
#include <cstring>

#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/simulation/http_world.hpp"

namespace suture::sim {
namespace {

// One whole request off the front of `in`; false: it is not complete.
bool take_request(std::string& in, test::Asked& out) {
  const auto head_end = in.find("\r\n\r\n");
  if (head_end == std::string::npos) return false;
  out = {};
  out.head = in.substr(0, head_end + 4);
  out.method = out.head.substr(0, out.head.find(' '));
  const auto from = out.method.size() + 1;
  out.target = out.head.substr(from, out.head.find(' ', from) - from);
  std::size_t at = out.head.size();
  if (const std::string length = out.field("Content-Length"); !length.empty()) {
    const std::size_t size = std::stoul(length);
    if (in.size() - at < size) return false;
    out.body = in.substr(at, size);
    at += size;
  } else if (out.field("Transfer-Encoding") == "chunked") {
    for (std::size_t size = 1; size != 0;) {
      const auto line = in.find("\r\n", at);
      if (line == std::string::npos) return false;
      size = std::stoul(in.substr(at, line - at), nullptr, 16);
      if (in.size() < line + 2 + size + 2) return false;
      out.body += in.substr(line + 2, size);
      at = line + 2 + size + 2;
    }
  }
  in.erase(0, at);
  return true;
}

sockaddr_un name_of(const std::string& path) {
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  std::memcpy(name.sun_path, path.data(), path.size());
  return name;
}

}  // namespace

class HttpApplication::Connection final : public EventHandler {
 public:
  Connection(HttpApplication& application, std::uint64_t number, int fd)
      : application_(application), number_(number), fd_(fd) {}
  ~Connection() override { close(); }
  void close() {
    if (fd_ < 0) return;
    application_.loop_.remove(fd_, *this);
    ::close(std::exchange(fd_, -1));
  }
  int fd() const { return fd_; }

  void on_events(std::uint32_t) override {
    if (!flush()) return lost();
    char buffer[16384];
    for (;;) {
      const ssize_t n = ::recv(fd_, buffer, sizeof buffer, MSG_DONTWAIT);
      if (n < 0 && errno == EAGAIN) break;
      if (n <= 0) return lost();
      in_.append(buffer, static_cast<std::size_t>(n));
    }
    Conversation& conversation = application_.world_.http->conversation();
    for (test::Asked asked; !chats_ && take_request(in_, asked);) {
      chats_ = asked.target == "/chat";
      application_.answer(number_, conversation.execute(asked, number_));
    }
    if (!chats_ || in_.empty()) return;
    application_.answer(number_, conversation.chat().read(number_, in_));
    in_.clear();
  }
  // False: the other end is gone.
  bool flush() {
    while (!out_.empty()) {
      const ssize_t n = ::send(fd_, out_.data(), out_.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
      if (n < 0) return errno == EAGAIN;
      out_.erase(0, static_cast<std::size_t>(n));
    }
    return !hang_up_;
  }

  std::deque<std::string> pieces;
  bool write(const std::string& piece) {
    if (piece == test::kHangUp)
      hang_up_ = true;
    else
      out_ += piece;
    return flush();
  }
  void lost() {
    const auto it = application_.connections_.find(number_);
    if (it == application_.connections_.end()) return;
    close();
    auto self = std::move(it->second);
    application_.connections_.erase(it);
    application_.loop_.dispose(std::move(self));
  }

 private:
  HttpApplication& application_;
  std::uint64_t number_;
  int fd_;
  std::string in_, out_;
  bool hang_up_ = false;
  bool chats_ = false;  // what comes is frames
};

HttpApplication::HttpApplication(World& world, EventLoop& loop, std::function<void()> wake)
    : world_(world), loop_(loop), wake_(std::move(wake)) {
  static std::atomic<unsigned> made{0};
  // An abstract name: nothing of it stays behind.
  path_ = std::string(1, '\0') + "suture-sim-" + std::to_string(::getpid()) + '-' + std::to_string(++made);
  listening_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  const sockaddr_un name = name_of(path_);
  if (listening_ < 0 || ::bind(listening_, reinterpret_cast<const sockaddr*>(&name), sizeof name) != 0 ||
      ::listen(listening_, 64) != 0)
    throw_error(errno_error("cannot listen as the application"));
  if (const auto added = loop_.add(listening_, *this); !added) throw_error(added.error());
}

HttpApplication::~HttpApplication() {
  connections_.clear();
  loop_.remove(listening_, *this);
  ::close(listening_);
}

void HttpApplication::on_events(std::uint32_t) {
  for (;;) {
    const int fd = ::accept4(listening_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) return;
    const std::uint64_t number = ++world_.http->connections_made;
    auto connection = std::make_unique<Connection>(*this, number, fd);
    if (const auto added = loop_.add(fd, *connection); !added) throw_error(added.error());
    connections_.emplace(number, std::move(connection));
  }
}

void HttpApplication::answer(std::uint64_t connection, std::vector<std::string> pieces) {
  auto& waiting = connections_.at(connection)->pieces;
  const bool writing = !waiting.empty();
  for (std::string& piece : pieces) {
    constexpr std::size_t kAtOnce = 20'000;
    if (piece == "\x02") continue;  // a pause; there is one between any two
    for (std::size_t at = 0; at < piece.size(); at += kAtOnce) waiting.push_back(piece.substr(at, kAtOnce));
  }
  if (writing || waiting.empty()) return;  // in its turn
  Rng& r = world_.rng;
  const Micros thinks = r.chance(0.4) ? 0 : r.chance(0.7) ? r.below(ms(40)) : r.below(ms(1500));
  world_.after(thinks, [this, connection, weak = std::weak_ptr<int>(alive_)] {
    if (!weak.expired()) write_piece(connection);
  });
}

void HttpApplication::write_piece(std::uint64_t connection) {
  const auto it = connections_.find(connection);
  if (it == connections_.end()) return;
  Connection& c = *it->second;
  // Some at once: a response is seldom sent piece by piece.
  Rng& r = world_.rng;
  for (std::size_t n = 1 + r.below(r.chance(0.5) ? 1 : 10); n > 0 && !c.pieces.empty(); --n) {
    const std::string piece = std::move(c.pieces.front());
    c.pieces.pop_front();
    if (!c.write(piece)) {
      c.lost();
      return wake_();
    }
  }
  if (!c.pieces.empty())
    world_.after(r.chance(0.9) ? r.below(ms(10)) : r.below(ms(400)),
                 [this, connection, weak = std::weak_ptr<int>(alive_)] {
                   if (!weak.expired()) write_piece(connection);
                 });
  wake_();
}

}  // namespace suture::sim
