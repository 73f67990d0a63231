#include <proxy/admin/admin_server.hpp>

#include <utility>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <proxy/admin/server_state.hpp>
#include <suture/log.hpp>

namespace suture::admin {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;

constexpr Millis accept_pause{100};  // after EMFILE and the like: try again, but do not spin
constexpr std::array<const char*, 5> refusal_labels{"connections", "malformed", "too_large", "timeout", "origin"};

std::string trimmed(const std::string& text) {
  const auto from = text.find_first_not_of(" \t\r\n\"");
  if (from == std::string::npos) return "";
  return text.substr(from, text.find_last_not_of(" \t\r\n\"") - from + 1);
}

Response set_log_level(const Request& request) {
  const std::string wanted = trimmed(request.parameter("level").value_or(request.body));
  log::Level level{};
  if (!log::level_from(wanted, level)) {
    return text(400, "'" + wanted + "' is no log level; wanted debug, info, warn or error");
  }
  log::set_level(level);
  log::warn("log_level_changed", {{"level", wanted}});
  return text(200, "log level " + wanted);
}

std::string listen_hint(const boost::system::error_code& error) {
  if (error == asio::error::address_in_use) return "; another process holds the port (ss -ltnp shows which)";
  if (error == boost::system::errc::address_not_available) return "; no interface of this host has the address";
  if (error == asio::error::access_denied) return "; ports below 1024 need CAP_NET_BIND_SERVICE";
  return "";
}

std::string name_of(const tcp::endpoint& endpoint) {
  const std::string host = endpoint.address().to_string();
  return (endpoint.address().is_v6() ? '[' + host + ']' : host) + ':' + std::to_string(endpoint.port());
}

}  // namespace

AdminServer::AdminServer(asio::io_context& io, const MetricsRegistry& metrics, Options options)
    : state_(std::make_shared<State>(io, metrics, options)) {
  // The handlers live in the state itself: they hold a plain pointer, a shared one would be a cycle.
  State* state = state_.get();
  handle("GET", "/metrics", [state](const Request&) {
    return Response{200, "text/plain; version=0.0.4; charset=utf-8", state->metrics.prometheus_text(), ""};
  });
  handle("GET", "/healthz", [](const Request&) { return text(200, "ok"); });
  handle("GET", "/readyz", [state](const Request&) {
    const auto reasons = state->blockers ? state->blockers() : std::vector<std::string>{"starting"};
    if (reasons.empty()) return text(200, "ready");
    std::string body;
    for (const auto& reason : reasons) body += reason + '\n';
    return text(503, body);
  });
  handle("POST", "/loglevel", set_log_level);
  handle("GET", "/", [state](const Request&) {
    std::string body = "suture " SUTURE_VERSION "\n";
    for (const auto& [path, methods] : state->router.routes()) {
      for (const auto& [method, unused] : methods) body += method + ' ' + path + '\n';
    }
    return text(200, body);
  });
}

AdminServer::~AdminServer() {
  stop();
}

void AdminServer::handle(std::string method, std::string path, Handler handler) {
  state_->router.handle(std::move(method), std::move(path), std::move(handler));
}

void AdminServer::set_readiness(std::function<std::vector<std::string>()> blockers) {
  state_->blockers = std::move(blockers);
}

Result<void> AdminServer::listen(const tcp::endpoint& endpoint) {
  boost::system::error_code error;
  auto& acceptor = state_->acceptor;
  acceptor.open(endpoint.protocol(), error);
  if (!error) acceptor.set_option(tcp::acceptor::reuse_address(true), error);
  if (!error) acceptor.bind(endpoint, error);
  if (!error) acceptor.listen(asio::socket_base::max_listen_connections, error);
  if (error) {
    boost::system::error_code ignored;
    acceptor.close(ignored);
    return Error{"cannot listen on admin.listen " + name_of(endpoint) + ": " + error.message() + listen_hint(error),
                 error.value()};
  }
  log::info("admin_listening", {{"address", name_of(acceptor.local_endpoint(error))}});
  asio::co_spawn(state_->io, State::accept_loop(state_), asio::detached);
  return {};
}

tcp::endpoint AdminServer::local_endpoint() const {
  boost::system::error_code error;
  return state_->acceptor.local_endpoint(error);
}

void AdminServer::stop() {
  if (std::exchange(state_->stopped, true)) return;
  boost::system::error_code ignored;
  state_->acceptor.close(ignored);
  state_->pause.cancel();
  for (auto* stream : state_->streams) stream->close();
}

void AdminServer::register_metrics(MetricsRegistry& registry) {
  const char* requests = "Requests to the admin endpoint.";
  registry.counter("suture_admin_requests_total", requests, "code=\"2xx\"", state_->requests_2xx);
  registry.counter("suture_admin_requests_total", requests, "code=\"4xx\"", state_->requests_4xx);
  registry.counter("suture_admin_requests_total", requests, "code=\"5xx\"", state_->requests_5xx);
  registry.gauge("suture_admin_connections_active", "Open connections to the admin endpoint.", "", state_->active);
  for (std::size_t i = 0; i < refusal_labels.size(); ++i) {
    registry.counter("suture_admin_refused_total", "Admin connections and requests refused, by reason.",
                     std::string("reason=\"") + refusal_labels[i] + '"', state_->refused[i]);
  }
}

asio::awaitable<void> AdminServer::State::accept_loop(std::shared_ptr<State> state) {
  while (!state->stopped) {
    boost::system::error_code error;
    tcp::socket socket = co_await state->acceptor.async_accept(asio::redirect_error(asio::use_awaitable, error));
    if (state->stopped) co_return;
    if (error) {
      log::warn("admin_accept_failed", {{"error", error.message()}});
      state->pause.expires_after(accept_pause);
      co_await state->pause.async_wait(asio::redirect_error(asio::use_awaitable, error));
      continue;
    }
    asio::co_spawn(state->io, serve(state, std::move(socket)), asio::detached);
  }
}

}  // namespace suture::admin
