#include <proxy/client/http_session.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include <sys/epoll.h>
#include <proxy/client/chunk_layout.hpp>
#include <proxy/client/head_rewriter.hpp>
#include <suture/limits.hpp>
#include <suture/log.hpp>

namespace suture {
namespace {

// Bytes of later requests that wait behind the current one; more stays in the kernel.
constexpr std::size_t kPipelineBytesMax = 16 * 1024;
constexpr std::size_t kEnded = static_cast<std::size_t>(-1);

// Unique, not secret; an heir that repeats the request makes the same.
std::array<char, 32> request_id_of(const SessionRecord& record) {
  const ConnFacts& facts = record.facts;
  const std::array<std::uint64_t, 3> place{facts.iss, facts.irs, record.http->request_start};
  std::array<char, sizeof facts.key + sizeof place> named;
  std::memcpy(named.data(), &facts.key, sizeof facts.key);
  std::memcpy(named.data() + sizeof facts.key, place.data(), sizeof place);
  std::array<char, 32> id;
  std::size_t at = 0;
  for (const std::uint8_t byte : hash128({named.data(), named.size()})) {
    id[at++] = "0123456789abcdef"[byte >> 4];
    id[at++] = "0123456789abcdef"[byte & 15];
  }
  return id;
}

std::uint32_t count_heads(std::string_view waiting) {
  std::uint32_t n = 0;
  for (std::size_t at = 0; (at = waiting.find("\r\n\r\n", at)) != std::string_view::npos; at += 4) ++n;
  return n;
}

}  // namespace

HttpSession::HttpSession(WorkerContext& worker, ListenerContext& listener, StreamSocket client, const ConnFacts& facts)
    : Session(worker, listener, std::move(client), facts, SessionMode::http),
      writer_(worker.journals),
      route_(&listener.listener.default_route()) {
  record_.http.emplace();
  positions_follow_ = true;
}

void HttpSession::start() {
  publish();
  deadline_in(worker_.options.timeouts.request_head_ms);
  // Clients usually have sent their request by the time their connection is accepted.
  on_events(EPOLLIN);
}

void HttpSession::on_ready() {
  if (in_step_) return;
  if (upgraded_) return websocket_ && websocket_->reattaching ? pump_reattaching() : relay();
  in_step_ = true;
  for (;;) {
    const std::uint64_t exchanges = record_.http->exchanges;
    const bool client_pauses = !to_client_.empty();
    if (client_pauses && resumed_) patience_begins();
    if (!flush_client()) break;
    if (client_pauses && to_client_.empty() && exchange_ && upstream_ && upstream_->connected()) wait_for_upstream();
    if (!pump_request() || ended()) break;
    note_waiting();
    if (!pump_response() || ended()) break;
    if (upgraded_) {
      relay();
      break;
    }
    if (record_.http->exchanges == exchanges) break;
    if (in_.empty() && !client_.readable() && !record_.in_closed) break;
  }
  in_step_ = false;
}

bool HttpSession::pump_request() {
  for (unsigned turns = kTurns;; --turns) {
    flush_upstream();
    const bool blocked = exchange_ && (!to_upstream_.empty() || (upstream_ && !upstream_->connected()));
    const bool wanted = waits_for_request();
    if (wanted && !blocked && !in_.empty()) {
      const std::size_t before = in_.size();
      if (!consume_buffered()) return false;
      if (in_.size() != before) continue;
    }
    if (wanted && blocked) {
      pace_.held_up();
      return true;
    }
    if (record_.in_closed) return input_closed();
    if (!wanted && in_.size() >= kPipelineBytesMax) return true;
    if (!client_.readable()) return true;
    if (turns == 0) {
      worker_.loop.resume(*this);
      return true;
    }
    const std::size_t room = wanted ? worker_.scratch.size() : kPipelineBytesMax - in_.size();
    const auto got = read_client(std::span(worker_.scratch).first(std::min(room, worker_.scratch.size())));
    if (got.status == IoResult::Status::error) return false;
    if (got.status != IoResult::Status::ok) continue;
    const std::string_view data(worker_.scratch.data(), got.bytes);
    if (!wanted || !in_.empty()) {
      in_.append(data);
      if (!wanted) record_.http->pipelined = count_heads(in_);
      continue;
    }
    const std::size_t used = consume(data);
    if (used == kEnded) return false;
    in_.assign(data.substr(used));
  }
}

// Bytes of the next request are in in_.
void HttpSession::next_request_waits() {
  position().request_begins(record_.in_known - in_.size());
  record_.http->pipelined = count_heads(in_);
  note_pending(in_);
}

// What was read and is nobody's yet: no heir will get it from the client again.
void HttpSession::note_pending(std::string_view bytes) {
  const bool kept = !bytes.empty() && bytes.size() <= limits::recorded_bytes_max;
  record_.http->pending = kept ? std::make_shared<const std::string>(bytes) : nullptr;
}

// All of it stands in the record, whoever publishes that next; for its own sake the record leaves only when it has
// grown.
void HttpSession::note_waiting() {
  if (upgraded_) return;
  const std::string* noted = record_.http->pending.get();
  const bool as_before = noted ? *noted == in_ : in_.empty() || in_.size() > limits::recorded_bytes_max;
  if (!as_before) {
    note_pending(in_);
    if (in_.size() < pending_told_ || limits::worth_sending_again(pending_told_, in_.size())) {
      pending_told_ = in_.size();
      return publish();
    }
  }
  publish_progress();
}

void HttpSession::complete_record() {
  if (ending()) return;  // what is still read then is nobody's
  if (websocket_) {
    websocket_->relay.acknowledged(record_.out_acked);
    return websocket_->relay.describe(*record_.http);
  }
  if (!upgraded_) note_pending(in_);
}

// Only of requests that an heir may repeat: of others it will not be wanted.
void HttpSession::note_request_body(std::string_view bytes) {
  if (!record_body_) return;
  auto& body = record_.http->request_body;
  record_body_ = (body ? body->size() : 0) + bytes.size() <= limits::recorded_bytes_max;
  if (!record_body_) return body.reset();
  std::string longer = body ? *body : std::string();
  longer.append(bytes);
  body = worker_.journals.make(std::move(longer));
  if (!body) record_body_ = false;
}

bool HttpSession::consume_buffered() {
  const std::size_t used = consume(in_);
  if (used == kEnded) return false;
  if (used == in_.size())
    std::string().swap(in_);
  else
    in_.erase(0, used);
  return true;
}

// `data` is all that was read and not consumed. How much of it is consumed now; the rest is to be shown again.
std::size_t HttpSession::consume(std::string_view data) {
  if (!exchange_) return consume_head(data);
  std::size_t used = 0;
  return feed_request_body(data, used) ? used : kEnded;
}

std::size_t HttpSession::consume_head(std::string_view data) {
  std::size_t used = 0;
  // RFC 9112 section 2.2: an empty line before a request is ignored.
  if (!head_begun_ && data.substr(0, 2) == "\r\n") used = 2;
  const std::string_view rest = data.substr(used);
  if (rest.empty() && record_.http->phase == HttpPhase::head) position().request_begins(record_.in_known);
  if (rest.empty() || (!head_begun_ && used == 0 && rest == "\r")) return used;
  if (!head_begun_) {
    head_begun_ = true;
    note_request_begins();
    position().request_begins(record_.in_known - rest.size());
    deadline_in(worker_.options.timeouts.request_head_ms);
  }
  const auto scanned = request_scanner_.scan(rest);
  if (scanned != HeadScanner::Status::need_more || request_scanner_.line_seen()) note_request_line(rest);
  const config::Limits& limits = listener_.listener.limits;
  const std::size_t limit = limits.request_head_bytes_max;
  if (scanned == HeadScanner::Status::malformed) {
    refuse_head({400, "malformed head"});
    return kEnded;
  }
  const bool complete = scanned == HeadScanner::Status::complete;
  if (request_scanner_.start_line_bytes() > std::min<std::size_t>(limits.request_line_bytes_max, limit)) {
    refuse_head({414, "request line too long", Refusal::too_large});
    return kEnded;
  }
  if (complete ? request_scanner_.head_bytes() > limit : rest.size() > limit) {
    refuse_head({431, "request head too large", Refusal::too_large});
    return kEnded;
  }
  if (!complete) return used;
  const std::size_t head_bytes = request_scanner_.head_bytes();
  request_scanner_.reset();
  std::size_t body_bytes = 0;
  if (!start_exchange(rest.substr(0, head_bytes), rest.substr(head_bytes), body_bytes)) return kEnded;
  return used + head_bytes + body_bytes;
}

bool HttpSession::start_exchange(std::string_view head, std::string_view rest, std::size_t& body_bytes) {
  RequestHead& request = worker_.request;
  if (const auto error = parse_request_head(head, request)) {
    refuse_head(*error);
    return false;
  }
  note_request(request);
  if (request.fields.size() > listener_.listener.limits.request_fields_max) {
    refuse_head({431, "too many header fields", Refusal::too_large});
    return false;
  }
  head_ = std::make_shared<const std::string>(head);
  const std::uint64_t head_end = record_.in_known - rest.size();
  position().request_head(head_end, request, head_);
  route_ = &listener_.routes.find(request.authority, request.target);
  record_.http->replayable = may_replay(route_->replay, request);
  // PROTOCOL.md, the S rule: a former owner may have read this request, and the application may have acted on it.
  const bool may_have_run = head_end <= s_rule_until_;
  if (may_have_run && !record_.http->replayable) {
    worker_.metrics.s_rule_refusals.add();
    log::info("s_rule_refusal", {{"flow", to_string(record_.facts.key)}, {"method", request.method}});
    try_again(CloseCause::refused_heal);
    return false;
  }
  if (request.framing == BodyFraming::length && body_too_large(request.length)) return false;
  begin_exchange(request);
  repeat_ = may_have_run;
  // The request shows that the client has the response before it.
  if (!record_.http->answered.empty()) refresh_acked();
  std::string_view passed;
  if (!take_request_body(rest, body_bytes, passed)) return false;
  note_pending(rest.substr(body_bytes));
  body_recorded_ = record_.http->request_body ? record_.http->request_body->size() : 0;
  publish();

  write_upstream_head();
  // A kept connection may be closing at this very moment. What could not be sent a second time then (by the route's
  // replay policy; a body is not kept) goes on a fresh one.
  choose_upstream(*route_);
  if (record_.http->replayable && request.framing == BodyFraming::none)
    upstream_ = pool().take_idle(*this, upstream_owner());
  if (!upstream_) {
    to_upstream_.append(worker_.head_out);
    to_upstream_.append(passed);
    connect_upstream();
    return !ended();
  }
  wait_for_upstream();
  // Head and the body's beginning in one segment train. head_out is not touched before it is written.
  return pass_on(worker_.head_out, passed);
}

// `data`: what was read behind the request's head, or behind what of its body came before. `passed`: what the
// application gets for it, until the next call. False: refused.
bool HttpSession::take_request_body(std::string_view data, std::size_t& used, std::string_view& passed) {
  passed = feed_body(data, used);
  if (request_body_.status() == BodyReader::Status::malformed) {
    refuse_head({400, "malformed chunk", Refusal::framing});
    return false;
  }
  if (body_too_large(request_body_.content_bytes())) return false;
  if (used == 0) return true;
  // Once it has its answer, at what pace the two go on talking is the application's affair.
  if (!pace_.took(worker_.loop.now(), used) && !request_body_.done() && !response_begun_) {
    worker_.metrics.rejected_body_timeout.add();
    refuse(408, "request body too slow", CloseCause::request_timeout);
    return false;
  }
  body_passed_ = true;
  note_request_body(data.substr(0, used));
  if (request_body_.done()) {
    position().request_complete(record_.in_known - (data.size() - used));
    worker_.metrics.trailers_dropped.add(request_body_.trailers_dropped());
  }
  return true;
}

// The body's next bytes as the application gets them: as they are, or in our own chunks, without extensions and without
// trailers that may not stand there.
std::string_view HttpSession::feed_body(std::string_view data, std::size_t& used) {
  if (request_body_.framing() != BodyFraming::chunked) {
    used = request_body_.feed(data);
    return data.substr(0, used);
  }
  worker_.payload.clear();
  worker_.framed.clear();
  const bool was_done = request_body_.done();
  used = request_body_.feed(data, &worker_.payload);
  if (!worker_.payload.empty()) {
    worker_.framed = size_line(static_cast<std::uint32_t>(worker_.payload.size()));
    worker_.framed.append(worker_.payload).append("\r\n");
  }
  if (request_body_.done() && !was_done) worker_.framed.append("0\r\n").append(request_body_.trailers()).append("\r\n");
  return worker_.framed;
}

void HttpSession::begin_exchange(const RequestHead& request) {
  exchange_ = true;
  head_begun_ = false;
  old_client_ = request.minor == 0;
  upgrade_asked_ = request.upgrade;
  const std::uint32_t requests_max = listener_.listener.limits.requests_per_connection_max;
  close_after_ = !request.keep_alive || (requests_max != 0 && record_.http->exchanges + 1 >= requests_max);
  body_passed_ = any_passed_ = retried_ = upstream_broken_ = interim_seen_ = response_begun_ = false;
  repeat_ = false;
  websocket_session_.clear();
  range_from_.reset();
  resumed_.reset();
  request_body_ = BodyReader(request.framing, request.length);
  record_body_ = record_.http->replayable &&
                 (request.framing == BodyFraming::chunked ||
                  (request.framing == BodyFraming::length && request.length <= limits::recorded_bytes_max));
  writer_.begin(route_->journal_bytes_max);
  pace_.begin(Millis(request_body_ms()), listener_.listener.limits.request_body_rate_min);
  response_body_ = {};
  response_scanner_.reset();
}

// From worker_.request to worker_.head_out.
void HttpSession::write_upstream_head() {
  const auto client = original_client().address().to_string();
  std::string local_host;
  if (worker_.request.minor == 0) {
    const auto vip = vip_of(record_.facts.key);
    local_host = vip.address().is_v6() ? '[' + vip.address().to_string() + ']' : vip.address().to_string();
    if (vip.port() != 80) local_host += ':' + std::to_string(vip.port());
  }
  const auto id = request_id_of(record_);
  if (access_) {
    access_->request_id = worker_.request.request_id;
    if (access_->request_id.empty()) access_->request_id.assign(id.data(), id.size());
  }
  worker_.head_out.clear();
  ForwardingFacts facts{client, local_host, worker_.options.node_name, {id.data(), id.size()}};
  facts.replay = repeat_;
  std::string range;
  if (range_from_) {
    const HttpState& http = *record_.http;
    range = "bytes=" + std::to_string(http.range_start + *range_from_) + '-';
    // What the client itself asked for a part of ends where that part ends.
    if (http.range_total != 0) range += std::to_string(http.range_start + http.response_length - 1);
    facts.range = range;
    facts.if_range = record_.http->etag;
  }
  add_websocket_facts(facts);
  if (resumed_ && resumed_->rung == ResumeRung::events) facts.last_event_id = record_.http->body->last_event_id;
  write_request_head(worker_.request, facts, worker_.head_out);
}

bool HttpSession::feed_request_body(std::string_view data, std::size_t& used) {
  std::string_view passed;
  if (!take_request_body(data, used, passed)) return false;
  if (used == 0) return true;
  if (record_body_ && (request_body_.done() || record_.http->pending ||
                       limits::worth_sending_again(body_recorded_, record_.http->request_body->size()))) {
    body_recorded_ = record_.http->request_body->size();
    note_pending(data.substr(used));
    publish();
  }
  wait_for_upstream();
  return passed.empty() || pass_on(passed);
}

// To the application. What it does not take any more is dropped: its answer, or its absence, decides.
bool HttpSession::pass_on(std::string_view first, std::string_view second) {
  if (upstream_broken_ || !upstream_) return true;
  if (!upstream_->connected()) {
    to_upstream_.append(first);
    to_upstream_.append(second);
    return true;
  }
  note_passed(to_upstream_.send(upstream_->socket(), first, second));
  return true;
}

void HttpSession::flush_upstream() {
  if (to_upstream_.empty() || !upstream_ || !upstream_->connected()) return;
  if (note_passed(to_upstream_.flush(upstream_->socket()))) wait_for_upstream();
}

// True: the application took some.
bool HttpSession::note_passed(const IoResult& sent) {
  if (sent.status == IoResult::Status::error) {
    upstream_broken_ = true;
    to_upstream_.clear();
    upstream_->socket().note_events(EPOLLIN | EPOLLRDHUP);
    return false;
  }
  if (sent.bytes > 0) any_passed_ = true;
  return sent.bytes > 0;
}

// Whose turn it is: the application's, or the client's whose body is not complete.
void HttpSession::wait_for_upstream() {
  if (request_body_.done() || response_begun_) return wait_for_response();
  deadline_in(request_body_ms());
}

void HttpSession::wait_for_response() {
  deadline_in(response_ms());
  if (resumed_ && to_client_.empty()) deadline_not_after(resumed_->until);
}

// The client has half-closed: it still gets the response to what it has sent completely.
bool HttpSession::input_closed() {
  if (exchange_ && request_body_.done()) return true;
  if (exchange_ && response_begun_) return true;
  finish(CloseCause::client_closed);
  return false;
}

}  // namespace suture
