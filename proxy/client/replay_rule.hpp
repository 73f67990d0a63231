// Which recorded requests an heir may send to its application again, and how. One rule, for the owner, who records what
// that takes, for the plan (healing/heal_plan) and for the session that carries it out.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include <proxy/client/heal_reasons.hpp>
#include <statesync/record.hpp>

namespace suture {

// RFC 9110 section 9.2.2.
constexpr bool is_idempotent(std::string_view method) {
  return method == "GET" || method == "HEAD" || method == "PUT" || method == "DELETE" || method == "OPTIONS" ||
         method == "TRACE";
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

// nullptr: it may. Otherwise the reason why not.
inline const char* replay_refusal(const Exchange& e) {
  if (!is_idempotent(e.method)) return heal_reason::not_idempotent;
  if (!e.request_head || e.request_head->empty()) return heal_reason::no_head;
  if (e.request_framing == BodyFraming::none) return nullptr;
  const auto end = request_end(e);
  const std::uint64_t recorded = e.request_body ? e.request_body->size() : 0;
  return end && e.request_head_end + recorded == *end ? nullptr : heal_reason::request_body;
}

// nullptr: the rest of the response's body can be asked for, and is identical.
inline const char* range_refusal(const Exchange& e) {
  if (e.method != "GET") return heal_reason::response_method;
  if (e.status != 200) return heal_reason::response_status;
  if (e.response_framing != BodyFraming::length) return heal_reason::response_framing;
  if (e.etag.empty()) return heal_reason::no_etag;
  return replay_refusal(e);
}

}  // namespace suture
