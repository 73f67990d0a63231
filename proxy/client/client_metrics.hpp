// Counters of one worker's client side.
#pragma once

#include <array>
#include <cstdint>

#include <proxy/client/adoption.hpp>
#include <proxy/client/heal_reasons.hpp>
#include <proxy/client/http_head.hpp>
#include <suture/metrics.hpp>

namespace suture {

// Why a session ended. The label of suture_closes_total.
enum class CloseCause : std::uint8_t {
  client_closed,
  client_reset,
  idle_timeout,
  request_timeout,
  request_refused,
  response_complete,  // the connection was announced to end with this response
  upstream_closed,    // tcp mode and upgraded connections; in http mode: in the middle of a response
  upstream_reset,
  upstream_unavailable,
  upstream_timeout,
  early_response,
  stopped,
  refused_heal,  // taken over, and ended with a 503
  reset_heal,    // taken over, and ended with an RST
  released,      // another node owns the session now
  aborted,       // on the control thread's word
  ping_timeout,  // a WebSocket client that does not answer
  internal,
  count_
};

struct ClientMetrics {
  Counter accepted_tcp, accepted_http;
  Gauge active_tcp, active_http;
  Counter bytes_in, bytes_out;      // of clients' streams
  std::array<Counter, 6> requests;  // by first digit of the status that the client got; [0]: none
  Counter upgrades, websocket_untracked, websocket_pings;
  Counter rejected_connections_max, rejected_malformed, rejected_head_too_large, rejected_body_too_large,
      rejected_head_timeout, rejected_body_timeout, rejected_unsupported, rejected_framing, rejected_target,
      rejected_connections_per_client, rejected_proxy_header, rejected_proxy_header_timeout;
  Counter trailers_dropped;
  Counter proxy_headers_v1, proxy_headers_v2, proxy_headers_local;
  Counter accept_error_descriptors, accept_error_memory, accept_error_aborted, accept_error_other;
  Counter accept_hook_errors;
  Counter records_published, records_erased, record_retries, records_awaited, records_awaited_late;
  std::array<Counter, static_cast<std::size_t>(CloseCause::count_)> closes;
  Counter resets_asked, resets_silent;

  std::array<Counter, static_cast<std::size_t>(ResumeRung::count)> heals;
  std::array<Counter, heal_reason::kAll.size()> heal_failures;
  Counter s_rule_refusals;

  Counter& rejected(Refusal kind);
  void register_metrics(MetricsRegistry& registry);
};

const char* to_string(CloseCause cause);

}  // namespace suture
