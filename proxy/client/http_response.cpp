// The response side of HttpSession.
#include <algorithm>

#include <proxy/client/head_rewriter.hpp>
#include <proxy/client/http_session.hpp>
#include <proxy/client/response_identity.hpp>
#include <suture/log.hpp>

namespace suture {

bool HttpSession::pump_response() {
  if (!exchange_ || !upstream_ || !upstream_->connected()) return !ended();
  const config::Timeouts& timeouts = worker_.options.timeouts;
  for (unsigned turns = kTurns;; --turns) {
    if (!flush_client()) return false;
    if (!to_client_.empty()) {
      // It is the client that makes us wait: it may be as slow as an idle one.
      if (!waits_for_record()) deadline_in(std::max(timeouts.keep_alive_ms, response_ms()));
      return true;
    }
    if (response_begun_ && response_body_.done()) return end_exchange();
    if (!upstream_->socket().readable()) return true;
    if (turns == 0) {
      worker_.loop.resume(*this);
      return true;
    }
    const auto got = upstream_->socket().read(worker_.scratch);
    switch (got.status) {
      case IoResult::Status::again:
        return true;
      case IoResult::Status::eof:
        if (!upstream_lost(0)) return false;
        break;
      case IoResult::Status::error:
        if (!upstream_lost(got.error)) return false;
        break;
      case IoResult::Status::ok:
        wait_for_response();
        if (!take_response({worker_.scratch.data(), got.bytes})) return false;
        break;
    }
    // Retried on a new connection, or upgraded.
    if (upgraded_ || !upstream_ || !upstream_->connected()) return !ended();
  }
}

bool HttpSession::take_response(std::string_view data) {
  if (response_begun_) return send_response_body({}, data);
  std::string kept;
  if (!upstream_in_.empty()) {
    kept.swap(upstream_in_);
    kept.append(data);
    data = kept;
  }
  // Any number of interim responses may come before the final one.
  while (!data.empty() && !response_begun_ && !upgraded_) {
    const auto scanned = response_scanner_.scan(data);
    const bool complete = scanned == HeadScanner::Status::complete;
    const std::size_t size = complete ? response_scanner_.head_bytes() : data.size();
    if (scanned == HeadScanner::Status::malformed)
      return bad_gateway("malformed response", worker_.upstream_metrics.error_malformed);
    if (size > listener_.listener.limits.response_head_bytes_max)
      return bad_gateway("response head too large", worker_.upstream_metrics.error_head_too_large);
    if (!complete) {
      upstream_in_.assign(data);
      return true;
    }
    response_scanner_.reset();
    const std::string_view head = data.substr(0, size);
    data.remove_prefix(size);
    if (const auto error = parse_response_head(head, record_.http->method, worker_.response)) {
      log::debug("upstream_response_refused", {{"reason", error->reason}});
      return bad_gateway(error->reason, worker_.upstream_metrics.error_malformed);
    }
    if (resumed_ && (worker_.response.status >= 200 || worker_.response.status == 101)) return take_rest(data);
    if (worker_.response.status == 101) return switch_protocols(data);
    if (worker_.response.status < 200) {
      if (!relay_interim(head)) return false;
      continue;
    }
    return send_response_head(data);
  }
  return true;
}

// 100, 102, 103: as they come, to clients that know them (RFC 9110 section 15.2).
bool HttpSession::relay_interim(std::string_view) {
  const bool first = !interim_seen_;
  interim_seen_ = true;
  if (old_client_ || resumed_) return true;
  worker_.head_out.clear();
  write_response_head(worker_.response, {}, worker_.options.node_name, worker_.head_out);
  position().interim(record_.out_sent, worker_.head_out.size(), first);
  writer_.head(record_.out_sent, worker_.head_out);
  store_response();
  publish();
  wait_for_record();
  return write_client(worker_.head_out);
}

bool HttpSession::send_response_head(std::string_view rest) {
  const ResponseHead& response = worker_.response;
  response_begun_ = true;
  upstream_reusable_ = response.keep_alive && !upstream_broken_;
  response_body_ = BodyReader(response.framing, response.length);
  BodyFraming framing = response.framing;
  if (old_client_ && framing == BodyFraming::chunked) framing = BodyFraming::until_close;
  // Whether the rest of the request will still be wanted nobody knows: such an exchange is the connection's last.
  if (framing == BodyFraming::until_close || !request_body_.done() || upstream_broken_) close_after_ = true;

  ResponsePlan plan;
  const std::string timing = timing_of_heal();
  plan.server_timing = timing;
  plan.close = close_after_;
  plan.say_keep_alive = old_client_ && !close_after_;
  // A response to HEAD keeps the coding that the one to GET would have.
  plan.chunked = framing == BodyFraming::chunked ||
                 (framing == BodyFraming::none && !old_client_ && record_.http->method == "HEAD" &&
                  std::any_of(response.fields.begin(), response.fields.end(),
                              [](const Field& f) { return f.kind == FieldKind::transfer_encoding; }));
  worker_.head_out.clear();
  write_response_head(response, plan, worker_.options.node_name, worker_.head_out);

  position().response_head(record_.out_sent, worker_.head_out.size(), response.status, framing, response.length,
                           response.strong_etag, !close_after_);
  position().response_coding(response.content_coding);
  if (response.content_range) position().response_range(*response.content_range);
  worker_.metrics.requests[std::min<std::size_t>(response.status / 100, 5)].add();
  writer_.head(record_.out_sent, worker_.head_out);
  begin_response_body(framing);
  return send_response_body(worker_.head_out, rest);
}

void HttpSession::begin_response_body(BodyFraming framing) {
  const ResponseHead& response = worker_.response;
  ResponseWriter::Body body;
  body.framing = framing;
  body.length = response.length;
  // One of known length is a page like others: what follows it is the next response.
  body.events = record_.http->method == "GET" && framing != BodyFraming::length && is_event_stream(response);
  // What Range will do needs no marks; what may not be asked for twice has no use for them.
  const bool by_range = range_refusal(*record_.http) == nullptr;
  if (by_range) body.verify_tail = route_->verify_tail;
  body.checkpoints = route_->checkpoints && !body.events && !replay_refusal(*record_.http) &&
                     (!by_range || (body.verify_tail == 0 && !accepts_ranges(response)));
  if (body.checkpoints || body.events) body.fields = identity_of(response);
  writer_.body(record_.http->response_head_end, body);
}

// What of `data` belongs to the body goes to the client, behind `head`.
bool HttpSession::send_response_body(std::string_view head, std::string_view data) {
  const std::uint64_t out = record_.out_sent + prime_.size() + head.size();
  const bool to_chunks = record_.http->response_framing == BodyFraming::chunked;
  std::string_view wire;
  std::size_t used = 0;
  if (!to_chunks && !resumed_ && response_body_.framing() != BodyFraming::chunked) {
    used = response_body_.feed(data);
    wire = data.substr(0, used);
    writer_.content(out, wire);
  } else {
    std::string& buffer = worker_.payload;
    buffer.assign(ResponseWriter::kRoom, ' ');
    used = response_body_.feed(data, &buffer);
    if (resumed_) {
      const auto content = match_rest(std::string_view(buffer).substr(ResponseWriter::kRoom), response_body_.done());
      if (!content) return false;
      buffer.replace(ResponseWriter::kRoom, std::string::npos, *content);
    }
    if (to_chunks) {
      wire = writer_.chunk(out, buffer, response_body_.done() ? &response_body_.trailers() : nullptr);
      if (response_body_.done() && writer_.short_of_framing()) return resume_fails(heal_reason::other_response), false;
      if (response_body_.done()) position().response_ends(out + wire.size());
    } else {
      wire = std::string_view(buffer).substr(ResponseWriter::kRoom);
      writer_.content(out, wire);
    }
  }
  if (used < data.size()) upstream_reusable_ = false;
  // Where nothing else tells the end of a response, the record does.
  if (writer_.due() || !head.empty() || (to_chunks && response_body_.done())) {
    store_response();
    publish();
    wait_for_record();
  }
  if (!head.empty() || !wire.empty())
    if (!(prime_bytes_ != 0 ? prime(wire, response_body_.done()) : write_client(head, wire))) return false;
  if (response_body_.status() != BodyReader::Status::malformed) return true;
  worker_.upstream_metrics.error_malformed.add();
  reset_client(CloseCause::upstream_closed);
  return false;
}

void HttpSession::store_response() {
  if (record_.out_acked != record_.out_sent) refresh_acked();
  writer_.store(*record_.http, record_.out_acked);
}

bool HttpSession::switch_protocols(std::string_view rest) {
  if (!upgrade_asked_ || !request_body_.done() || !to_upstream_.empty())
    return bad_gateway("an upgrade that was not asked for", worker_.upstream_metrics.error_malformed);
  response_begun_ = true;
  upgraded_ = true;
  worker_.head_out.clear();
  ResponsePlan plan;
  plan.switch_protocols = true;
  const auto terms = websocket_terms();
  if (terms) plan.websocket_extensions = terms->extensions_changed;
  const std::string timing = timing_of_heal();
  plan.server_timing = timing;
  write_response_head(worker_.response, plan, worker_.options.node_name, worker_.head_out);
  position().response_head(record_.out_sent, worker_.head_out.size(), 101, BodyFraming::until_close, 0, {}, false);
  position().upgraded();
  worker_.metrics.requests[1].add();
  worker_.metrics.upgrades.add();
  if (terms) return begin_websocket(*terms, rest);
  record_.http->request_head.reset();
  record_.http->pending.reset();
  positions_follow_ = false;
  publish();
  if (!write_client(worker_.head_out, rest)) return false;
  deadline_in(worker_.options.timeouts.tcp_idle_ms);
  // What the client sent behind its request belongs to the new protocol.
  if (!in_.empty()) pass_on(in_);
  std::string().swap(in_);
  head_.reset();
  return true;
}

bool HttpSession::end_exchange() {
  position().response_ends(record_.out_sent);
  const bool request_complete = request_body_.done() && to_upstream_.empty();
  if (!request_complete || close_after_)
    log_exchange(request_complete ? CloseCause::response_complete : CloseCause::early_response);
  else
    log_exchange({});
  exchange_healed_ = false;
  refresh_acked();
  position().exchange_over(record_.out_acked);
  if (!in_.empty() && !close_after_) next_request_waits();
  exchange_ = false;
  response_begun_ = false;
  range_from_.reset();
  head_.reset();
  if (upstream_reusable_ && request_complete && !upstream_broken_) {
    upstream_->set_user(nullptr);
    pool().give_back(std::move(upstream_), upstream_owner());
  } else {
    drop_upstream();
  }
  to_upstream_.clear();
  publish();
  // Our FIN is the end of such a body.
  if (record_.http->response_framing == BodyFraming::until_close) wait_for_record();
  if (!request_complete) {
    finish(CloseCause::early_response);
    return false;
  }
  if (close_after_) {
    finish(CloseCause::response_complete);
    return false;
  }
  request_body_ = {};
  deadline_in(worker_.options.timeouts.keep_alive_ms);
  return true;
}

// The application closed (error 0) or its connection failed.
bool HttpSession::upstream_lost(int error) {
  if (!response_begun_) {
    const bool repeatable = (record_.http->replayable || !any_passed_) && !body_passed_;
    if (upstream_->reused() && repeatable && !retried_ && upstream_in_.empty() && !interim_seen_) return retry();
    if (error == 0) return bad_gateway("the application closed the connection", worker_.upstream_metrics.error_closed);
    return bad_gateway("the connection to the application failed", worker_.upstream_metrics.of_errno(error));
  }
  if (error == 0 && response_body_.finish_at_eof() == BodyReader::Status::done) {
    upstream_reusable_ = false;
    // The client is told by framing what the application told by closing.
    return (record_.http->response_framing != BodyFraming::chunked && !resumed_) || send_response_body({}, {});
  }
  if (resumed_) return resume_fails(heal_reason::application), false;
  (error == 0 ? worker_.upstream_metrics.error_closed : worker_.upstream_metrics.of_errno(error)).add();
  // A short body shows where its length was announced; where the end of the connection is the end of the body, only a
  // reset tells.
  const bool shows = record_.http->response_framing != BodyFraming::until_close;
  if (shows)
    finish(error == 0 ? CloseCause::upstream_closed : CloseCause::upstream_reset);
  else
    reset_client(CloseCause::upstream_reset);
  return false;
}

// The kept connection was stale: once more on a fresh one. The head is made again from what the client sent.
bool HttpSession::retry() {
  drop_upstream();
  retried_ = true;
  upstream_broken_ = false;
  any_passed_ = false;
  worker_.upstream_metrics.retries.add();
  to_upstream_.clear();
  if (const auto error = parse_request_head(*head_, worker_.request)) {
    refuse_head(*error);
    return false;
  }
  write_upstream_head();
  to_upstream_.append(worker_.head_out);
  connect_upstream();
  if (ended()) return false;
  flush_upstream();
  return true;
}

bool HttpSession::bad_gateway(std::string_view reason, Counter& counter) {
  counter.add();
  refuse(502, reason, CloseCause::upstream_unavailable);
  return false;
}

}  // namespace suture
