#include <proxy/client/tcp_session.hpp>

#include <cerrno>

#include <sys/epoll.h>

namespace suture {

void TcpSession::start() {
  publish();
  if (!awaits_proxy_header()) return on_proxy_header();
  deadline_in(worker_.options.timeouts.request_head_ms);
  on_events(EPOLLIN);
}

void TcpSession::on_proxy_header() {
  choose_upstream(listener_.listener.default_route());
  connect_upstream();
}

void TcpSession::on_upstream_connected() {
  deadline_in(worker_.options.timeouts.tcp_idle_ms);
  relay();
}

// Nothing is known of the bytes: only their owner could have gone on.
void TcpSession::resume(const Resumption&) {
  publish();
  heal_becomes(ResumeRung::reset, heal_reason::mode_tcp);
  reset_client(CloseCause::reset_heal);
}

// Until the application is there, what the client sends waits in the kernel.
void TcpSession::on_ready() {
  if (upstream_ && upstream_->connected()) relay();
}

// The only way to say "refused" in TCP.
void TcpSession::on_connect_failed(int error) {
  worker_.upstream_metrics.of_errno(error).add();
  reset_client(error == ETIMEDOUT ? CloseCause::upstream_timeout : CloseCause::upstream_unavailable);
}

void TcpSession::on_deadline() {
  if (!upstream_ || !upstream_->connected()) return connect_failed(ETIMEDOUT);
  close_now(CloseCause::idle_timeout);
}

}  // namespace suture
