// A non-blocking stream socket with the readiness that edge-triggered epoll reported: a socket is read or written only
// while it may have something to give or take, and never once more to be told EAGAIN where a short read has said so.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <utility>

#include <sys/uio.h>

namespace suture {

struct IoResult {
  enum class Status : std::uint8_t { ok, again, eof, error };
  Status status = Status::ok;
  std::size_t bytes = 0;  // transferred; only ok has more than 0
  int error = 0;          // errno of error
};

// Owns the descriptor. Closing says nothing about marks: client/closing decides how a client's connection ends.
class StreamSocket {
 public:
  StreamSocket() = default;
  explicit StreamSocket(int fd) : fd_(fd) {}
  ~StreamSocket() { close(); }
  StreamSocket(StreamSocket&& other) noexcept { *this = std::move(other); }
  StreamSocket& operator=(StreamSocket&& other) noexcept;

  int fd() const { return fd_; }
  bool is_open() const { return fd_ >= 0; }
  bool readable() const { return readable_; }
  bool writable() const { return writable_; }
  bool hung_up() const { return hung_up_; }  // the peer has half-closed or reset; data may still wait before that

  void note_events(std::uint32_t epoll_events);

  // The kernel tells an error once (sk_err is cleared by telling); afterwards read() gives eof.
  IoResult read(std::span<char> buffer);
  // What read() would give, left where it is. `again` also ends readable().
  IoResult peek(std::span<char> buffer);
  IoResult write(std::string_view data) { return write(data, {}); }
  // Both parts in one segment train. `bytes` counts over both.
  IoResult write(std::string_view first, std::string_view second);

  void shutdown_write();
  void close();
  int release();  // gives the descriptor up

 private:
  int fd_ = -1;
  bool readable_ = false;
  bool writable_ = true;
  bool hung_up_ = false;
};

}  // namespace suture
