// Which requests may reach an application twice, and which recorded ones an heir may send again, and how. One rule, for
// the owner (who records its decision, and what that takes), for the plan (healing/heal_plan) and for the session that
// carries it out.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include <proxy/client/heal_reasons.hpp>
#include <proxy/config/config.hpp>
#include <statesync/record.hpp>

namespace suture {

struct RequestHead;

// RFC 9110 section 9.2.1.
constexpr bool is_safe(std::string_view method) {
  return method == "GET" || method == "HEAD" || method == "OPTIONS" || method == "TRACE";
}
// RFC 9110 section 9.2.2.
constexpr bool is_idempotent(std::string_view method) {
  return is_safe(method) || method == "PUT" || method == "DELETE";
}

// First byte behind the request; nullopt: the record cannot say.
inline std::optional<std::uint64_t> request_end(const Exchange& e) {
  switch (e.request_framing) {
    case BodyFraming::none:
      return e.request_head_end;
    case BodyFraming::length:
      return e.request_head_end + e.request_length;
    case BodyFraming::chunked:  // as long as it was in the stream, once that is known
      if (e.request_length != 0) return e.request_head_end + e.request_length;
      return std::nullopt;
    case BodyFraming::until_close:
      break;
  }
  return std::nullopt;
}

// `keyed`: the request carries an idempotency key.
constexpr bool may_replay(config::Replay policy, std::string_view method, bool keyed) {
  switch (policy) {
    case config::Replay::safe:
      return is_safe(method);
    case config::Replay::idempotent:
      return is_idempotent(method);
    case config::Replay::keyed:
      return is_idempotent(method) || keyed;
    case config::Replay::always:
      return true;
    case config::Replay::never:
      break;
  }
  return false;
}
// With exactly one Idempotency-Key that is not empty (draft-ietf-httpapi-idempotency-key-header): of two, applications
// disagree which one counts.
bool may_replay(config::Replay policy, const RequestHead& request);

// Why `method` may not be sent again where a route forbids it.
constexpr const char* policy_refusal(std::string_view method) {
  return is_idempotent(method) ? heal_reason::replay_policy : heal_reason::not_idempotent;
}

// nullptr: the former owner's route allowed it, and it can be done. Otherwise the reason why not.
inline const char* replay_refusal(const Exchange& e) {
  if (!e.replayable) return policy_refusal(e.method);
  if (!e.request_head || e.request_head->empty()) return heal_reason::no_head;
  if (e.request_framing == BodyFraming::none) return nullptr;
  const auto end = request_end(e);
  const std::uint64_t recorded = e.request_body ? e.request_body->size() : 0;
  return end && e.request_head_end + recorded == *end ? nullptr : heal_reason::request_body;
}

// nullptr: the rest of the response's body can be asked for, and is identical.
inline const char* range_refusal(const Exchange& e) {
  if (e.method != "GET") return heal_reason::response_method;
  if (e.status != 200 && (e.status != 206 || e.range_total == 0)) return heal_reason::response_status;
  if (e.response_framing != BodyFraming::length) return heal_reason::response_framing;
  if (e.etag.empty()) return heal_reason::no_etag;
  return replay_refusal(e);
}

}  // namespace suture
