// One listening socket (VIP:port) of one worker. Accepts until the backlog is empty; when descriptors or memory run out
// or the worker has its fill, it stops for a while instead of spinning, and clients wait in the kernel's backlog.
#pragma once

#include <functional>

#include <proxy/client/context.hpp>

namespace suture {

class Listener final : public EventHandler {
 public:
  struct Options {
    config::TcpEndpoint address;
    std::uint16_t mss_clamp = 0;
    std::size_t connections_max = 0;
  };
  // Takes the accepted socket; the client's address comes with it.
  using OnAccept = std::function<void(Listener&, StreamSocket, const config::TcpEndpoint& client)>;

  Listener(WorkerContext& worker, ListenerContext& context, Options options, OnAccept on_accept)
      : worker_(worker), context_(context), options_(std::move(options)), on_accept_(std::move(on_accept)) {}
  ~Listener() override { close(); }

  Result<void> open();   // socket, options (before listen), bind, listen
  Result<void> watch();  // adds it to the loop; on the loop's thread or before it runs
  void close();

  void on_events(std::uint32_t epoll_events) override;
  void tick();      // ends a pause
  void released();  // one of its sessions is over

  ListenerContext& context() const { return context_; }
  const config::TcpEndpoint& address() const { return options_.address; }  // with the port that was really bound
  bool is_open() const { return fd_ >= 0; }

 private:
  void accept_some();
  void pause(Counter& counter, const char* reason, int error);

  WorkerContext& worker_;
  ListenerContext& context_;
  Options options_;
  OnAccept on_accept_;
  int fd_ = -1;
  std::size_t sessions_ = 0;
  TimePoint paused_until_{};
  TimePoint logged_at_{};
  bool ready_ = false;  // the kernel may have connections for us
  bool full_ = false;
  bool scarce_ = false;  // the last descriptor came from the reserve
};

}  // namespace suture
