#include "proxy/heartbeat.hpp"

#include <utility>

#include <suture/log.hpp>

namespace suture {

Heartbeat::Heartbeat(std::vector<std::function<std::uint64_t()>> ticks, Millis limit) : limit_(limit) {
  for (auto& source : ticks) workers_.push_back({std::move(source), 0, std::nullopt});
}

bool Heartbeat::due(TimePoint now) {
  bool alive = true;
  for (auto& worker : workers_) {
    const auto ticks = worker.ticks();
    if (ticks != worker.seen) {
      worker.seen = ticks;
      worker.moved = now;
    } else if (!worker.moved || now - *worker.moved > limit_) {
      alive = false;
    }
  }
  if (!first_due_) first_due_ = now;
  if (!alive && now - *first_due_ <= limit_) return false;
  if (!alive) withheld_total_.add();
  if (alive == withheld_) {
    withheld_ = !alive;
    if (withheld_) {
      log::error("heartbeat_withheld", {{"reason", "a worker's event loop is stuck"}});
    } else {
      log::warn("heartbeat_resumed");
    }
  }
  return alive;
}

void Heartbeat::register_metrics(MetricsRegistry& registry) {
  registry.counter("suture_heartbeats_withheld_total", "Beats that were left out because a worker did not move.", "",
                   withheld_total_);
}

}  // namespace suture
