#include "tests/simulation/http_behind.hpp"

#include <algorithm>
#include <array>
#include <cerrno>

#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/simulation/node.hpp"

namespace suture::sim {

HttpBehind::HttpBehind(World& world, Node& node, Content content) : world_(world), node_(node), content_(content) {
  std::array<int, 2> pair{};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair.data()) != 0)
    throw_error(errno_error("socketpair"));
  session_fd_ = pair[0];
  wire_ = pair[1];
  attach_kernel_side(session_fd_, *this);
}

HttpBehind::~HttpBehind() {
  if (end_ == End::none) detach_kernel_side(session_fd_);
  ::close(wire_);
}

// ---- the client's stream

void HttpBehind::read(Socket&, std::uint64_t from, std::uint64_t until) {
  const std::string& all = world_.http->conversation().stream();
  const std::uint64_t end = std::min<std::uint64_t>(until, all.size());
  client_fin_ = world_.http->conversation().closes_at(until);
  const std::uint64_t bytes_end = client_fin_ ? std::min(end, until - 1) : end;
  if (from < bytes_end) to_session_.append(all, from, bytes_end - from);
  node_.turn();
}

bool HttpBehind::feed() {
  if (end_ != End::none) to_session_.clear();
  bool moved = false;
  while (!to_session_.empty()) {
    const ssize_t n = ::send(wire_, to_session_.data(), to_session_.size(), MSG_NOSIGNAL);
    if (n <= 0) break;
    to_session_.erase(0, static_cast<std::size_t>(n));
    moved = true;
  }
  if (client_fin_ && !told_fin_ && to_session_.empty()) {
    ::shutdown(wire_, SHUT_WR);
    told_fin_ = moved = true;
    ++world_.http->totals.in_closed;
  }
  return moved;
}

// ---- the session's

bool HttpBehind::drain() {
  if (end_ == End::reset || end_ == End::silent || fin_sent_ || !socket_) return false;
  HttpWorld::Stream& stream = world_.http->stream(content_);
  bool moved = false;
  for (std::array<char, 16384> buffer;;) {
    const std::uint32_t used = socket_->unacknowledged(), room_max = world_.http->send_buffer();
    if (used >= room_max) return moved;
    const ssize_t n = ::recv(wire_, buffer.data(), std::min<std::size_t>(room_max - used, buffer.size()), 0);
    if (n < 0 && errno == EAGAIN) return moved;
    moved = true;
    if (n > 0) {
      stream.bytes.append(buffer.data(), static_cast<std::size_t>(n));
      socket_->write(static_cast<std::uint32_t>(n));
      continue;
    }
    if (!fin_) return false;
    stream.fin = stream.base + stream.bytes.size();
    socket_->write(1);
    fin_sent_ = true;
    ++world_.http->totals.fins;
    return true;
  }
}

bool HttpBehind::move() {
  const bool in = feed();
  return drain() || in;
}

// Also of a process that is gone or stands still: what it has written is the kernel's.
void HttpBehind::acknowledged(Socket&) {
  drain();
}

// With bytes that were not read: an RST (tcp_close).
void HttpBehind::closes() {
  int unread = 0;
  ::ioctl(session_fd_, FIONREAD, &unread);
  fin_ = true;
  end_ = unread > 0 ? End::reset : End::fin;
}

std::size_t HttpBehind::waiting() const {
  int bytes = 0;
  ::ioctl(wire_, FIONREAD, &bytes);
  return static_cast<std::size_t>(std::max(bytes, 0)) + (fin_ && !fin_sent_ ? 1 : 0);
}

std::uint64_t HttpBehind::unacknowledged() const {
  return waiting() + (socket_ ? socket_->unacknowledged() : 0);
}

Millis HttpBehind::silence() const {
  return Millis(socket_ ? (world_.now - socket_->heard_at()) / 1000 : 0);
}

void HttpBehind::ask_client() {
  if (socket_) socket_->ask_client();
}

bool HttpBehind::put_sent(std::string_view bytes) {
  if (!socket_ || waiting() > 0 || socket_->unacknowledged() > 0) {
    world_.ledger.violation("bytes that count as sent behind others");
    return false;
  }
  world_.http->stream(content_).bytes.append(bytes);
  socket_->put_sent(static_cast<std::uint32_t>(bytes.size()));
  ++world_.http->totals.primed;
  return true;
}

}  // namespace suture::sim
