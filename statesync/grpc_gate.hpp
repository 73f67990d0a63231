// How gRPC's threads reach the control thread, and how the control thread knows that they are done. Internal to the
// gRPC link. After close() nothing is posted any more; wait_idle() returns when the last reactor has seen its OnDone.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <utility>

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>

namespace suture::statesync {

class Gate {
 public:
  explicit Gate(boost::asio::io_context& io) : io_(io) {}

  template <class F>
  void post(F&& f) {
    const std::lock_guard lock(mutex_);
    if (!closed_) boost::asio::post(io_, std::forward<F>(f));
  }
  void close() {
    const std::lock_guard lock(mutex_);
    closed_ = true;
  }
  void enter() {
    const std::lock_guard lock(mutex_);
    ++reactors_;
  }
  void leave() {
    const std::lock_guard lock(mutex_);
    if (--reactors_ == 0) idle_.notify_all();
  }
  bool wait_idle(std::chrono::milliseconds at_most) {
    std::unique_lock lock(mutex_);
    return idle_.wait_for(lock, at_most, [this] { return reactors_ == 0; });
  }

 private:
  boost::asio::io_context& io_;
  std::mutex mutex_;
  std::condition_variable idle_;
  bool closed_ = false;
  int reactors_ = 0;
};

}  // namespace suture::statesync
