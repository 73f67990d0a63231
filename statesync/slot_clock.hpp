// Discipline of the slot clock (PROTOCOL.md, "Slot clock"): taken from the peers at start, then slewed, never stepped.
// Sans-I/O, control thread; writes suture::SlotClock.
//
// Until settle(): the median of the peers whose clocks are settled; if there are none, the clock of the lowest id (our
// own included), so that nodes that start together agree without a vote. After settle(): follows the median of all
// clocks, ours included, at slew_max, and only while that is nearer than follow_max; a peer farther away than
// limits::clock_hint_apart_max is not hint_ok.
#pragma once

#include <cstdint>
#include <map>
#include <optional>

#include <suture/clock.hpp>
#include <suture/ids.hpp>
#include <suture/metrics.hpp>

namespace suture::statesync {

class SlotClockDiscipline {
 public:
  struct Options {
    NodeId self{};
    std::uint64_t start_offset_ms = 0;
    std::int64_t slew_max_ms_per_s = 10;
    std::int64_t follow_max_ms = 10000;
    // A sample is late by the path's delay, at both ends: without a dead band two nodes would slow each other down for
    // ever. Slots are minutes wide; half a second of disagreement costs nothing.
    std::int64_t deadband_ms = 500;
  };
  SlotClockDiscipline(Options options, SlotClock& clock);

  // A living peer's slot clock as its datagram said, heard at `now`.
  void on_sample(NodeId peer, std::uint64_t peer_slot_ms, bool peer_settled, TimePoint now);
  void on_peer_lost(NodeId peer);
  // Called once, before the first accept that uses the clock. From here on there are no steps.
  void settle(TimePoint now);
  bool settled() const { return settled_; }
  void tick(TimePoint now);  // slews; every 100 ms or so

  bool hint_ok(NodeId peer) const;                          // false as well while it was never heard
  std::optional<std::int64_t> apart_ms(NodeId peer) const;  // its clock - ours

  const Counter& apart_total() const { return apart_total_; }

 private:
  struct Sample {
    std::uint64_t offset_ms = 0;  // of the peer's slot clock to our CLOCK_MONOTONIC; wraps
    bool settled = false;
    bool apart = false;
  };
  std::int64_t apart(const Sample& sample) const;
  void judge(NodeId peer, Sample& sample);
  void choose_start();

  Options options_;
  SlotClock& clock_;
  std::map<NodeId, Sample> samples_;
  bool settled_ = false;
  std::optional<TimePoint> slewed_at_;
  Counter apart_total_;
};

}  // namespace suture::statesync
