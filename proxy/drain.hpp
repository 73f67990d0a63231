// The order of a drain, as a small state machine without sockets or timers of its own: events in, steps out.
//
//   serving ── drain ──> withdrawn ── grace over ──> refusing ── no sessions, or drain_timeout ──> done
//      ^                     |                           |
//      └──── undrain ────────┴───────────────────────────┘      (not after SIGTERM)
//
// withdrawn: the route is gone, SYNs that are still under way are served while routers converge.
// refusing:  new connections are dropped; the client's retry goes where the route now leads.
#pragma once

#include <cstddef>
#include <cstdint>

#include <suture/clock.hpp>

namespace suture {

class Drain {
 public:
  enum class State : std::uint8_t { serving, withdrawn, refusing, done };

  Drain(Millis grace, Millis timeout) : grace_(grace), timeout_(timeout) {}

  // `terminate`: the process is to end when it is done (SIGTERM); otherwise it stays drained until undrain() (the admin
  // endpoint's POST /drain). A terminate upgrades a drain under way; its timeout counts from then.
  void begin(TimePoint now, bool terminate);
  bool undrain();  // false: too late, the process is ending

  // Call periodically; returns the state after the tick.
  State tick(TimePoint now, std::size_t active_sessions);
  State state() const { return state_; }
  bool terminating() const { return terminating_; }

 private:
  Millis grace_;
  Millis timeout_;
  State state_ = State::serving;
  bool terminating_ = false;
  TimePoint began_{};
  TimePoint terminate_at_{};
};

}  // namespace suture
