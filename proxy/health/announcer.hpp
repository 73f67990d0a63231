// The route announcer (DESIGN.md idea 5). One rule: announce ⇔ synchronised && healthy && attached && !draining.
//
// Inputs are set at any time and in any order, each call is idempotent; the routes follow at once. A route change that
// the kernel refuses is logged, counted and retried every `retry_interval` until it succeeds or is no longer wanted. At
// the same pace, while they are wanted, routes that somebody else removed are added again.
// Runs on the control thread. The destructor leaves the routes alone: closing the TUN device removes them, and a caller
// that wants them gone earlier drains first.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/address.hpp>
#include <boost/asio/steady_timer.hpp>

#include <proxy/health/announced_routes.hpp>
#include <proxy/health/dampener.hpp>
#include <suture/clock.hpp>
#include <suture/metrics.hpp>

namespace suture {

class Announcer {
 public:
  struct Options {
    std::vector<boost::asio::ip::address> vips;
    bool enabled = true;  // announce.enabled; false: the rule is evaluated, no route is ever touched
    Millis retry_interval{1000};
  };

  // `routes` must outlive this. Starts as: not synchronised, health unknown, not draining. Nothing is announced.
  Announcer(boost::asio::io_context& io, AnnouncedRoutes& routes, Options options);
  Announcer(const Announcer&) = delete;
  Announcer& operator=(const Announcer&) = delete;

  void set_synchronised(bool synchronised);
  void set_health(HealthState state, const std::string& reason);
  void set_draining(bool draining);
  // KernelPath::on_interfaces(): does any access interface have its programs (without them its strays are answered with
  // RST), and which ones have not. Starts as: all have.
  void set_interfaces(bool any_attached, std::vector<std::string> missing);

  // The rule's value: the node may be announced.
  bool wanted() const { return synchronised_ && attached_ && health_ == HealthState::up && !draining_; }
  // Every VIP's route is in the table (with announce.enabled false: the rule's value).
  bool announced() const;
  bool draining() const { return draining_; }
  // Why the node is not ready, for /readyz: "not synchronised", "application down: ...", "draining", "route of
  // 203.0.113.10 not added: ...", "interface eth1: does not exist" (the node may be announced all the same: it has
  // others). Empty: ready.
  std::vector<std::string> blockers() const;

  // suture_route_announced (1 while every VIP's route is there),
  // suture_route_changes_total{reason="ready|unsynchronised|unhealthy|draining|no_interface"} per change of the rule's
  // value, suture_route_errors_total per refused add or remove, suture_route_restored_total per route that was gone.
  void register_metrics(MetricsRegistry& registry);

 private:
  enum class Reason : std::uint8_t { ready, unsynchronised, unhealthy, draining, no_interface, count };
  struct Route {
    boost::asio::ip::address vip;
    bool present = false;
    bool was_removed = false;  // by somebody else
    std::string error;         // of the last attempt; empty: none
  };

  void evaluate();
  void apply();
  bool settle(Route& route, bool wanted);  // false: try again
  bool is_missing(const Route& route);
  void arm_timer();
  Reason blocking_reason() const;

  AnnouncedRoutes& routes_;
  Options options_;
  std::vector<Route> state_;
  boost::asio::steady_timer timer_;
  bool synchronised_ = false;
  bool draining_ = false;
  bool attached_ = true;
  std::vector<std::string> missing_interfaces_;
  HealthState health_ = HealthState::unknown;
  std::string health_reason_;
  bool was_wanted_ = false;
  Gauge announced_metric_;
  Counter changes_[static_cast<std::size_t>(Reason::count)];
  Counter errors_;
  Counter restored_;
};

}  // namespace suture
