// One direction of a byte relay: reads through a scratch buffer that all connections of the worker share, writes at
// once, and keeps only what the receiver does not take yet. While anything is kept nothing more is read: that is the
// back-pressure, and the bound (one scratch buffer's worth).
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include <proxy/upstream/stream_socket.hpp>

namespace suture {

// Bytes that a socket has not taken yet, in order. Owns memory only while there are any.
class Backlog {
 public:
  bool empty() const { return sent_ == bytes_.size(); }
  std::size_t size() const { return bytes_.size() - sent_; }
  std::string_view view() const { return std::string_view(bytes_).substr(sent_); }
  void append(std::string_view data) { bytes_.append(data); }
  // Before what waits, of which nothing has been sent.
  void prepend(std::string_view data) { bytes_.insert(0, data); }
  void consume(std::size_t n) {
    sent_ += n;
    if (empty()) clear();
  }
  void clear() {
    std::string().swap(bytes_);
    sent_ = 0;
  }
  std::size_t capacity() const { return bytes_.capacity(); }

  // Writes what the socket takes. ok also when there was nothing to do.
  IoResult flush(StreamSocket& to);
  // Writes `data` behind what waits; what is not taken is kept. `bytes` of the result: taken now.
  IoResult send(StreamSocket& to, std::string_view first, std::string_view second = {});

 private:
  std::string bytes_;
  std::size_t sent_ = 0;
};

}  // namespace suture
