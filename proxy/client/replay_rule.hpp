// Which recorded requests an heir may send to its application again. One rule, for the plan (healing/heal_plan) and for
// the session that carries it out.
#pragma once

#include <string_view>

#include <proxy/client/heal_reasons.hpp>
#include <statesync/record.hpp>

namespace suture {

// RFC 9110 section 9.2.2.
constexpr bool is_idempotent(std::string_view method) {
  return method == "GET" || method == "HEAD" || method == "PUT" || method == "DELETE" || method == "OPTIONS" ||
         method == "TRACE";
}

// nullptr: it may. Otherwise the reason why not. Bodies are in no record.
inline const char* replay_refusal(const Exchange& exchange) {
  if (!is_idempotent(exchange.method)) return heal_reason::not_idempotent;
  if (exchange.request_framing != BodyFraming::none) return heal_reason::request_body;
  if (!exchange.request_head || exchange.request_head->empty()) return heal_reason::no_head;
  return nullptr;
}

}  // namespace suture
