// What a record holds of the two streams themselves: an heir writes the one and reads the other as if they came from
// the socket.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include <proxy/client/chunk_layout.hpp>
#include <proxy/client/replay_rule.hpp>
#include <statesync/record.hpp>

namespace suture {

// Whether the base of `http` is an exchange under way, and not (a copy of) the last that is over.
inline bool under_way(const HttpState& http) {
  return http.phase == HttpPhase::body || http.phase == HttpPhase::waiting || http.phase == HttpPhase::response;
}

// Calls take(bytes) for what goes to the client at `out` and behind it, as far as journals and chunked bodies' tails
// say so without a gap. The end of it.
template <class Take>
std::uint64_t known_behind(const HttpState& http, std::uint64_t out, Take take) {
  const auto piece = [&](std::uint64_t start, std::string_view bytes) {
    if (out < start || out >= start + bytes.size()) return;
    take(bytes.substr(out - start));
    out = start + bytes.size();
  };
  const auto exchange = [&](const Exchange& e) {
    if (e.journal) piece(e.journal_start, *e.journal);
    if (e.body && !e.body->tail.empty()) piece(chunks_end(*e.body), e.body->tail);
  };
  for (const Exchange& e : http.answered) exchange(e);
  if (under_way(http) || http.phase == HttpPhase::upgraded) exchange(http);
  return out;
}

// All of `in` behind exchange number `place` (index into answered; its size: the base) up to L; of a request whose body
// is under way, behind what the record has of it. nullopt: the record lacks some of it.
inline std::optional<std::string> input_behind(const SessionRecord& record, std::size_t place) {
  const HttpState& http = *record.http;
  // Between two requests there may be an empty line, which nobody counts (RFC 9112 section 2.2).
  constexpr std::uint64_t kEmptyLine = 2;
  const auto recorded_end = [](const Exchange& e) {
    return e.request_head_end + (e.request_body ? e.request_body->size() : 0);
  };
  std::string in;
  std::uint64_t at = 0;
  const auto follows = [&](const Exchange& e) {
    if (!e.request_head || e.request_head->empty() || e.request_start < at || e.request_start > at + kEmptyLine ||
        e.request_start + e.request_head->size() != e.request_head_end)
      return false;
    in += *e.request_head;
    if (e.request_body) in += *e.request_body;
    at = recorded_end(e);
    return true;
  };
  const std::size_t answered = http.answered.size();
  for (std::size_t i = std::min(place, answered); i < answered; ++i) {
    const Exchange& e = http.answered[i];
    const auto end = request_end(e);
    if (!end || (i > place && (!follows(e) || at != *end))) return std::nullopt;
    at = *end;
  }
  // Not counted either while no request begins behind it. What is missing otherwise is somebody's bytes.
  std::uint64_t uncounted = 0;
  const std::uint64_t from = record.in_known - (http.pending ? http.pending->size() : 0);
  if (under_way(http)) {
    if (place < answered && !follows(http)) return std::nullopt;
    const auto end = request_end(http);
    if (http.phase == HttpPhase::body)
      at = recorded_end(http);
    else if (!end || (place < answered && at != *end))
      return std::nullopt;
    else
      at = *end;
  } else if (place + 1 >= answered) {
    at = http.phase == HttpPhase::head ? http.request_start : from;
  } else if (http.phase == HttpPhase::head) {
    if (http.request_start < at || http.request_start > at + kEmptyLine) return std::nullopt;
    at = http.request_start;
  } else {
    uncounted = kEmptyLine;
  }
  if (from < at || from > at + uncounted) return std::nullopt;
  if (http.pending) in += *http.pending;
  return in;
}

}  // namespace suture
