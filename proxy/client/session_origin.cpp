// Whose connection a session serves: the PROXY protocol header from a front balancer, and the one for the application
// (proxy_protocol.hpp).
//
//   in:  0 [ header ] [ the client's bytes ...        upstream:  [ header ] [ the client's bytes ...
//
// The header is looked at where it lies and taken whole, so that `in` begins with all of it or with nothing. An heir
// finds `proxied` in the record, or reads the header itself from offset 0, or learns from the client that a part of it
// is lost, and ends the session.
#include <algorithm>

#include <proxy/client/proxy_protocol.hpp>
#include <proxy/client/session.hpp>
#include <suture/log.hpp>

namespace suture {
namespace {
constexpr auto kLogInterval = std::chrono::seconds(5);
}  // namespace

// "MUST not try to guess whether the protocol header is present or not" (section 2).
bool Session::is_front(const config::Listener& listener, const config::Address& client) {
  const auto& fronts = listener.proxy_protocol_from;
  return std::any_of(fronts.begin(), fronts.end(), [&](const auto& prefix) { return covers(prefix, client); });
}

bool Session::client_is_front() const {
  return is_front(listener_.listener, client_of(record_.facts.key).address());
}

// True: the session's own protocol goes on.
bool Session::take_proxy_header() {
  if (!client_.readable()) return false;
  const auto seen = client_.peek(std::span(worker_.scratch).first(proxy_protocol::kV2BytesMax));
  if (seen.status == IoResult::Status::again) return false;
  if (seen.status == IoResult::Status::error) return close_now(CloseCause::client_reset), false;
  // Nothing at all: somebody who looks whether the port is open.
  if (seen.status == IoResult::Status::eof) return finish(CloseCause::client_closed), false;

  const auto parsed = proxy_protocol::parse({worker_.scratch.data(), seen.bytes});
  const char* mistake = nullptr;
  if (const auto* malformed = std::get_if<proxy_protocol::Malformed>(&parsed)) mistake = malformed->reason;
  if (std::holds_alternative<proxy_protocol::NeedMore>(parsed)) {
    if (!client_.hung_up()) return false;
    mistake = "incomplete";
  }
  if (mistake) {
    proxy_header_fails(mistake, worker_.metrics.rejected_proxy_header, CloseCause::request_refused);
    return false;
  }
  const auto& header = std::get<proxy_protocol::Header>(parsed);
  const auto got = read_client(std::span(worker_.scratch).first(header.bytes));
  if (over_) return false;
  // What was seen is there to be read.
  if (got.bytes != header.bytes) return close_now(CloseCause::internal), false;
  awaits_proxy_header_ = false;
  if (!header.local) {
    auto slot = worker_.take_slot(listener_.listener, header.source.address());
    if (!slot) return reset_client(CloseCause::request_refused), false;
    hold(std::move(*slot));
  }
  // The socket's own addresses say so as well: an heir must know that the header is gone.
  record_.proxied = header.local ? record_.facts.key : make_flow_key(header.source, header.destination);
  auto& metrics = worker_.metrics;
  (header.local          ? metrics.proxy_headers_local
   : header.version == 1 ? metrics.proxy_headers_v1
                         : metrics.proxy_headers_v2)
      .add();
  publish();
  deadline_in(worker_.options.timeouts.request_head_ms);
  on_proxy_header();
  return !over_ && !ending();
}

void Session::proxy_header_fails(const char* reason, Counter& counter, CloseCause cause) {
  counter.add();
  if (worker_.loop.now() - worker_.proxy_header_logged_at >= kLogInterval) {
    worker_.proxy_header_logged_at = worker_.loop.now();
    log::warn("proxy_header_refused", {{"flow", to_string(record_.facts.key)}, {"reason", reason}});
  }
  reset_client(cause);
}

// --- to the application ----------------------------------------------------------------------------------------------

// Of every fresh connection, and only once it is there: an attempt that fails has taken nothing, and the next one finds
// to_upstream_ as it was.
void Session::greet_upstream() {
  to_upstream_.prepend(upstream_greeting());
  on_upstream_connected();
}

std::string Session::upstream_greeting() const {
  const auto source = client_of(origin()), destination = vip_of(origin());
  switch (listener_.listener.upstream_proxy_protocol) {
    case config::ProxyProtocol::v1:
      return proxy_protocol::build_v1(source, destination);
    case config::ProxyProtocol::v2:
      return proxy_protocol::build_v2(source, destination);
    case config::ProxyProtocol::off:
      break;
  }
  return {};
}

// "MUST NOT implement this protocol on multiplexed connections" (section 2): such a connection stays with its session.
std::uint64_t Session::upstream_owner() const {
  const bool shared = listener_.listener.upstream_proxy_protocol == config::ProxyProtocol::off;
  return shared ? UpstreamPool::kAnybody : record_.session_id;
}

}  // namespace suture
