// One connection to the application, and who is told of its events: a session while it serves one, the pool while idle.
#pragma once

#include <cstdint>
#include <memory>

#include <proxy/upstream/event_loop.hpp>
#include <proxy/upstream/stream_socket.hpp>

namespace suture {

class UpstreamConnection;

class UpstreamUser {
 public:
  virtual void on_upstream_events(UpstreamConnection& connection) = 0;

 protected:
  ~UpstreamUser() = default;
};

class UpstreamConnection final : public EventHandler {
 public:
  UpstreamConnection(EventLoop& loop, StreamSocket socket, bool connected)
      : socket_(std::move(socket)), loop_(loop), connected_(connected) {}
  ~UpstreamConnection() override { close(); }

  StreamSocket& socket() { return socket_; }
  EventLoop& loop() { return loop_; }
  bool connected() const { return connected_; }
  void set_connected() { connected_ = true; }
  // Served an exchange before: the application may have closed it meanwhile.
  bool reused() const { return reused_; }

  void set_user(UpstreamUser* user) { user_ = user; }
  void on_events(std::uint32_t epoll_events) override {
    if (!socket_.is_open()) return;
    socket_.note_events(epoll_events);
    if (user_) user_->on_upstream_events(*this);
  }

  void close() {
    if (!socket_.is_open()) return;
    loop_.remove(socket_.fd(), *this);
    socket_.close();
  }
  void reset();  // closes with an RST: the other side of a session that was reset

 private:
  friend class UpstreamPool;
  StreamSocket socket_;
  EventLoop& loop_;
  UpstreamUser* user_ = nullptr;
  TimePoint idle_since_{};
  std::uint64_t owner_ = 0;  // while idle
  bool connected_ = false;
  bool reused_ = false;
};

// Closes it and destroys it when no pending event can mention it.
void dispose(std::unique_ptr<UpstreamConnection> connection);

}  // namespace suture
