// Clocks. Everything that decides runs on CLOCK_MONOTONIC (PROTOCOL.md); wall time is for logs only.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

namespace suture {

using Clock = std::chrono::steady_clock;  // CLOCK_MONOTONIC on Linux
using TimePoint = Clock::time_point;
using Millis = std::chrono::milliseconds;

inline std::uint64_t monotonic_ms(TimePoint t = Clock::now()) {
  return static_cast<std::uint64_t>(std::chrono::duration_cast<Millis>(t.time_since_epoch()).count());
}

// The slot clock (PROTOCOL.md): CLOCK_MONOTONIC ms + an offset that follows the peers' clocks. Written by the control
// thread (statesync's slot clock discipline), read by the workers at accept.
class SlotClock {
 public:
  std::uint64_t now_ms(TimePoint t = Clock::now()) const { return monotonic_ms(t) + offset_ms(); }
  std::uint64_t offset_ms() const { return offset_ms_.load(std::memory_order_relaxed); }
  void set_offset_ms(std::uint64_t offset) { offset_ms_.store(offset, std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> offset_ms_{0};  // wraps: a negative offset is a large number
};

// Slots in TCP timestamps (PROTOCOL.md, "Slot"): (TSval - slot clock) mod 2^28 = id * 2^20 + 7/8 * 2^20 - random.
constexpr unsigned kSlotBits = 20;  // a slot is 2^20 ms wide
constexpr std::uint32_t kSlotSpaceMask = (1U << 28) - 1;

// The smallest TSval at or after `current` (serial order) that lies in the slot of `id` at slot clock `slot_now_ms`;
// always even (bit 0 of TCP_TIMESTAMP means microseconds since Linux 6.7). `random` is any number.
constexpr std::uint32_t slot_tsval(std::uint32_t current, std::uint64_t slot_now_ms, unsigned id,
                                   std::uint32_t random) {
  const std::uint32_t now = static_cast<std::uint32_t>(slot_now_ms);
  const std::uint32_t place = (id << kSlotBits) + (7U << (kSlotBits - 3)) - (random & 0xfffeU);
  const std::uint32_t wanted = now + place;
  std::uint32_t value = current + ((wanted - current) & kSlotSpaceMask);
  return (value + 1U) & ~1U;
}
// The node id that a timestamp echo names, 0..255, or 0 where it names none.
constexpr unsigned slot_owner(std::uint32_t tsecr, std::uint64_t slot_now_ms) {
  return ((tsecr - static_cast<std::uint32_t>(slot_now_ms)) & kSlotSpaceMask) >> kSlotBits;
}

}  // namespace suture
