// Which requests may reach an application twice, and which recorded ones an heir may send again. One rule, for the
// owner (who records its decision), for the plan (healing/heal_plan) and for the session that carries it out.
#pragma once

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

// nullptr: the former owner's route allowed it, and it can be done. Otherwise the reason why not. Bodies are in no
// record.
inline const char* replay_refusal(const Exchange& exchange) {
  if (!exchange.replayable) return policy_refusal(exchange.method);
  if (exchange.request_framing != BodyFraming::none) return heal_reason::request_body;
  if (!exchange.request_head || exchange.request_head->empty()) return heal_reason::no_head;
  return nullptr;
}

}  // namespace suture
