// The event loop of one worker thread: edge-triggered epoll and a tick.
//
// Why not asio::io_context: waiting for readiness there costs an epoll_ctl per event, and reading through it needs a
// buffer per idle connection. Here a descriptor is registered once in its life, and all connections of a worker read
// through one scratch buffer, so an idle connection owns no buffer at all.
//
// All members are for the loop's own thread, except post(), stop() and ticks().
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include <suture/clock.hpp>
#include <suture/result.hpp>

namespace suture {

// Something with a descriptor in the loop. It must outlive the events of the batch in which it is given up:
// EventLoop::dispose() keeps it until then, and remove() makes sure that no later event reaches it.
class EventHandler {
 public:
  virtual ~EventHandler() = default;
  virtual void on_events(std::uint32_t epoll_events) = 0;

 private:
  friend class EventLoop;
  bool resume_queued_ = false;
  bool disposed_ = false;
};

class EventLoop {
 public:
  EventLoop();
  ~EventLoop();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  // Edge-triggered for reading, writing and the peer's half-close, until the descriptor is closed.
  Result<void> add(int fd, EventHandler& handler);
  // Before the descriptor is closed while its handler lives on; also forgets a queued resume().
  void remove(int fd, EventHandler& handler);

  // on_events(0) once more in the next round, for a handler that stopped early to let others have their turn.
  void resume(EventHandler& handler);
  // Destroys the handler once no event of the present batch can mention it.
  void dispose(std::unique_ptr<EventHandler> handler);

  // Called at least every kTickMs milliseconds, in addition to the events.
  void set_tick(std::function<void()> tick) { tick_ = std::move(tick); }

  void run();                             // until stop()
  void stop();                            // thread-safe
  void post(std::function<void()> task);  // thread-safe; runs on the loop's thread, in order

  // Instead of run(), for whoever has a time of his own (tests/simulation): one round of what is ready, at `now`,
  // without waiting. False: nothing was.
  bool poll(TimePoint now);

  TimePoint now() const { return now_; }  // of the present batch
  std::uint64_t ticks() const { return ticks_.load(std::memory_order_relaxed); }

  static constexpr int kTickMs = 10;

 private:
  bool round(int wait_ms, const TimePoint* at);
  void run_posted();
  void run_resumed();

  int epoll_fd_ = -1;
  int wake_fd_ = -1;
  TimePoint now_ = Clock::now();
  TimePoint next_tick_ = now_;
  std::function<void()> tick_;
  std::vector<EventHandler*> resumed_;
  std::vector<EventHandler*> resuming_;
  std::vector<std::unique_ptr<EventHandler>> disposed_;
  std::atomic<bool> stopping_{false};
  std::atomic<std::uint64_t> ticks_{0};
  std::mutex posted_mutex_;
  std::vector<std::function<void()>> posted_;
};

}  // namespace suture
