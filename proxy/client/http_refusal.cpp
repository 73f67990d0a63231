// HttpSession's own answers: requests that are refused, applications that do not answer, time that is over.
#include <cerrno>

#include <proxy/client/head_rewriter.hpp>
#include <proxy/client/http_session.hpp>
#include <suture/log.hpp>

namespace suture {

void HttpSession::refuse_head(const HeadError& error) {
  worker_.metrics.rejected(error.kind).add();
  log::debug("request_refused",
             {{"flow", to_string(record_.facts.key)}, {"status", error.status}, {"reason", error.reason}});
  refuse(error.status, error.reason, CloseCause::request_refused);
}

bool HttpSession::body_too_large(std::uint64_t bytes) {
  const std::uint64_t limit = listener_.listener.limits.request_body_bytes_max;
  if (limit == 0 || bytes <= limit) return false;
  worker_.metrics.rejected_body_too_large.add();
  refuse(413, "request body too large", CloseCause::request_refused);
  return true;
}

void HttpSession::refuse(unsigned status, std::string_view reason, CloseCause cause) {
  // Too late for an answer: the client must see that what it has is not complete.
  if (resumed_)
    return resume_fails(resumed_->rung == ResumeRung::range ? heal_reason::range_refused : heal_reason::application);
  if (response_begun_) return reset_client(cause);
  heal_becomes(ResumeRung::refuse, heal_reason::application);
  worker_.head_out.clear();
  write_error_response(status, reason, worker_.options.node_name, exchange_ ? record_.http->method : std::string_view(),
                       worker_.head_out, timing_of_heal());
  const std::size_t body = worker_.head_out.size() - (worker_.head_out.find("\r\n\r\n") + 4);
  send_own_response(status, body, cause);
}

// Of a session that was taken over: the client may ask again, on another connection.
void HttpSession::try_again(CloseCause cause) {
  worker_.head_out.clear();
  write_try_again(worker_.options.node_name, worker_.head_out, timing_of_heal());
  send_own_response(503, 0, cause);
}

// From worker_.head_out: a head, and a body of `body_bytes`.
void HttpSession::send_own_response(unsigned status, std::size_t body_bytes, CloseCause cause) {
  position().response_head(record_.out_sent, worker_.head_out.size() - body_bytes, status,
                           body_bytes == 0 ? BodyFraming::none : BodyFraming::length, body_bytes, {}, false);
  if (!exchange_) writer_.begin(route_->journal_bytes_max);
  writer_.head(record_.out_sent, worker_.head_out);
  writer_.store(*record_.http, record_.out_acked);
  position().exchange_over(record_.out_acked);
  log_access(status, body_bytes, cause);
  worker_.metrics.requests[status / 100].add();
  publish();
  wait_for_record();
  drop_upstream();
  if (write_client(worker_.head_out)) finish(cause);
}

void HttpSession::on_connect_failed(int error) {
  worker_.upstream_metrics.of_errno(error).add();
  if (websocket_) return close_websocket(heal_reason::application);
  if (error == ETIMEDOUT) return refuse(504, "the application does not answer", CloseCause::upstream_timeout);
  if (error == EMFILE || error == ENFILE) return refuse(503, "out of descriptors", CloseCause::upstream_unavailable);
  refuse(502, "the application is not reachable", CloseCause::upstream_unavailable);
}

void HttpSession::on_deadline() {
  if (websocket_ && websocket_->reattaching)
    return upstream_ && !upstream_->connected() ? connect_failed(ETIMEDOUT) : close_websocket(heal_reason::application);
  if (upgraded_) return close_now(CloseCause::idle_timeout);
  if (!exchange_) {
    if (!head_begun_) return finish(CloseCause::idle_timeout);
    worker_.metrics.rejected_head_timeout.add();
    return refuse(408, "request head incomplete", CloseCause::request_timeout);
  }
  if (upstream_ && !upstream_->connected()) return connect_failed(ETIMEDOUT);
  if (!to_client_.empty()) return reset_client(CloseCause::idle_timeout);
  if (!request_body_.done() && to_upstream_.empty() && !response_begun_) {
    worker_.metrics.rejected_body_timeout.add();
    return refuse(408, "request body incomplete", CloseCause::request_timeout);
  }
  worker_.upstream_metrics.error_timeout.add();
  refuse(504, "the application does not answer", CloseCause::upstream_timeout);
}

}  // namespace suture
