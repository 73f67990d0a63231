// HttpSession taken over from another node: the rungs of the healing ladder that speak HTTP. Which one is safe was
// decided by healing/heal_plan; here it is carried out, and given up where the application does not play along.
#include <algorithm>

#include <proxy/client/http_session.hpp>
#include <proxy/client/priming.hpp>
#include <suture/limits.hpp>
#include <suture/log.hpp>

namespace suture {

void HttpSession::resume(const Resumption& to) {
  s_rule_until_ = to.client_sent;
  record_.http->pipelined = 0;
  switch (to.rung) {
    case ResumeRung::idle:
      return resume_idle(to);
    case ResumeRung::replay:
    case ResumeRung::range:
      return resume_exchange(to);
    case ResumeRung::reattach:
    case ResumeRung::close:
      return resume_websocket(to);
    default:
      record_.http->answered.clear();
      return try_again(CloseCause::refused_heal);
  }
}

void HttpSession::resume_idle(const Resumption& to) {
  HttpState& http = *record_.http;
  http.answered.clear();
  if (http.phase != HttpPhase::idle) position().exchange_over(to.cursor);
  // The client has the former owner's FIN as well: it takes a place in the stream, but is no byte.
  record_.out_closed = to.cursor > http.response_end;
  if (record_.out_closed) record_.out_sent = record_.out_acked = http.response_end;
  publish();
  report_heal();
  if (to.close_after) return finish(CloseCause::response_complete);
  deadline_in(worker_.options.timeouts.keep_alive_ms);
}

// Replay: the client has nothing of the response. Range: it has the head and (cursor - response_head_end) body bytes.
void HttpSession::resume_exchange(const Resumption& to) {
  HttpState& http = *record_.http;
  const bool range = to.rung == ResumeRung::range;
  if (to.exchange < http.answered.size()) {
    const Exchange chosen = http.answered[to.exchange];
    static_cast<Exchange&>(http) = chosen;
  }
  http.answered.clear();
  http.phase = range ? HttpPhase::response : HttpPhase::waiting;
  if (!range) {
    http.response_start = http.response_end = to.cursor;
    http.response_head_end = 0;
    http.status = 0;
  }
  publish();

  head_ = http.request_head;
  if (!head_ || parse_request_head(*head_, worker_.request)) {
    heal_becomes(range ? ResumeRung::reset : ResumeRung::refuse, heal_reason::no_head);
    return range ? reset_client(CloseCause::reset_heal) : try_again(CloseCause::refused_heal);
  }
  const auto& fields = worker_.request.fields;
  if (range && std::any_of(fields.begin(), fields.end(), [](const Field& f) { return equals_nocase(f.name, "range"); }))
    return range_fails(heal_reason::client_range);
  begin_exchange(worker_.request);
  if (to.close_after || !http.keep_alive) close_after_ = true;
  if (range) {
    range_from_ = to.cursor - http.response_head_end;
    const std::uint64_t end = std::min(to.sack_edge, http.response_head_end + http.response_length);
    prime_bytes_ = end > to.cursor ? end - to.cursor : 0;
    if (prime_bytes_ > limits::primed_bytes_max) return range_fails(heal_reason::sack_above);
  } else {
    repeat_ = true;
  }
  ask_application();
}

// worker_.request, which has no body.
void HttpSession::ask_application() {
  write_upstream_head();
  upstream_ = listener_.pool.take_idle(*this);
  if (!upstream_) {
    to_upstream_.append(worker_.head_out);
    return connect_upstream();
  }
  deadline_in(worker_.options.timeouts.response_ms);
  pass_on(worker_.head_out);
}

// The answer to Range with If-Range (RFC 9110 sections 13.1.5, 14.4 and 15.3.7) is the missing bytes of the very
// representation that the client has the beginning of, or of no use. `rest`: what came behind its head.
bool HttpSession::take_range(std::string_view rest) {
  const ResponseHead& response = worker_.response;
  const std::uint64_t from = *range_from_, total = record_.http->response_length;
  if (response.status != 206) return range_fails(heal_reason::range_refused), false;
  const std::string wanted =
      "bytes " + std::to_string(from) + '-' + std::to_string(total - 1) + '/' + std::to_string(total);
  unsigned ranges = 0, matching = 0, etags = 0;
  for (const Field& field : response.fields) {
    if (equals_nocase(field.name, "etag")) ++etags;
    if (!equals_nocase(field.name, "content-range")) continue;
    ++ranges;
    if (equals_nocase(field.value, wanted)) ++matching;
  }
  const bool same = etags == 1 && response.strong_etag == record_.http->etag;
  const bool exact =
      ranges == 1 && matching == 1 && response.framing == BodyFraming::length && response.length == total - from;
  if (!same || !exact) return range_fails(heal_reason::range_mismatch), false;
  response_begun_ = true;
  upstream_reusable_ = response.keep_alive && !upstream_broken_;
  response_body_ = BodyReader(BodyFraming::length, total - from);
  return rest.empty() || send_response_body(rest);
}

// The beginning of the rest, up to where the client holds bytes already: all of it at once, as sent.
bool HttpSession::prime(std::string_view data) {
  prime_.append(data);
  if (prime_.size() < prime_bytes_ && !response_body_.done()) return true;
  record_.out_sent += prime_.size();
  publish();
  if (!priming::put_sent(client_.fd(), prime_)) return range_fails(heal_reason::sack_above), false;
  worker_.metrics.bytes_out.add(prime_.size());
  prime_bytes_ = 0;
  std::string().swap(prime_);
  report_heal();
  return true;
}

// The client is in the middle of a body: nothing of our own making fits there.
void HttpSession::range_fails(const char* reason) {
  heal_becomes(ResumeRung::reset, reason);
  log::debug("range_failed", {{"flow", to_string(record_.facts.key)}, {"reason", reason}});
  reset_client(CloseCause::reset_heal);
}

}  // namespace suture
