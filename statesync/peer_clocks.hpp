// What the clocks of nodes said that we hear or heard: with it a claimant knows the TSval that a dead owner's socket
// would send now (PROTOCOL.md, "Probe, fence, claim"). Sans-I/O, control thread.
//
//   liveness datagram (monotonic, slot) ── on_heard ──> (node, incarnation) ── former_clock(record)   until forget()
//
// A process's death does not stop its kernel's clock, and the orphaned sockets of its kernel go on using it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <utility>

#include <statesync/liveness_wire.hpp>
#include <statesync/record.hpp>
#include <suture/clock.hpp>

namespace suture::statesync {

struct FormerClock {
  std::uint32_t tsval = 0;  // of the owner's socket now; early by the path's delay at most, never late
  bool hint_ok = false;     // its slot clock is within limits::clock_hint_apart_max of ours
  bool claim_ok = false;    // within limits::clock_claim_apart_max_ms: beyond, no claims between the two
};

class PeerClocks {
 public:
  explicit PeerClocks(Millis forget_after) : forget_after_(forget_after) {}

  void on_heard(const Datagram& datagram, TimePoint now);  // authentic and fresh
  void forget(TimePoint now);                              // incarnations not heard for forget_after

  // Nothing: the record's (owner, incarnation) was not heard, or not within forget_after.
  std::optional<FormerClock> former_clock(const SessionRecord& record, TimePoint now, std::uint64_t our_slot_ms) const;
  std::size_t size() const { return heard_.size(); }

 private:
  struct Heard {
    std::uint64_t monotonic_ms = 0;
    std::uint64_t slot_ms = 0;
    TimePoint sampled_at{};  // when that was true here
    TimePoint heard_at{};    // the newest datagram
  };
  Millis forget_after_;
  std::map<std::pair<NodeId, Incarnation>, Heard> heard_;
};

}  // namespace suture::statesync
