#include <proxy/health/checks.hpp>

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>
#include <utility>
#include <variant>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/basic_stream.hpp>
#include <boost/beast/core/error.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>

#include <suture/clock.hpp>
#include <suture/log.hpp>

namespace suture {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using asio::redirect_error;
using asio::use_awaitable;
using Stream = beast::basic_stream<asio::generic::stream_protocol>;  // TCP and unix sockets alike

enum class Outcome : std::uint8_t { success, refused, timeout, status, error, count };
constexpr std::array<const char*, 5> outcome_labels{"success", "refused", "timeout", "status", "error"};

constexpr std::uint32_t head_bytes_max = 16 * 1024;  // a health answer's head; its body is never read
constexpr int interim_max = 4;                       // 1xx responses before the real one

struct Verdict {
  Outcome outcome = Outcome::error;
  std::string reason;
};

asio::generic::stream_protocol::endpoint endpoint_of(const config::UpstreamAddress& target) {
  if (const auto* unix_path = std::get_if<config::UnixPath>(&target)) {
    return asio::local::stream_protocol::endpoint(unix_path->path);
  }
  return std::get<config::TcpEndpoint>(target);
}

Verdict verdict_of(const beast::error_code& error, const config::HealthCheck& check) {
  if (error == beast::error::timeout) {
    return {Outcome::timeout, "no answer within " + std::to_string(check.timeout_ms) + " ms"};
  }
  // A missing unix socket is what an application that is not running looks like, as a closed port is.
  if (error == asio::error::connection_refused) return {Outcome::refused, "connection refused"};
  if (error == boost::system::errc::no_such_file_or_directory) return {Outcome::refused, "no such socket"};
  if (error == http::error::end_of_stream) return {Outcome::error, "closed without an answer"};
  return {Outcome::error, error.message()};
}

// PROXY protocol, of a connection that is the proxy's own (HAProxy's doc/proxy-protocol.txt, 2.1 UNKNOWN, 2.2 LOCAL).
std::string_view header_of(config::ProxyProtocol version) {
  using namespace std::string_view_literals;
  switch (version) {
    case config::ProxyProtocol::v1:
      return "PROXY UNKNOWN\r\n"sv;
    case config::ProxyProtocol::v2:
      return "\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"sv;
    default:
      return {};
  }
}

// `stream` is the caller's, who may close it at any time: every operation then ends with an error.
asio::awaitable<Verdict> check_once(const config::HealthCheck& check, Stream& stream) {
  stream.expires_after(Millis(check.timeout_ms));  // for everything below together
  beast::error_code error;
  const auto target = endpoint_of(check.target);
  co_await stream.async_connect(target, redirect_error(use_awaitable, error));
  if (error) co_return verdict_of(error, check);
  if (check.type == config::HealthCheck::Type::tcp) co_return Verdict{Outcome::success, "connected"};

  const std::string_view header = header_of(check.proxy_protocol);
  co_await asio::async_write(stream, asio::buffer(header), redirect_error(use_awaitable, error));
  if (error) co_return verdict_of(error, check);
  http::request<http::empty_body> request(http::verb::get, check.path, 11);
  request.set(http::field::host, check.host);
  request.set(http::field::user_agent, "suture-healthcheck/" SUTURE_VERSION);
  request.set(http::field::connection, "close");
  co_await http::async_write(stream, request, redirect_error(use_awaitable, error));
  if (error) co_return verdict_of(error, check);
  beast::flat_buffer buffer(head_bytes_max * 2);
  for (int i = 0; i <= interim_max; ++i) {
    http::response_parser<http::empty_body> parser;
    parser.header_limit(head_bytes_max);
    co_await http::async_read_header(stream, buffer, parser, redirect_error(use_awaitable, error));
    if (error) co_return verdict_of(error, check);
    const unsigned status = parser.get().result_int();
    if (status >= 200 && status < 400) co_return Verdict{Outcome::success, "status " + std::to_string(status)};
    if (status >= 400) co_return Verdict{Outcome::status, "status " + std::to_string(status)};
  }
  co_return Verdict{Outcome::error, "only interim (1xx) responses"};
}

}  // namespace

struct HealthChecker::Run {
  Run(asio::io_context& context, config::HealthCheck c)
      : io(context), check(std::move(c)), dampener(check.rise, check.fall), timer(context) {}

  asio::io_context& io;
  config::HealthCheck check;
  Dampener dampener;
  asio::steady_timer timer;
  OnChange on_change;
  std::string reason = "not checked yet";
  bool stopped = false;
  // The connection of the check under way. (Not a cancellation_signal on the coroutine: Asio 1.24 posts the emission
  // with a plain pointer into a frame that the cancellation itself may end first.)
  std::optional<Stream> stream;
  Gauge up;
  std::array<Counter, static_cast<std::size_t>(Outcome::count)> results;

  void take(const Verdict& verdict);
};

void HealthChecker::Run::take(const Verdict& verdict) {
  results[static_cast<std::size_t>(verdict.outcome)].add();
  reason = verdict.reason;
  if (!dampener.record(verdict.outcome == Outcome::success)) return;
  const HealthState state = dampener.state();
  up.set(state == HealthState::up ? 1 : 0);
  log::write(state == HealthState::up ? log::Level::info : log::Level::warn, "health_changed",
             {{"state", to_string(state)}, {"target", config::to_string(check.target)}, {"reason", reason}});
  const OnChange callback = on_change;  // stop() from within it must not destroy the function that runs
  if (callback) callback(state, reason);
}

HealthChecker::HealthChecker(asio::io_context& io, config::HealthCheck check)
    : run_(std::make_shared<Run>(io, std::move(check))) {}

HealthChecker::~HealthChecker() {
  stop();
}

void HealthChecker::start(OnChange on_change) {
  run_->on_change = std::move(on_change);
  if (run_->check.type == config::HealthCheck::Type::none) {
    run_->reason = "no check is configured";
    run_->dampener.record(true);
    run_->up.set(1);
    const OnChange callback = run_->on_change;
    if (callback) callback(HealthState::up, run_->reason);
    return;
  }
  // Named, and a free-standing coroutine body: the captures must outlive every suspension (STYLE.md, g++ 12 trap).
  auto loop = [](std::shared_ptr<Run> run) -> asio::awaitable<void> {
    while (!run->stopped) {
      const auto began = Clock::now();
      run->stream.emplace(run->io);
      const Verdict verdict = co_await check_once(run->check, *run->stream);
      run->stream.reset();
      if (run->stopped) co_return;
      run->take(verdict);
      if (run->stopped) co_return;  // the callback may have stopped us
      run->timer.expires_at(std::max(Clock::now(), began + Millis(run->check.interval_ms)));
      boost::system::error_code error;
      co_await run->timer.async_wait(redirect_error(use_awaitable, error));
    }
  };
  asio::co_spawn(run_->io, loop(run_), asio::detached);
}

void HealthChecker::stop() {
  if (std::exchange(run_->stopped, true)) return;
  run_->on_change = nullptr;
  run_->timer.cancel();
  if (run_->stream) run_->stream->close();
}

HealthState HealthChecker::state() const {
  return run_->dampener.state();
}

const std::string& HealthChecker::reason() const {
  return run_->reason;
}

void HealthChecker::register_metrics(MetricsRegistry& registry) {
  registry.gauge("suture_health_up", "1 while the application's health check is passing (dampened).", "", run_->up);
  for (std::size_t i = 0; i < run_->results.size(); ++i) {
    registry.counter("suture_health_checks_total", "Health checks of the application, by result.",
                     std::string("result=\"") + outcome_labels[i] + '"', run_->results[i]);
  }
}

}  // namespace suture
