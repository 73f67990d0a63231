// The application of one PoP, on a unix socket, in the event loop of its node's process: what it is asked is executed
// at once, and answered piece by piece as simulated time goes on.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include <proxy/upstream/event_loop.hpp>

#include "tests/simulation/world.hpp"

namespace suture::sim {

class HttpApplication final : public EventHandler {
 public:
  // `wake`: there is something for the process to do.
  HttpApplication(World& world, EventLoop& loop, std::function<void()> wake);
  ~HttpApplication() override;
  const std::string& path() const { return path_; }

  void on_events(std::uint32_t events) override;

 private:
  class Connection;
  void answer(std::uint64_t connection, std::vector<std::string> pieces);
  void write_piece(std::uint64_t connection);

  World& world_;
  EventLoop& loop_;
  std::function<void()> wake_;
  std::string path_;
  int listening_ = -1;
  std::map<std::uint64_t, std::unique_ptr<Connection>> connections_;
  std::shared_ptr<int> alive_ = std::make_shared<int>();  // timers of a dead one do nothing
};

}  // namespace suture::sim
