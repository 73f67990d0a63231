// HttpSession taken over from another node: the rungs of the healing ladder that speak HTTP. Which one is safe was
// decided by healing/heal_plan; here it is carried out, and given up where the application does not play along.
#include <algorithm>

#include <proxy/client/chunk_layout.hpp>
#include <proxy/client/event_rest.hpp>
#include <proxy/client/http_session.hpp>
#include <proxy/client/known_bytes.hpp>
#include <proxy/client/priming.hpp>
#include <proxy/client/response_identity.hpp>
#include <suture/limits.hpp>
#include <suture/log.hpp>

namespace suture {

namespace {

// Of the bytes before the cursor that a mark asks to be compared with: what the configuration allows at most. A peer
// that says more would have us keep them all.
constexpr std::uint64_t kVerifiedMax = (1 << 20) + ResponseWriter::kTailStep;

// The former owner's response, which nobody has, is not ours: of its journal only interim responses stay.
void keep_journal_before(HttpState& http, std::uint64_t at) {
  if (!http.journal || http.journal_start + http.journal->size() <= at) return;
  const std::string kept = http.journal->substr(0, at > http.journal_start ? at - http.journal_start : 0);
  http.journal = kept.empty() ? nullptr : std::make_shared<const std::string>(kept);
}

}  // namespace

void HttpSession::resume(const Resumption& to) {
  s_rule_until_ = to.client_sent;
  record_.http->pipelined = 0;
  exchange_healed_ = to.rung != ResumeRung::idle && to.rung != ResumeRung::journal;
  if (exchange_healed_) note_request_begins();
  if (to.sack_edge > to.cursor) {
    prime_bytes_ = to.sack_edge - to.cursor;
    if (prime_bytes_ > limits::primed_bytes_max) return resume_fails(heal_reason::sack_above);
  }
  std::string known;
  known_behind(*record_.http, to.cursor, [&](std::string_view bytes) { known.append(bytes); });
  known.resize(std::min<std::uint64_t>(known.size(), to.journal));
  switch (to.rung) {
    case ResumeRung::idle:
    case ResumeRung::journal:
      return resume_idle(to, known);
    case ResumeRung::replay:
    case ResumeRung::range:
    case ResumeRung::refetch:
    case ResumeRung::events:
      return resume_exchange(to, known);
    case ResumeRung::reattach:
    case ResumeRung::close:
      return resume_websocket(to);
    default:
      if (record_.http->request_head) note_request_line(*record_.http->request_head);
      // What we answer is not this request, or not only: the next heir must not take it for one to repeat.
      record_.http->replayable = false;
      record_.http->request_head.reset();
      record_.http->request_body.reset();
      record_.http->body.reset();
      std::erase_if(record_.http->answered, [&](const Exchange& e) { return e.response_end > to.cursor + to.journal; });
      refuse_behind(known);
  }
}

// 503, behind what the client is still to get of the responses before it.
void HttpSession::refuse_behind(std::string_view known) {
  // It holds bytes where ours would stand.
  if (prime_bytes_ > known.size()) return resume_fails(heal_reason::sack_above);
  if (write_known(known)) try_again(CloseCause::refused_heal);
}

// Of the former owner's own bytes. They are in the record already, and stay there until the client has them.
bool HttpSession::write_known(std::string_view bytes) {
  return bytes.empty() || (prime_bytes_ != 0 ? prime(bytes, false) : write_client(bytes));
}

void HttpSession::resume_idle(const Resumption& to, std::string_view known) {
  HttpState& http = *record_.http;
  in_ = input_behind(record_, http.answered.size()).value_or("");
  if (under_way(http)) position().exchange_over(to.cursor);
  http.phase = HttpPhase::idle;
  // The client has the former owner's FIN as well: it takes a place in the stream, but is no byte.
  record_.out_closed = to.cursor > http.response_end;
  if (record_.out_closed) record_.out_sent = record_.out_acked = http.response_end;
  note_pending(in_);
  if (!in_.empty()) next_request_waits();
  position().acknowledged(to.cursor);
  publish();
  if (!write_known(known)) return;
  report_heal();
  if (to.close_after) return finish(CloseCause::response_complete);
  deadline_in(worker_.options.timeouts.keep_alive_ms);
  if (!in_.empty()) on_ready();
}

// Replay: behind `known` the client has nothing of the response. Range, refetch, events: it has the head, and of the
// body what lies before.
void HttpSession::resume_exchange(const Resumption& to, std::string_view known) {
  HttpState& http = *record_.http;
  const bool begun = to.rung != ResumeRung::replay;
  const std::uint64_t at = to.cursor + to.journal;
  // What else the client has sent is gone through as if it came now. (A body under way goes on with this exchange.)
  const bool body_arrives = to.exchange == http.answered.size() && http.phase == HttpPhase::body;
  if (!to.close_after && !body_arrives) in_ = input_behind(record_, to.exchange).value_or("");
  if (to.exchange < http.answered.size()) {
    const Exchange chosen = http.answered[to.exchange];
    static_cast<Exchange&>(http) = chosen;
    http.answered.resize(to.exchange);
  }
  position().acknowledged(to.cursor);
  if (!begun) {
    http.phase = body_arrives ? HttpPhase::body : HttpPhase::waiting;
    http.response_start = http.response_end = at;
    http.response_head_end = 0;
    http.status = 0;
    http.body.reset();
    keep_journal_before(http, at);
  } else {
    http.phase = HttpPhase::response;
    if (http.response_framing != BodyFraming::length) http.response_end = 0;  // the new one's may be another
  }
  note_pending(in_);
  head_ = http.request_head;
  if (!head_ || parse_request_head(*head_, worker_.request)) {
    publish();
    heal_becomes(begun ? ResumeRung::reset : ResumeRung::refuse, heal_reason::no_head);
    return begun ? reset_client(CloseCause::reset_heal) : refuse_behind(known);
  }
  note_request_line(*head_);
  note_request(worker_.request);
  route_ = &listener_.routes.find(worker_.request.authority, worker_.request.target);
  if (!may_replay(route_->replay, worker_.request)) {
    publish();
    return policy_fails(begun, known);
  }
  begin_exchange(worker_.request);
  if (to.close_after || (begun && !http.keep_alive)) close_after_ = true;
  std::size_t used = 0;
  const std::string body(http.request_body ? feed_body(*http.request_body, used) : std::string_view());
  if (begun ? !resume_response(to.rung, at) : !resume_request()) return;
  if (resumed_) resumed_->or_refetch = to.refetch;
  publish();
  if (!write_known(known)) return;
  ask_application(body);
}

// Interim responses that the client may not have yet stay in the journal.
bool HttpSession::resume_request() {
  repeat_ = true;
  if (const auto& interim = record_.http->journal) writer_.head(record_.http->journal_start, *interim);
  return true;
}

// How long the client waits at most while so much is fetched again: an endless stream need not ever come to the place.
Millis HttpSession::patience(std::uint64_t bytes) const {
  return worker_.options.refetch_patience +
         std::min<Millis>(Millis(bytes / limits::refetch_bytes_per_ms_min), limits::refetch_patience_max);
}

// Now, or again: as long as the client does not take what is known, it is not the application that we wait for.
void HttpSession::patience_begins() {
  if (resumed_->patience != Millis::max()) resumed_->until = worker_.loop.now() + resumed_->patience;
}

// False: over.
bool HttpSession::resume_response(ResumeRung rung, std::uint64_t at) {
  const HttpState& http = *record_.http;
  repeat_ = rung != ResumeRung::range;
  if (rung == ResumeRung::events) {
    writer_.resume_events(http, route_->journal_bytes_max);
    resumed_ = Resumed{rung, at, {}, Millis::max(), TimePoint::max(), http.body->partial_event, {}};
    // The client is to get the stream's very beginning: it has nothing, or a part of the BOM.
    std::optional<std::uint64_t> content = at - http.response_head_end;
    if (http.response_framing == BodyFraming::chunked) {
      const auto place = place_of(*http.body, at);
      content = place ? std::optional(place->content) : std::nullopt;
    }
    resumed_->begins = content && begins_stream(resumed_->partial, *content);
    return true;
  }
  if (rung == ResumeRung::range) {
    const std::uint64_t has = at - http.response_head_end;
    range_from_ = has;
    resumed_ = Resumed{rung, at, {}, Millis::max(), TimePoint::max(), {}, {}};
    if (route_->verify_tail == 0) {
      writer_.resume_journal(http, route_->journal_bytes_max, at);
      return true;
    }
    if (has == 0 && prime_bytes_ == 0) {
      writer_.resume_tail(http, route_->journal_bytes_max, at, route_->verify_tail, {});
      return true;
    }
    const BodyMark* mark =
        http.body ? mark_beyond(*http.body, std::max(at, record_.out_sent + prime_bytes_), has) : nullptr;
    const std::uint64_t wanted = has - std::min<std::uint64_t>(has, route_->verify_tail);
    if (!mark || mark->from > wanted || has - mark->from > kVerifiedMax ||
        mark->content - has > limits::primed_bytes_max)
      return resume_fails(heal_reason::no_checkpoint), false;
    resumed_->matcher.emplace(*mark, has, route_->verify_tail);
    resumed_->patience = patience(mark->content - resumed_->matcher->start());
    patience_begins();
    range_from_ = resumed_->matcher->start();
    return true;
  }
  return refetch(at);
}

// Everything again, compared by a mark at or beyond what the client has. False: over.
bool HttpSession::refetch(std::uint64_t at) {
  const HttpState& http = *record_.http;
  std::uint64_t content = at - http.response_head_end;
  if (http.response_framing == BodyFraming::chunked) {
    const auto place = place_of(*http.body, at);
    if (!place) return resume_fails(heal_reason::response_unknown), false;
    content = place->content;
  }
  const BodyMark nothing{at, 0, ContentDigest().value()};
  const BodyMark* mark = mark_beyond(*http.body, std::max(at, record_.out_sent + prime_bytes_), content);
  if (!mark && content == 0 && prime_bytes_ == 0) mark = &nothing;
  if (!mark || mark->content - content > limits::primed_bytes_max)
    return resume_fails(heal_reason::no_checkpoint), false;
  resumed_ = Resumed{
      ResumeRung::refetch, at, ContentMatcher(*mark, content), patience(mark->content), TimePoint::max(), {}, {}};
  patience_begins();
  // The record must promise no more of the former owner's response than is kept to, or the next heir, who may have
  // heard nothing later, would take our chunks for his.
  record_.http->body = std::make_shared<const BodyTrack>(track_until(*http.body, mark->wire));
  return true;
}

// The former owner's route allowed it, or there were no such rung; ours does not.
void HttpSession::policy_fails(bool begun, std::string_view known) {
  const char* reason = policy_refusal(worker_.request.method);
  if (begun) return resume_fails(reason);
  heal_becomes(ResumeRung::refuse, reason);
  refuse_behind(known);
}

// worker_.request, and as much of its body as is known.
void HttpSession::ask_application(std::string_view body) {
  write_upstream_head();
  choose_upstream(*route_);
  if (request_body_.done() && body.empty()) upstream_ = pool().take_idle(*this, upstream_owner());
  if (!upstream_) {
    to_upstream_.append(worker_.head_out);
    to_upstream_.append(body);
    return connect_upstream();
  }
  wait_for_response();
  pass_on(worker_.head_out);
}

// The final head of the answer to a request that was repeated for the rest of its response. `rest`: what came behind
// it.
bool HttpSession::take_rest(std::string_view rest) {
  if (resumed_->rung == ResumeRung::range) {
    // It does not know Range, or not of this representation.
    if (worker_.response.status != 200 || !resumed_->or_refetch) return take_range(rest);
    if (!refetch(resumed_->at)) return false;
    heal_becomes(ResumeRung::refetch, "");
  }
  const HttpState& http = *record_.http;
  const ResponseHead& response = worker_.response;
  const bool same = response.status == http.status && identity_of(response) == http.body->fields;
  const bool as_long = http.response_framing != BodyFraming::length ||
                       (response.framing == BodyFraming::length && response.length == http.response_length);
  const bool has_body = response.framing != BodyFraming::none;
  if (!same || !as_long || !has_body) return resume_fails(heal_reason::other_response), false;
  response_begun_ = true;
  upstream_reusable_ = response.keep_alive && !upstream_broken_;
  response_body_ = BodyReader(response.framing, response.length);
  if (response.framing == BodyFraming::until_close && http.response_framing != BodyFraming::chunked)
    close_after_ = true;
  return rest.empty() || send_response_body({}, rest);
}

// The content of a repeated response: what the client has is compared and taken away, and the rest goes on in the
// framing that it knows. nullopt: ended.
std::optional<std::string> HttpSession::match_rest(std::string_view content, bool last) {
  Resumed& resumed = *resumed_;
  if (resumed.rung == ResumeRung::events) {
    resumed.begun.append(content);
    const auto rest = rest_of_events(resumed.begun, resumed.partial, resumed.begins, last);
    if (!rest.follows) return resume_fails(heal_reason::other_response), std::nullopt;
    if (!rest.from) return std::string();
    std::string out = resumed.begun.substr(*rest.from);
    resumed_.reset();
    return out;
  }
  if (worker_.loop.now() > resumed.until) return resume_fails(heal_reason::application), std::nullopt;
  const auto status = resumed.matcher->feed(content);
  if (status == ContentMatcher::Status::mismatch || (status == ContentMatcher::Status::more && last))
    return resume_fails(heal_reason::other_response), std::nullopt;
  if (status == ContentMatcher::Status::more) return std::string();
  if (resumed.rung == ResumeRung::range)
    writer_.resume_tail(*record_.http, route_->journal_bytes_max, resumed.at, route_->verify_tail,
                        resumed.matcher->take_before());
  else
    writer_.resume_body(*record_.http, route_->journal_bytes_max, resumed.at, resumed.matcher->verified(),
                        resumed.matcher->digest());
  std::string out = resumed.matcher->take();
  resumed_.reset();
  return out;
}

// The answer to Range with If-Range (RFC 9110 sections 13.1.5, 14.4 and 15.3.7) is the missing bytes of the very
// representation that the client has the beginning of, or of no use. `rest`: what came behind its head.
bool HttpSession::take_range(std::string_view rest) {
  const ResponseHead& response = worker_.response;
  const HttpState& http = *record_.http;
  const std::uint64_t missing = http.response_length - *range_from_;
  if (response.status != 206) return resume_fails(heal_reason::range_refused), false;
  const std::uint64_t end = http.range_start + http.response_length;
  const std::string wanted = "bytes " + std::to_string(end - missing) + '-' + std::to_string(end - 1) + '/' +
                             std::to_string(http.range_total != 0 ? http.range_total : http.response_length);
  unsigned ranges = 0, matching = 0, etags = 0;
  for (const Field& field : response.fields) {
    if (equals_nocase(field.name, "etag")) ++etags;
    if (!equals_nocase(field.name, "content-range")) continue;
    ++ranges;
    if (equals_nocase(field.value, wanted)) ++matching;
  }
  // A 206 need not say it again (RFC 9110 section 15.3.7).
  const bool coded = response.content_coding.empty() || equals_nocase(response.content_coding, http.content_coding);
  const bool same = etags == 1 && response.strong_etag == http.etag && coded;
  const bool exact =
      ranges == 1 && matching == 1 && response.framing == BodyFraming::length && response.length == missing;
  if (!same || !exact) return resume_fails(heal_reason::range_mismatch), false;
  response_begun_ = true;
  upstream_reusable_ = response.keep_alive && !upstream_broken_;
  response_body_ = BodyReader(BodyFraming::length, missing);
  if (!resumed_->matcher) resumed_.reset();
  return rest.empty() || send_response_body({}, rest);
}

// The beginning of the rest, up to where the client holds bytes already: all of it at once, as sent.
bool HttpSession::prime(std::string_view data, bool last) {
  prime_.append(data);
  if (prime_.size() < prime_bytes_ && !last) return true;
  record_.out_sent += prime_.size();
  publish();
  if (!priming::put_sent(client_.fd(), prime_)) return resume_fails(heal_reason::sack_above), false;
  worker_.metrics.bytes_out.add(prime_.size());
  prime_bytes_ = 0;
  std::string().swap(prime_);
  report_heal();
  return true;
}

// Nothing of our own making fits where the client stands.
void HttpSession::resume_fails(const char* reason) {
  heal_becomes(ResumeRung::reset, reason);
  log::debug("resume_failed", {{"flow", to_string(record_.facts.key)}, {"reason", reason}});
  reset_client(CloseCause::reset_heal);
}

}  // namespace suture
