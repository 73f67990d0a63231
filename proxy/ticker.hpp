// A timer of the control thread.
#pragma once

#include <functional>
#include <utility>

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include <suture/clock.hpp>

namespace suture {

// Calls `work` every `interval` on the control thread until the io_context stops.
class Ticker {
 public:
  Ticker(boost::asio::io_context& io, Millis interval, std::function<void(TimePoint)> work)
      : timer_(io), interval_(interval), work_(std::move(work)) {
    arm();
  }

 private:
  void arm() {
    timer_.expires_after(interval_);
    timer_.async_wait([this](const boost::system::error_code& error) {
      if (error) return;
      work_(Clock::now());
      arm();
    });
  }
  boost::asio::steady_timer timer_;
  Millis interval_;
  std::function<void(TimePoint)> work_;
};

}  // namespace suture
