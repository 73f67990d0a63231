// Beats for the whole process: the BPF programs take a node whose heartbeat is stale for dead (PROTOCOL.md, ingress
// rung 2 and egress rule 1), so a beat may only come while every worker's loop turns as well as the control loop.
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
  // One entry a worker: a counter that grows while its loop is alive. `limit`: the datapath's heartbeat limit.
  Heartbeat(std::vector<std::function<std::uint64_t()>> ticks, Millis limit);

  // True: beat now. A worker that has not moved for `limit`, or not at all yet, withholds it; the latter is worth a
  // word only after `limit`, too.
  bool due(TimePoint now);
  // How often due() should be called.
  Millis interval() const { return limit_ / 5; }

  std::uint64_t withheld() const { return withheld_total_.value(); }
  void register_metrics(MetricsRegistry& registry);

 private:
  struct Worker {
    std::function<std::uint64_t()> ticks;
    std::uint64_t seen = 0;
    std::optional<TimePoint> moved;  // absent: never
  };
  std::vector<Worker> workers_;
  Millis limit_;
  std::optional<TimePoint> first_due_;
  bool withheld_ = false;
  Counter withheld_total_;
};

}  // namespace suture
