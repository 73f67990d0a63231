// For log lines that a remote can trigger: one per `every` and key, the others counted into the next one.
#pragma once

#include <array>
#include <cstdint>

#include <suture/clock.hpp>

namespace suture::statesync {

class LogLimiter {
 public:
  explicit LogLimiter(Millis every = Millis{1000}) : every_(every) {}
  // True: write the line now; `suppressed` is how many were swallowed since the last.
  bool allow(std::uint8_t key, TimePoint now, std::uint64_t& suppressed) {
    Slot& slot = slots_[key];
    if (slot.written && now - slot.last < every_) {
      ++slot.suppressed;
      return false;
    }
    suppressed = slot.suppressed;
    slot = {true, now, 0};
    return true;
  }

 private:
  struct Slot {
    bool written = false;
    TimePoint last{};
    std::uint64_t suppressed = 0;
  };
  Millis every_;
  std::array<Slot, 256> slots_{};
};

}  // namespace suture::statesync
