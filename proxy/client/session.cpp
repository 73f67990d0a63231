#include <proxy/client/session.hpp>

#include <algorithm>
#include <atomic>
#include <cerrno>

#include <sys/epoll.h>
#include <proxy/client/http_position.hpp>
#include <suture/limits.hpp>
#include <suture/log.hpp>

namespace suture {
namespace {

// Coarse positions inside a body (DESIGN.md idea 1).
constexpr auto kPublishInterval = std::chrono::seconds(1);

// Grows over all workers: of two sessions with one flow key, the larger is the later (a client's port used again).
std::uint64_t next_session_id() {
  static std::atomic<std::uint64_t> last{0};
  return last.fetch_add(1, std::memory_order_relaxed) + 1;
}

}  // namespace

Session::Session(WorkerContext& worker, ListenerContext& listener, StreamSocket client, const ConnFacts& facts,
                 SessionMode mode)
    : worker_(worker), listener_(listener), client_(std::move(client)) {
  record_.facts = facts;
  record_.owner = worker.options.node;
  record_.incarnation = worker.options.incarnation;
  record_.session_id = next_session_id();
  record_.mode = mode;
  awaits_proxy_header_ = client_is_front();
}

Session::~Session() {
  dispose(std::move(upstream_));
}

void Session::on_events(std::uint32_t events) {
  if (over_) return;
  client_.note_events(events);
  if (events & EPOLLERR) client_failed_ = true;
  if (frozen_since_) return;
  if (dirty_) republish();
  if (resetting_) return await_client();
  if (lingering_) return linger();
  if (!awaits_proxy_header_ || take_proxy_header()) on_ready();
  // A reset that no read tells of: behind the client's FIN, or behind bytes that the application does not take.
  if (client_failed_ && !over_ && !ending()) close_now(CloseCause::client_reset);
}

void Session::on_upstream_events(UpstreamConnection& connection) {
  if (over_ || frozen_since_ || &connection != upstream_.get()) return;
  if (!connection.connected()) {
    const int error = UpstreamPool::finish_connect(connection);
    if (error == EINPROGRESS) return;
    if (error != 0) return connect_failed(error);
    return upstream_connected();
  }
  if (!ending()) on_ready();
}

// --- streams ---------------------------------------------------------------------------------------------------------

IoResult Session::read_client(std::span<char> buffer) {
  const auto got = client_.read(buffer);
  switch (got.status) {
    case IoResult::Status::ok:
      record_.in_known += got.bytes;
      worker_.metrics.bytes_in.add(got.bytes);
      if (!positions_follow_) publish_progress();
      break;
    case IoResult::Status::eof:
      record_.in_closed = true;
      break;
    case IoResult::Status::again:
      break;
    case IoResult::Status::error:
      close_now(CloseCause::client_reset);
      break;
  }
  return got;
}

bool Session::write_client(std::string_view first, std::string_view second) {
  const std::size_t size = first.size() + second.size();
  const bool due = record_.out_sent + size - published_out_ >= limits::record_step_bytes;
  // Before these bytes count: they are in no queue yet, and would seem acknowledged. A probe above what the client has
  // would reach its application (PROTOCOL.md).
  if (due) refresh_acked();
  record_.out_sent += size;
  if (due) republish();
  if (awaiting_) {
    to_client_.append(first);
    to_client_.append(second);
    if (heal_ && !heal_open_) report_heal();
    return true;
  }
  const auto sent = to_client_.send(client_, first, second);
  if (sent.status == IoResult::Status::error) {
    close_now(CloseCause::client_reset);
    return false;
  }
  worker_.metrics.bytes_out.add(sent.bytes);
  if (heal_ && !heal_open_) report_heal();
  return true;
}

bool Session::flush_client() {
  if (to_client_.empty() || awaiting_) return true;
  const auto sent = to_client_.flush(client_);
  if (sent.status == IoResult::Status::error) {
    close_now(CloseCause::client_reset);
    return false;
  }
  worker_.metrics.bytes_out.add(sent.bytes);
  return true;
}

void Session::relay() {
  unsigned turns = kTurns;
  const std::uint64_t in = record_.in_known, out = record_.out_sent;
  const std::size_t waiting = to_client_.size() + to_upstream_.size();
  const bool half_closed = record_.in_closed || upstream_eof_;
  if (!relay_to_upstream(turns) || !relay_to_client(turns)) return;
  const bool half_closes = (record_.in_closed || upstream_eof_) != half_closed;
  if (half_closes || record_.in_known != in || record_.out_sent != out ||
      to_client_.size() + to_upstream_.size() != waiting)
    relay_moved();
  if (record_.out_closed && record_.in_closed && upstream_fin_sent_) close_now(CloseCause::upstream_closed);
}

void Session::relay_moved() {
  Millis idle(worker_.options.timeouts.tcp_idle_ms);
  if (record_.in_closed || upstream_eof_) idle = std::min(idle, worker_.options.half_closed_idle);
  deadline_ = worker_.loop.now() + idle;
}

bool Session::relay_to_upstream(unsigned& turns) {
  for (;;) {
    const auto sent = to_upstream_.flush(upstream_->socket());
    if (sent.status == IoResult::Status::error) return upstream_failed(sent.error), false;
    if (!to_upstream_.empty()) return true;
    if (record_.in_closed) {
      if (!upstream_fin_sent_) upstream_->socket().shutdown_write();
      upstream_fin_sent_ = true;
      return true;
    }
    if (!client_.readable()) return true;
    if (turns == 0) return worker_.loop.resume(*this), true;
    --turns;
    const auto got = read_client(worker_.scratch);
    if (got.status == IoResult::Status::error) return false;
    if (got.status != IoResult::Status::ok) continue;
    if (!pass_to_upstream({worker_.scratch.data(), got.bytes})) return false;
  }
}

bool Session::pass_to_upstream(std::string_view data) {
  const auto passed = to_upstream_.send(upstream_->socket(), data);
  if (passed.status == IoResult::Status::error) return upstream_failed(passed.error), false;
  return true;
}

bool Session::relay_to_client(unsigned& turns) {
  for (;;) {
    if (!flush_client()) return false;
    if (!to_client_.empty()) return true;
    if (upstream_eof_) {
      if (!record_.out_closed) send_fin();
      return true;
    }
    if (!upstream_->socket().readable()) return true;
    if (turns == 0) return worker_.loop.resume(*this), true;
    --turns;
    const auto got = upstream_->socket().read(worker_.scratch);
    if (got.status == IoResult::Status::error) return upstream_failed(got.error), false;
    if (got.status == IoResult::Status::eof) upstream_eof_ = true;
    if (got.status == IoResult::Status::ok && !pass_to_client({worker_.scratch.data(), got.bytes})) return false;
  }
}

// In a relay of opaque bytes a reset means "this is not complete": it is passed through.
void Session::upstream_failed(int error) {
  worker_.upstream_metrics.of_errno(error).add();
  drop_upstream();
  reset_client(CloseCause::upstream_reset);
}

// --- record ----------------------------------------------------------------------------------------------------------

void Session::publish() {
  dirty_ = !worker_.sink.upsert(record_);
  if (dirty_) {
    worker_.metrics.record_retries.add();
    return;
  }
  worker_.metrics.records_published.add();
  published_at_ = worker_.loop.now();
  published_in_ = record_.in_known;
  published_out_ = record_.out_sent;
  published_acked_ = record_.out_acked;
}

void Session::wait_for_record() {
  if (dirty_) return;  // the queue is full: it would be a wait for others
  const std::uint64_t record = worker_.sink.hurry();
  if (record == 0 || worker_.sink.left(record)) return;
  worker_.metrics.records_awaited.add();
  if (awaiting_) {
    awaiting_->record = record;
    return;
  }
  awaiting_ = Awaiting{.record = record, .since = worker_.loop.now(), .slot = worker_.awaiting.size()};
  worker_.awaiting.push_back(this);
}

void Session::wait_no_more() {
  if (!awaiting_) return;
  auto& all = worker_.awaiting;
  all[awaiting_->slot] = all.back();
  all[awaiting_->slot]->awaiting_->slot = awaiting_->slot;
  all.pop_back();
  awaiting_.reset();
}

void Session::on_record_left() {
  if (worker_.sink.left(awaiting_->record)) await_no_longer();
}

void Session::await_no_longer() {
  wait_no_more();
  on_events(0);
}

void Session::republish() {
  complete_record();
  publish();
}

void Session::refresh_acked() {
  const std::uint64_t waiting = closing::unacknowledged(client_.fd()) + to_client_.size();
  if (waiting <= record_.out_sent) record_.out_acked = std::max(record_.out_acked, record_.out_sent - waiting);
  if (record_.http) HttpPosition(*record_.http).acknowledged(record_.out_acked);
}

void Session::publish_progress() {
  if (record_.in_known - published_in_ < limits::record_step_bytes) return;
  refresh_acked();
  republish();
}

void Session::sweep() {
  if (frozen_since_) return;
  const TimePoint now = worker_.loop.now();
  // Clients do not wait for a control thread that stands still.
  if (awaiting_ && now - awaiting_->since >= worker_.options.record_patience) {
    worker_.metrics.records_awaited_late.add();
    await_no_longer();
    if (over_) return;
  }
  const bool moved = record_.in_known != published_in_ || record_.out_sent != published_out_;
  // A session at rest gets its exact positions as soon as the client has acknowledged everything.
  if (record_.out_acked != record_.out_sent) refresh_acked();
  const bool exact = record_.out_acked == record_.out_sent && record_.out_acked != published_acked_;
  if (dirty_ || exact || ((moved || record_.out_acked != published_acked_) && now - published_at_ >= kPublishInterval))
    republish();
  if (resetting_) return;
  if (lingering_) return linger();
  if (now >= deadline_ && !awaiting_) {
    deadline_ = TimePoint::max();
    if (awaits_proxy_header_)
      return proxy_header_fails("timeout", worker_.metrics.rejected_proxy_header_timeout, CloseCause::request_timeout);
    return on_deadline();
  }
  on_sweep();
}

// --- taken over ------------------------------------------------------------------------------------------------------

void Session::adopt(const Adoption& adoption) {
  const std::uint64_t id = record_.session_id;
  record_ = adoption.record;
  record_.session_id = id;
  record_.owner = worker_.options.node;
  record_.incarnation = worker_.options.incarnation;
  record_.out_acked = record_.out_sent = adoption.resume.cursor;
  record_.out_closed = false;  // ours is still to come
  // The client's FIN takes a place in its stream, but is no byte.
  if (!record_.in_closed) record_.in_known = adoption.resume.received;
  // Read by the former owner; of one that it read in part the heal plan has said that it is lost.
  if (record_.proxied || record_.in_known != 0) awaits_proxy_header_ = false;
  heal_ = Heal{adoption.resume.rung, adoption.resume.reason};
  taken_over_ = TakenOver{adoption.from, worker_.loop.now(), adoption.resume.rung};
  if (heal_->rung != ResumeRung::reset) return resume(adoption.resume);
  publish();
  reset_client(CloseCause::reset_heal);
}

void Session::heal_becomes(ResumeRung rung, const char* reason) {
  if (!heal_) return;
  heal_ = Heal{rung, reason};
  taken_over_->rung = rung;
}

void Session::report_heal() {
  if (!heal_) return;
  const Heal heal = *heal_;
  heal_.reset();
  worker_.healed(record_.facts.key, heal.rung, heal.reason);
}

void Session::give_up_fence() {
  if (over_ || !record_.facts.hint) return;
  record_.facts.hint = false;
  republish();
}

void Session::freeze() {
  if (over_ || frozen_since_) return;
  // The last word: if nobody else turns out to own the session, this node claims it anew from here.
  refresh_acked();
  republish();
  frozen_since_ = worker_.loop.now();
}

void Session::thaw(std::optional<Epoch> claimed_again) {
  if (over_) return;
  if (claimed_again) {
    record_.epoch = *claimed_again;
    dirty_ = true;
  }
  if (!frozen_since_) return;
  const auto stood_still = worker_.loop.now() - *frozen_since_;
  frozen_since_.reset();
  if (deadline_ != TimePoint::max()) deadline_ += stood_still;
  linger_until_ += stood_still;
  if (resetting_) resetting_->since += stood_still;
  // Edges that came meanwhile were noted; only the one that says "connected" must be asked for again.
  if (upstream_ && !upstream_->connected()) on_upstream_events(*upstream_);
  on_events(0);
}

// --- upstream --------------------------------------------------------------------------------------------------------

void Session::choose_upstream(const config::Route& route) {
  turn_.begin(listener_.upstreams_of(route), worker_.loop.now());
}

void Session::connect_upstream() {
  for (;;) {
    deadline_in(worker_.options.timeouts.connect_ms);
    auto connection = pool().connect(*this);
    if (connection) {
      upstream_ = std::move(*connection);
      break;
    }
    const int error = connection.error().errno_value;
    if (!try_next_upstream(error)) return on_connect_failed(error);
  }
  if (upstream_->connected()) upstream_connected();
}

void Session::upstream_connected() {
  turn_.taken();
  greet_upstream();
}

void Session::connect_failed(int error) {
  drop_upstream();
  if (try_next_upstream(error)) return connect_upstream();
  on_connect_failed(error);
}

bool Session::try_next_upstream(int error) {
  // Ours is the want of descriptors, not the upstream's.
  if (error == EMFILE || error == ENFILE || !turn_.refused(worker_.loop.now())) return false;
  worker_.upstream_metrics.of_errno(error).add();
  worker_.upstream_metrics.failovers.add();
  return true;
}

void Session::drop_upstream() {
  dispose(std::move(upstream_));
}

}  // namespace suture
