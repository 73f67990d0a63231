#include <proxy/health/announcer.hpp>

#include <algorithm>
#include <utility>

#include <suture/log.hpp>

namespace suture {
namespace {

constexpr const char* reason_labels[] = {"ready", "unsynchronised", "unhealthy", "draining", "no_interface"};

}  // namespace

Announcer::Announcer(boost::asio::io_context& io, AnnouncedRoutes& routes, Options options)
    : routes_(routes), options_(std::move(options)), timer_(io) {
  for (const auto& vip : options_.vips) state_.push_back({vip, false, false, ""});
}

void Announcer::set_synchronised(bool synchronised) {
  if (std::exchange(synchronised_, synchronised) != synchronised) evaluate();
}

void Announcer::set_health(HealthState state, const std::string& reason) {
  health_reason_ = reason;
  if (std::exchange(health_, state) != state) evaluate();
}

void Announcer::set_draining(bool draining) {
  if (std::exchange(draining_, draining) != draining) evaluate();
}

void Announcer::set_interfaces(bool any_attached, std::vector<std::string> missing) {
  missing_interfaces_ = std::move(missing);
  if (std::exchange(attached_, any_attached) != any_attached) evaluate();
}

// The operator's own act first, then what a start waits for, then the network, then the application.
Announcer::Reason Announcer::blocking_reason() const {
  if (draining_) return Reason::draining;
  if (!synchronised_) return Reason::unsynchronised;
  if (!attached_) return Reason::no_interface;
  return health_ == HealthState::up ? Reason::ready : Reason::unhealthy;
}

void Announcer::evaluate() {
  if (wanted() == was_wanted_) return;
  was_wanted_ = wanted();
  const Reason reason = blocking_reason();
  changes_[static_cast<std::size_t>(reason)].add();
  log::info(was_wanted_ ? "announce" : "withdraw",
            {{"reason", reason_labels[static_cast<std::size_t>(reason)]},
             {"detail", reason == Reason::unhealthy ? health_reason_ : std::string()},
             {"routes", options_.enabled ? "kernel" : "disabled"}});
  apply();
}

void Announcer::apply() {
  bool settled = true;
  if (options_.enabled) {
    for (auto& route : state_) settled = settle(route, was_wanted_) && settled;
  }
  // A timer set for an earlier wish must not fire for it.
  timer_.cancel();
  if (!settled || (options_.enabled && was_wanted_)) arm_timer();
  announced_metric_.set(announced() ? 1 : 0);
}

bool Announcer::settle(Route& route, bool wanted) {
  if (wanted && route.present && is_missing(route)) {
    route.present = false;
    route.was_removed = true;
  }
  if (route.present == wanted && route.error.empty()) return true;
  const auto done = wanted ? routes_.add(route.vip) : routes_.remove(route.vip);
  if (done) {
    if (route.present != wanted || !route.error.empty()) {
      log::info(wanted ? "route_added" : "route_removed", {{"vip", route.vip.to_string()}});
    }
    if (std::exchange(route.was_removed, false) && wanted) restored_.add();
    route.present = wanted;
    route.error.clear();
    return true;
  }
  errors_.add();
  route.error = done.error().message;
  log::error(wanted ? "route_add_failed" : "route_remove_failed",
             {{"vip", route.vip.to_string()},
              {"error", route.error},
              {"retry_ms", static_cast<std::int64_t>(options_.retry_interval.count())}});
  return false;
}

// Where the kernel does not say, nothing has changed.
bool Announcer::is_missing(const Route& route) {
  const auto present = routes_.present(route.vip);
  if (!present || *present) return false;
  log::warn("route_missing",
            {{"vip", route.vip.to_string()}, {"reason", "somebody removed it, or set its device down"}});
  return true;
}

void Announcer::arm_timer() {
  timer_.expires_after(options_.retry_interval);
  timer_.async_wait([this](const boost::system::error_code& error) {
    if (!error) apply();
  });
}

bool Announcer::announced() const {
  if (!options_.enabled) return was_wanted_;
  return !state_.empty() && std::all_of(state_.begin(), state_.end(), [](const Route& r) { return r.present; });
}

std::vector<std::string> Announcer::blockers() const {
  std::vector<std::string> out;
  if (draining_) out.emplace_back("draining");
  if (!synchronised_) out.emplace_back("not synchronised with the reachable peers yet");
  if (health_ == HealthState::unknown) out.emplace_back("application not checked yet");
  if (health_ == HealthState::down) out.push_back("application down: " + health_reason_);
  for (const auto& route : state_) {
    if (wanted() && !route.error.empty()) {
      out.push_back("route of " + route.vip.to_string() + " not added: " + route.error);
    }
  }
  for (const auto& interface : missing_interfaces_) out.push_back("interface " + interface);
  return out;
}

void Announcer::register_metrics(MetricsRegistry& registry) {
  registry.gauge("suture_route_announced", "1 while the route of every VIP is in the announce table.", "",
                 announced_metric_);
  for (std::size_t i = 0; i < std::size(changes_); ++i) {
    registry.counter("suture_route_changes_total", "Announcements and withdrawals, by what decided.",
                     std::string("reason=\"") + reason_labels[i] + '"', changes_[i]);
  }
  registry.counter("suture_route_restored_total", "Routes that were gone while they were wanted, and added again.", "",
                   restored_);
  registry.counter("suture_route_errors_total", "Routes that the kernel refused to add or remove.", "", errors_);
}

}  // namespace suture
