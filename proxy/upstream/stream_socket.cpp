#include <proxy/upstream/stream_socket.hpp>

#include <array>
#include <cerrno>

#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

namespace suture {

StreamSocket& StreamSocket::operator=(StreamSocket&& other) noexcept {
  if (this != &other) {
    close();
    readable_ = other.readable_;
    writable_ = other.writable_;
    hung_up_ = other.hung_up_;
    fd_ = other.release();
  }
  return *this;
}

void StreamSocket::note_events(std::uint32_t events) {
  if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) readable_ = true;
  if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) writable_ = true;
  if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) hung_up_ = true;
}

IoResult StreamSocket::read(std::span<char> buffer) {
  for (;;) {
    const ssize_t n = ::recv(fd_, buffer.data(), buffer.size(), 0);
    if (n > 0) {
      // A short read has emptied the queue, and what comes later is a new edge. After a hang-up no edge comes any more.
      if (static_cast<std::size_t>(n) < buffer.size() && !hung_up_) readable_ = false;
      return {IoResult::Status::ok, static_cast<std::size_t>(n), 0};
    }
    if (n == 0) return {IoResult::Status::eof, 0, 0};
    if (errno == EINTR) continue;
    if (errno == EAGAIN) {
      readable_ = false;
      return {IoResult::Status::again, 0, 0};
    }
    return {IoResult::Status::error, 0, errno};
  }
}

IoResult StreamSocket::peek(std::span<char> buffer) {
  for (;;) {
    const ssize_t n = ::recv(fd_, buffer.data(), buffer.size(), MSG_PEEK);
    if (n > 0) return {IoResult::Status::ok, static_cast<std::size_t>(n), 0};
    if (n == 0) return {IoResult::Status::eof, 0, 0};
    if (errno == EINTR) continue;
    if (errno != EAGAIN) return {IoResult::Status::error, 0, errno};
    readable_ = false;
    return {IoResult::Status::again, 0, 0};
  }
}

IoResult StreamSocket::write(std::string_view first, std::string_view second) {
  std::array<iovec, 2> parts{iovec{const_cast<char*>(first.data()), first.size()},
                             iovec{const_cast<char*>(second.data()), second.size()}};
  msghdr message{};
  message.msg_iov = parts.data();
  message.msg_iovlen = second.empty() ? 1 : 2;
  for (;;) {
    const ssize_t n =
        second.empty() ? ::send(fd_, first.data(), first.size(), MSG_NOSIGNAL) : ::sendmsg(fd_, &message, MSG_NOSIGNAL);
    if (n >= 0) {
      if (static_cast<std::size_t>(n) < first.size() + second.size()) writable_ = false;
      return {IoResult::Status::ok, static_cast<std::size_t>(n), 0};
    }
    if (errno == EINTR) continue;
    if (errno == EAGAIN) {
      writable_ = false;
      return {IoResult::Status::again, 0, 0};
    }
    return {IoResult::Status::error, 0, errno};
  }
}

void StreamSocket::shutdown_write() {
  ::shutdown(fd_, SHUT_WR);
}

void StreamSocket::close() {
  if (fd_ >= 0) ::close(std::exchange(fd_, -1));
}

int StreamSocket::release() {
  return std::exchange(fd_, -1);
}

}  // namespace suture
