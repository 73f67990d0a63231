#include <proxy/client/client_metrics.hpp>

#include <string>

namespace suture {

const char* to_string(CloseCause cause) {
  switch (cause) {
    case CloseCause::client_closed:
      return "client_closed";
    case CloseCause::client_reset:
      return "client_reset";
    case CloseCause::idle_timeout:
      return "idle_timeout";
    case CloseCause::request_timeout:
      return "request_timeout";
    case CloseCause::request_refused:
      return "request_refused";
    case CloseCause::response_complete:
      return "response_complete";
    case CloseCause::upstream_closed:
      return "upstream_closed";
    case CloseCause::upstream_reset:
      return "upstream_reset";
    case CloseCause::upstream_unavailable:
      return "upstream_unavailable";
    case CloseCause::upstream_timeout:
      return "upstream_timeout";
    case CloseCause::early_response:
      return "early_response";
    case CloseCause::stopped:
      return "stopped";
    case CloseCause::refused_heal:
      return "refused_heal";
    case CloseCause::reset_heal:
      return "reset_heal";
    case CloseCause::released:
      return "released";
    case CloseCause::aborted:
      return "aborted";
    case CloseCause::ping_timeout:
      return "ping_timeout";
    case CloseCause::internal:
      return "internal";
    case CloseCause::count_:
      break;
  }
  return "unknown";
}

Counter& ClientMetrics::rejected(Refusal kind) {
  switch (kind) {
    case Refusal::malformed:
      break;
    case Refusal::framing:
      return rejected_framing;
    case Refusal::target:
      return rejected_target;
    case Refusal::unsupported:
      return rejected_unsupported;
    case Refusal::too_large:
      return rejected_head_too_large;
  }
  return rejected_malformed;
}

void ClientMetrics::register_metrics(MetricsRegistry& r) {
  const auto label = [](const char* key, const std::string& value) { return std::string(key) + "=\"" + value + '"'; };
  r.counter("suture_connections_total", "Client connections accepted.", label("mode", "tcp"), accepted_tcp);
  r.counter("suture_connections_total", "Client connections accepted.", label("mode", "http"), accepted_http);
  r.gauge("suture_connections_active", "Client connections open.", label("mode", "tcp"), active_tcp);
  r.gauge("suture_connections_active", "Client connections open.", label("mode", "http"), active_http);
  r.counter("suture_bytes_total", "Bytes of clients' streams.", label("direction", "in"), bytes_in);
  r.counter("suture_bytes_total", "Bytes of clients' streams.", label("direction", "out"), bytes_out);
  for (std::size_t i = 0; i < requests.size(); ++i)
    r.counter("suture_requests_total", "Requests by the class of the status that the client got.",
              label("code", i == 0 ? "none" : std::to_string(i) + "xx"), requests[i]);
  r.counter("suture_upgrades_total", "Connections that left HTTP by an upgrade.", "", upgrades);
  r.counter("suture_websocket_untracked_total",
            "WebSocket connections whose frames are not known (protocol broken, unknown extension): not to be healed.",
            "", websocket_untracked);
  r.counter("suture_websocket_pings_total", "Pings of the proxy's own to idle WebSocket clients.", "", websocket_pings);

  const auto rejected = [&](const char* reason, const Counter& c) {
    r.counter("suture_rejected_total", "What clients asked for and did not get from the proxy itself.",
              label("reason", reason), c);
  };
  rejected("connections_max", rejected_connections_max);
  rejected("connections_per_client", rejected_connections_per_client);
  rejected("malformed", rejected_malformed);
  rejected("framing", rejected_framing);
  rejected("target", rejected_target);
  rejected("head_too_large", rejected_head_too_large);
  rejected("body_too_large", rejected_body_too_large);
  rejected("head_timeout", rejected_head_timeout);
  rejected("body_timeout", rejected_body_timeout);
  rejected("unsupported", rejected_unsupported);
  r.counter("suture_trailers_dropped_total", "Trailer fields that may not stand there (RFC 9110 section 6.5.1).", "",
            trailers_dropped);
  rejected("proxy_header", rejected_proxy_header);
  rejected("proxy_header_timeout", rejected_proxy_header_timeout);

  const auto proxy_header = [&](const char* kind, const Counter& c) {
    r.counter("suture_proxy_headers_total", "PROXY protocol headers taken from front balancers.", label("kind", kind),
              c);
  };
  proxy_header("v1", proxy_headers_v1);
  proxy_header("v2", proxy_headers_v2);
  proxy_header("local", proxy_headers_local);

  const auto accept_error = [&](const char* reason, const Counter& c) {
    r.counter("suture_accept_errors_total", "Failed accepts.", label("reason", reason), c);
  };
  accept_error("descriptors", accept_error_descriptors);
  accept_error("memory", accept_error_memory);
  accept_error("aborted", accept_error_aborted);
  accept_error("other", accept_error_other);
  r.counter("suture_accept_hook_errors_total", "Connections whose kernel state could not be read at accept.", "",
            accept_hook_errors);

  r.counter("suture_records_published_total", "State records handed to the replicator.", "", records_published);
  r.counter("suture_records_erased_total", "State records withdrawn because the session ended.", "", records_erased);
  r.counter("suture_records_awaited_total", "Times that bytes waited until their record had left for the peers.", "",
            records_awaited);
  r.counter("suture_records_awaited_late_total", "... and then left before it, because it took too long.", "",
            records_awaited_late);
  r.counter("suture_record_retries_total", "Times the replicator's queue was full.", "", record_retries);
  for (std::size_t i = 0; i < closes.size(); ++i)
    r.counter("suture_closes_total", "Sessions ended, by cause.", label("cause", to_string(static_cast<CloseCause>(i))),
              closes[i]);
  r.counter("suture_resets_asked_total", "Sessions to be reset whose silent client was made to speak first.", "",
            resets_asked);
  r.counter("suture_resets_silent_total",
            "Of those, clients that did not: their reset is dropped by the egress program.", "", resets_silent);

  for (std::size_t i = 0; i < heals.size(); ++i)
    r.counter("suture_heals_total", "Sessions of other nodes taken over, by how they went on.",
              label("rung", std::string(to_label(static_cast<ResumeRung>(i)))), heals[i]);
  for (std::size_t i = 0; i < heal_failures.size(); ++i)
    r.counter("suture_heal_failures_total", "Sessions taken over that had to end, by what kept them from going on.",
              label("reason", std::string(heal_reason::kAll[i])), heal_failures[i]);
  r.counter("suture_replay_refusals_total",
            "Requests answered 503 because a former owner may have executed them already.", "", s_rule_refusals);
}

}  // namespace suture
