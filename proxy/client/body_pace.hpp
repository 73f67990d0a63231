// Whether a request's body comes fast enough to be worth waiting for. An idle timeout alone lets a client hold a
// connection to the application for ever with one byte now and then; a total one would forbid large uploads. So each
// window of time must bring a number of bytes. Time in which we did not read (the application is slow) does not count.
//
//   begin ── took* ── held_up ── took ...
#pragma once

#include <cstdint>
#include <optional>

#include <suture/clock.hpp>

namespace suture {

class BodyPace {
 public:
  // `bytes_per_s` 0: any pace will do.
  void begin(Millis window, std::uint64_t bytes_per_s) {
    window_ = window;
    bytes_per_s_ = bytes_per_s;
    held_up();
  }
  // The next bytes begin a new window.
  void held_up() { began_.reset(); }
  // False: the window that ends here brought too little.
  bool took(TimePoint now, std::uint64_t bytes) {
    if (!began_) {
      began_ = now;
      bytes_ = 0;
    }
    bytes_ += bytes;
    const Millis passed = std::chrono::duration_cast<Millis>(now - *began_);
    if (passed < window_) return true;
    const bool enough = bytes_ >= bytes_per_s_ * static_cast<std::uint64_t>(passed.count()) / 1000;
    began_ = now;
    bytes_ = 0;
    return enough;
  }

 private:
  std::optional<TimePoint> began_;
  Millis window_{0};
  std::uint64_t bytes_per_s_ = 0;
  std::uint64_t bytes_ = 0;
};

}  // namespace suture
