#include "proxy/heartbeat.hpp"

#include <utility>

#include <suture/log.hpp>

namespace suture {

Heartbeat::Heartbeat(std::vector<std::function<std::uint64_t()>> ticks, std::function<bool()> claims_known,
                     Options options)
    : claims_known_(std::move(claims_known)), options_(options) {
  for (auto& source : ticks) workers_.push_back({std::move(source), 0, std::nullopt});
}

bool Heartbeat::workers_alive(TimePoint now) {
  bool alive = true;
  for (auto& worker : workers_) {
    const auto ticks = worker.ticks();
    if (ticks != worker.seen) {
      worker.seen = ticks;
      worker.moved = now;
    } else if (!worker.moved || now - *worker.moved > options_.limit) {
      alive = false;
    }
  }
  return alive;
}

// Since a stall of our own loop, until the peers' claims are known.
bool Heartbeat::reads_claims(TimePoint now) {
  if (last_due_ && now - *last_due_ > options_.limit) {
    stalls_.add();
    woke_ = now;
  }
  last_due_ = now;
  if (woke_ && (claims_known_() || now - *woke_ >= options_.claims_patience)) woke_.reset();
  return woke_.has_value();
}

bool Heartbeat::due(TimePoint now) {
  const bool alive = workers_alive(now);
  if (!first_due_) first_due_ = now;
  if (!alive && now - *first_due_ <= options_.limit) return false;
  if (!alive) withheld_total_.add();
  if (alive == withheld_) {
    withheld_ = !alive;
    if (withheld_) {
      log::error("heartbeat_withheld", {{"reason", "a worker's event loop is stuck"}});
    } else {
      log::warn("heartbeat_resumed");
    }
  }
  return !reads_claims(now) && alive;
}

void Heartbeat::register_metrics(MetricsRegistry& registry) {
  registry.counter("suture_heartbeats_withheld_total", "Beats that were left out because a worker did not move.", "",
                   withheld_total_);
  registry.counter("suture_heartbeat_stalls_total",
                   "Times the control loop stood still for longer than the heartbeat limit.", "", stalls_);
}

}  // namespace suture
