// Checks the application of this PoP, over and over: an HTTP GET that wants a 2xx or 3xx, or a TCP (or unix stream)
// connect. Runs on the control io_context; one check at a time, `timeout_ms` for all of it, the next one `interval_ms`
// after the start of the last (at once if the last took longer).
//
// Call order: construct, register_metrics, start(on_change) once, stop() (or the destructor). All on the io_context's
// thread. After stop() no callback comes any more; the check under way is cancelled.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include <boost/asio/io_context.hpp>

#include <proxy/config/config.hpp>
#include <proxy/health/dampener.hpp>
#include <suture/metrics.hpp>

namespace suture {

class HealthChecker {
 public:
  // Called when the dampened state changes. `reason` is the last check's outcome in words ("connection refused",
  // "status 500", "no answer within 1000 ms").
  using OnChange = std::function<void(HealthState state, const std::string& reason)>;

  HealthChecker(boost::asio::io_context& io, config::HealthCheck check);
  ~HealthChecker();
  HealthChecker(const HealthChecker&) = delete;
  HealthChecker& operator=(const HealthChecker&) = delete;

  // Type none: `up` is reported at once (from within start) and nothing is ever checked.
  void start(OnChange on_change);
  void stop();

  HealthState state() const;
  const std::string& reason() const;  // of the last check

  // suture_health_up, suture_health_checks_total{result="success|refused|timeout|status|error"}
  void register_metrics(MetricsRegistry& registry);

 private:
  struct Run;
  std::shared_ptr<Run> run_;  // shared with the coroutine, which may outlive this by one cancelled operation
};

}  // namespace suture
