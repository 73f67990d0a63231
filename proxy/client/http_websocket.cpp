// HttpSession upgraded to WebSocket: frames through the relay, keep-alive, and sessions that were taken over. Every
// record is published before the bytes that it describes are written.
#include <algorithm>

#include <proxy/client/head_rewriter.hpp>
#include <proxy/client/http_session.hpp>
#include <proxy/client/priming.hpp>
#include <suture/log.hpp>

namespace suture {

// --- handshake -------------------------------------------------------------------------------------------------------

// Every request for a WebSocket tells the application under which name an heir would ask for its session.
void HttpSession::add_websocket_facts(ForwardingFacts& facts) {
  if (websocket_ && websocket_->reattaching) {
    Reattaching& asked = *websocket_->reattaching;
    asked.resume = websocket_resume_request(websocket_->relay.state());
    facts.session = websocket_->relay.state().session;
    facts.resume = asked.resume;
    facts.websocket_key = asked.key;
  } else if (route_->websocket.resume && asks_for_websocket(worker_.request)) {
    if (websocket_session_.empty()) websocket_session_ = make_websocket_session();
    facts.session = websocket_session_;
  }
}

// Of worker_.response, a 101.
std::optional<WebSocketTerms> HttpSession::websocket_terms() {
  if (!head_ || parse_request_head(*head_, worker_.request) || !asks_for_websocket(worker_.request))
    return std::nullopt;
  auto terms = websocket_agreed(worker_.request, worker_.response);
  if (!terms) worker_.metrics.websocket_untracked.add();
  return terms;
}

// The 101 is in worker_.head_out and goes first.
bool HttpSession::begin_websocket(const WebSocketTerms& terms, std::string_view rest) {
  WebSocketState state;
  if (terms.resumable) state.session = websocket_session_;  // empty where the route does not want it
  state.subprotocol = terms.subprotocol;
  state.extensions = terms.extensions;
  if (state.session.empty()) record_.http->request_head.reset();
  const std::uint64_t first = record_.in_known - in_.size();
  websocket_ = std::make_unique<Upgraded>(WebSocketRelay(std::move(state), first, record_.out_sent, worker_.head_out));
  websocket_->relay.set_budget(worker_.journals);
  positions_follow_ = true;
  deadline_in(worker_.options.timeouts.tcp_idle_ms);
  head_.reset();
  publish_websocket();
  wait_for_record();
  if (!write_client(worker_.head_out)) return false;
  if (!rest.empty() && !pass_to_client(rest)) return false;
  std::string behind;
  behind.swap(in_);
  return behind.empty() || pass_to_upstream(behind);
}

// --- relay -----------------------------------------------------------------------------------------------------------

void HttpSession::publish_websocket() {
  websocket_->relay.describe(*record_.http);
  publish();
}

bool HttpSession::pass_to_upstream(std::string_view data) {
  if (!websocket_) return Session::pass_to_upstream(data);
  auto passed = websocket_->relay.from_client(data);
  if (passed.contradiction) return close_websocket(heal_reason::resume_mismatch), false;
  if (passed.broken) return websocket_broken(passed.broken, websocket_->relay.release_from_application(), passed.bytes);
  if (passed.changed)
    publish_websocket();
  else
    publish_progress();
  return passed.bytes.empty() || Session::pass_to_upstream(passed.bytes);
}

bool HttpSession::pass_to_client(std::string_view data) {
  if (!websocket_) return Session::pass_to_client(data);
  refresh_acked();
  websocket_->relay.acknowledged(record_.out_acked);
  auto passed = websocket_->relay.from_application(data);
  if (passed.contradiction) {
    publish_websocket();
    wait_for_record();
    if (passed.bytes.empty() || write_client(passed.bytes)) close_websocket(heal_reason::resume_mismatch);
    return false;
  }
  if (passed.broken) return websocket_broken(passed.broken, passed.bytes, websocket_->relay.release_from_client());
  if (passed.changed) {
    publish_websocket();
    wait_for_record();
  }
  return passed.bytes.empty() || write_client(passed.bytes);
}

// Opaque from here on: whether the other end minds is its own affair.
bool HttpSession::websocket_broken(const char* rule, const std::string& to_client, const std::string& to_upstream) {
  worker_.metrics.websocket_untracked.add();
  log::debug("websocket_untracked", {{"flow", to_string(record_.facts.key)}, {"reason", rule}});
  websocket_.reset();
  positions_follow_ = false;
  HttpState& http = *record_.http;
  http.websocket.reset();
  http.pending.reset();
  http.journal.reset();
  http.request_head.reset();
  publish();
  if (!to_client.empty() && !write_client(to_client)) return false;
  return to_upstream.empty() || Session::pass_to_upstream(to_upstream);
}

// Time is counted in sweeps: while a session is frozen there are none.
void HttpSession::on_sweep() {
  const Millis every(route_->websocket.ping_ms);
  if (!websocket_ || websocket_->reattaching || every == Millis{0}) return;
  KeepAlive& alive = websocket_->alive;
  const bool heard = record_.in_known != alive.in, moved = heard || record_.out_sent != alive.out;
  alive.in = record_.in_known;
  alive.out = record_.out_sent;
  if (heard) alive.asked = false;
  alive.quiet = moved ? Millis{0} : alive.quiet + kSweepInterval;
  if (alive.asked) {
    alive.unanswered += kSweepInterval;
    if (alive.unanswered >= 2 * every) reset_client(CloseCause::ping_timeout);
    return;
  }
  if (alive.quiet < every || !to_client_.empty() || record_.in_closed || upstream_eof_) return;
  refresh_acked();
  websocket_->relay.acknowledged(record_.out_acked);
  const auto ping = websocket_->relay.ping();
  if (!ping) return;
  worker_.metrics.websocket_pings.add();
  alive.asked = true;
  alive.unanswered = alive.quiet = Millis{0};
  alive.out += ping->size();
  publish_websocket();
  wait_for_record();
  write_client(*ping);
}

// --- taken over ------------------------------------------------------------------------------------------------------

void HttpSession::resume_websocket(const Resumption& to) {
  HttpState& http = *record_.http;
  http.answered.clear();
  response_begun_ = true;
  if (http.request_head)
    note_request_line(*http.request_head);
  else
    access_.reset();
  upgraded_ = positions_follow_ = true;
  prime_bytes_ = 0;  // write_rest() does that
  const bool ended = to.rung == ResumeRung::close && *to.reason == '\0';
  // The client has the former owner's FIN as well: it takes a place in the stream, but is no byte.
  if (ended && to.cursor > http.websocket->out_frame_end) {
    record_.out_sent = record_.out_acked = http.websocket->out_frame_end;
    record_.out_closed = true;
  }
  websocket_ = std::make_unique<Upgraded>(WebSocketRelay(http, record_.in_known, record_.out_sent));
  websocket_->relay.set_budget(worker_.journals);
  heal_open_ = to.rung == ResumeRung::reattach;
  publish_websocket();
  if (!write_rest(to)) return;
  if (ended) {
    report_heal();
    return finish(CloseCause::upstream_closed);
  }
  if (to.rung == ResumeRung::close) return close_websocket(to.reason);
  ask_to_reattach();
}

// The journal from the client's position on; of what it holds out of order all at once, as sent (priming.hpp).
bool HttpSession::write_rest(const Resumption& to) {
  std::string_view rest = websocket_->relay.rest();
  const std::uint64_t held =
      to.sack_edge > to.cursor ? std::min<std::uint64_t>(to.sack_edge - to.cursor, rest.size()) : 0;
  if (held > 0) {
    const std::string_view first = rest.substr(0, static_cast<std::size_t>(held));
    record_.out_sent += first.size();
    publish();
    if (!priming::put_sent(client_.fd(), first)) {
      heal_becomes(ResumeRung::reset, heal_reason::sack_above);
      reset_client(CloseCause::reset_heal);
      return false;
    }
    worker_.metrics.bytes_out.add(first.size());
    rest.remove_prefix(first.size());
  }
  return rest.empty() || write_client(rest);
}

// On a connection of its own: a kept one may be closing at this moment, and there is no second try.
void HttpSession::ask_to_reattach() {
  head_ = record_.http->request_head;
  if (!head_ || parse_request_head(*head_, worker_.request)) return close_websocket(heal_reason::no_head);
  note_request(worker_.request);
  route_ = &listener_.routes.find(worker_.request.authority, worker_.request.target);
  if (!route_->websocket.resume) return close_websocket(heal_reason::not_resumable);
  websocket_->reattaching.emplace().key = make_websocket_key();
  repeat_ = true;
  write_upstream_head();
  to_upstream_.append(worker_.head_out);
  choose_upstream(*route_);
  connect_upstream();
}

// Nothing of the client's is read before the application has answered.
void HttpSession::pump_reattaching() {
  if (!flush_client() || !upstream_ || !upstream_->connected()) return;
  StreamSocket& socket = upstream_->socket();
  if (!to_upstream_.empty()) {
    if (to_upstream_.flush(socket).status == IoResult::Status::error) return close_websocket(heal_reason::application);
    if (to_upstream_.empty()) deadline_in(response_ms());
  }
  while (websocket_ && websocket_->reattaching && socket.readable()) {
    const auto got = socket.read(worker_.scratch);
    if (got.status == IoResult::Status::again) return;
    if (got.status != IoResult::Status::ok) return close_websocket(heal_reason::application);
    upstream_in_.append(worker_.scratch.data(), got.bytes);
    if (!take_reattaching()) return;
  }
}

// False: decided.
bool HttpSession::take_reattaching() {
  for (;;) {
    const auto scanned = response_scanner_.scan(upstream_in_);
    const bool complete = scanned == HeadScanner::Status::complete;
    const std::size_t size = complete ? response_scanner_.head_bytes() : upstream_in_.size();
    if (scanned == HeadScanner::Status::malformed || size > listener_.listener.limits.response_head_bytes_max)
      return close_websocket(heal_reason::application), false;
    if (!complete) return true;
    response_scanner_.reset();
    const std::string head = upstream_in_.substr(0, size);
    upstream_in_.erase(0, size);
    if (parse_response_head(head, "GET", worker_.response)) return close_websocket(heal_reason::application), false;
    if (worker_.response.status >= 200 || worker_.response.status == 101) return reattached(), false;
  }
}

void HttpSession::reattached() {
  WebSocketRelay& relay_of = websocket_->relay;
  const char* why = "";
  const auto received = websocket_resumed(worker_.response, websocket_->reattaching->key, relay_of.state(), why);
  if (!received) return close_websocket(why);
  const auto first = relay_of.reattach(*received, s_rule_until_);
  if (!first) return close_websocket(heal_reason::resume_mismatch);
  websocket_->reattaching.reset();
  head_.reset();
  heal_open_ = false;
  publish_websocket();
  report_heal();
  deadline_in(worker_.options.timeouts.tcp_idle_ms);
  std::string behind;
  behind.swap(upstream_in_);
  if (!first->empty() && !Session::pass_to_upstream(*first)) return;
  if (!behind.empty() && !pass_to_client(behind)) return;
  relay();
}

// At a frame boundary; clients reconnect at once (RFC 6455 section 7.4.1's registry, 1012).
void HttpSession::close_websocket(const char* reason) {
  heal_becomes(ResumeRung::close, reason);
  heal_open_ = false;
  log::debug("websocket_closed", {{"flow", to_string(record_.facts.key)}, {"reason", reason}});
  websocket_->reattaching.reset();
  const auto frame = websocket_->relay.close(kWebSocketServiceRestart);
  if (!frame) return reset_client(CloseCause::reset_heal);
  to_upstream_.clear();
  publish_websocket();
  wait_for_record();
  if (frame->empty() || write_client(*frame)) finish(CloseCause::refused_heal);
}

}  // namespace suture
