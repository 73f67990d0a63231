// The admin endpoint: a small HTTP/1.1 server on the control io_context, loopback by default.
//
// Built in: GET / (index), GET /metrics (Prometheus text 0.0.4), GET /healthz (200 while the control thread runs),
// GET /readyz (200, or 503 with one reason a line), POST /loglevel (query `level` or the body: debug|info|warn|error).
// The node adds the rest with handle(): /stats /sessions /peers /config, POST /drain /undrain /reload.
// State changes only by POST, and never for a request with an Origin header: a web page in a browser on the same host
// must not be able to drain a node (403).
//
// Bounds: `connections_max` at once (the next one gets 503 and is closed), head 8 kB (431), body 4 kB (413), one
// deadline per request (`request_timeout`, then closed), `idle_timeout` between requests of one connection.
//
// Call order: construct, handle()/set_readiness()/register_metrics(), listen(), stop() (or the destructor). All on the
// io_context's thread.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>

#include <proxy/admin/router.hpp>
#include <suture/clock.hpp>
#include <suture/metrics.hpp>
#include <suture/result.hpp>

namespace suture::admin {

struct Options {
  std::size_t connections_max = 64;
  std::size_t head_bytes_max = 8 * 1024;
  std::size_t body_bytes_max = 4 * 1024;
  Millis request_timeout{5000};  // from the first byte of a request to the last byte of its response
  Millis idle_timeout{30000};
};

class AdminServer {
 public:
  // `metrics` must outlive this.
  AdminServer(boost::asio::io_context& io, const MetricsRegistry& metrics, Options options = {});
  ~AdminServer();
  AdminServer(const AdminServer&) = delete;
  AdminServer& operator=(const AdminServer&) = delete;

  void handle(std::string method, std::string path, Handler handler);
  // Reasons why the node is not ready; empty: ready. Without it /readyz is 503 "starting".
  void set_readiness(std::function<std::vector<std::string>()> blockers);

  // Port 0: any; see local_endpoint(). The error names address and port, and who may hold it.
  Result<void> listen(const boost::asio::ip::tcp::endpoint& endpoint);
  boost::asio::ip::tcp::endpoint local_endpoint() const;
  void stop();  // closes the listener and all connections

  // suture_admin_requests_total{code="2xx|4xx|5xx"}, suture_admin_connections_active,
  // suture_admin_refused_total{reason="connections|malformed|too_large|timeout|origin"}
  void register_metrics(MetricsRegistry& registry);

 private:
  struct State;                   // server_state.hpp
  std::shared_ptr<State> state_;  // shared with the connections' coroutines
};

}  // namespace suture::admin
