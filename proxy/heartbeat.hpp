// Beats for the whole process: the BPF programs take a node whose heartbeat is stale for dead (PROTOCOL.md, ingress
// rung 2 and egress rule 1), so a beat may only come while every worker's loop turns as well as the control loop. After
// a stall longer than the limit the peers may have taken our sessions: their claims come first (same place, rule 1).
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include <suture/clock.hpp>
#include <suture/metrics.hpp>

namespace suture {

class Heartbeat {
 public:
  struct Options {
    Millis limit{150};             // the datapath's heartbeat limit
    Millis claims_patience{1000};  // a peer whose stream is broken says nothing
  };
  // `ticks`: one entry a worker, a counter that grows while its loop is alive. `claims_known`: what living peers
  // claimed during a stall of ours is applied.
  Heartbeat(std::vector<std::function<std::uint64_t()>> ticks, std::function<bool()> claims_known, Options options);

  // True: beat now. A worker that has not moved for `limit`, or not at all yet, withholds it; the latter is worth a
  // word only after `limit`, too.
  bool due(TimePoint now);
  // How often due() should be called.
  Millis interval() const { return options_.limit / 5; }

  std::uint64_t withheld() const { return withheld_total_.value(); }
  void register_metrics(MetricsRegistry& registry);

 private:
  struct Worker {
    std::function<std::uint64_t()> ticks;
    std::uint64_t seen = 0;
    std::optional<TimePoint> moved;  // absent: never
  };
  bool workers_alive(TimePoint now);
  bool reads_claims(TimePoint now);

  std::vector<Worker> workers_;
  std::function<bool()> claims_known_;
  Options options_;
  std::optional<TimePoint> first_due_, last_due_, woke_;
  bool withheld_ = false;
  Counter withheld_total_, stalls_;
};

}  // namespace suture
