// How sessions end: with a FIN, with an RST, or without a segment.
#include <algorithm>
#include <array>

#include <proxy/client/session.hpp>

namespace suture {
namespace {

// How long a closed session waits for the client's FIN; longer only while bytes wait for its acknowledgement.
constexpr auto kLingerShort = std::chrono::seconds(2);
constexpr auto kLingerLong = std::chrono::seconds(30);
constexpr std::uint64_t kLingerBytesMax = 4 << 20;

// Before a reset: when a silent client is asked, and how often we look whether it has spoken. From the last of these on
// the kernel's keep-alive asks, once a second.
constexpr std::array kAskAfter{Millis{0}, Millis{200}, Millis{600}};
constexpr Millis kLookMin{10}, kLookMax{50};
// One that does speak is asked again: we had no time to look, or no heartbeat. So often as long.
constexpr Millis kAskAgain{200};
constexpr int kSpeakingPatience = 10;

}  // namespace

// --- FIN -------------------------------------------------------------------------------------------------------------

void Session::send_fin() {
  closing::half_close(client_, worker_.marks);
  record_.out_closed = true;
  publish();
}

void Session::finish(CloseCause cause) {
  if (over_ || ending()) return;
  lingering_ = true;
  cause_ = cause;
  on_ending(cause);
  drop_upstream();
  linger_until_ = worker_.loop.now() + kLingerLong;
  linger();
}

void Session::linger() {
  if (!flush_client()) return;
  const TimePoint now = worker_.loop.now();
  if (to_client_.empty() && !record_.out_closed && !awaiting_) {
    send_fin();
    linger_until_ = now + kLingerShort;
  }
  if (!discard_input()) return;
  if (lingered_bytes_ > kLingerBytesMax && !awaiting_) return close_now(cause_);
  if (!record_.out_closed) {
    // The client does not take the rest of its response.
    if (now >= linger_until_) reset_client(cause_);
    return;
  }
  const std::uint64_t waiting = closing::unacknowledged(client_.fd());  // 1 is the FIN
  if (waiting > 1 && !closing::is_dead(client_.fd()) && now < linger_until_ + kLingerLong) return;
  if (record_.in_closed || now >= linger_until_) close_now(cause_);
}

bool Session::discard_input() {
  if (record_.http) record_.http->pending.reset();  // [in_known - size, in_known)
  while (!record_.in_closed && client_.readable() && lingered_bytes_ <= kLingerBytesMax) {
    const auto got = read_client(worker_.scratch);
    if (got.status == IoResult::Status::error) return false;
    lingered_bytes_ += got.bytes;
  }
  return true;
}

void Session::close_now(CloseCause cause) {
  if (over_) return;
  cause_ = cause;
  // The application learns of an abort as an abort.
  if (cause == CloseCause::client_reset && upstream_) upstream_->reset();
  worker_.loop.remove(client_.fd(), *this);
  erase_record();
  closing::close(client_, worker_.marks);
  end();
}

// --- RST -------------------------------------------------------------------------------------------------------------

// The egress program drops an RST to a client that was silent for longer than the lease: another node may serve it by
// now, and RST is the one segment that its fence does not stop (PROTOCOL.md, egress rule 3). So a silent client is made
// to speak first. What waits for it stays in to_client_, unsent: the record counts it.
// Nor does an RST leave while the heartbeat is stale, because a loop of ours stood still (rule 1); unlike data and FIN
// nothing sends it again. So it waits for the next beat.
void Session::reset_client(CloseCause cause) {
  if (over_ || resetting_) return;
  cause_ = cause;
  on_ending(cause);
  // A frozen socket sends nothing, whatever the client says.
  if (frozen_since_ || reset_is_let_out()) return reset_now();
  drop_upstream();
  to_upstream_.clear();
  resetting_ = Resetting{.since = worker_.loop.now(), .slot = worker_.resetting.size()};
  worker_.resetting.push_back(this);
  if (client_is_silent()) worker_.metrics.resets_asked.add();
  await_client();
}

void Session::await_client() {
  if (frozen_since_ || !discard_input()) return;
  const TimePoint now = worker_.loop.now();
  if (reset_is_let_out()) return reset_now();
  const Millis waited = std::chrono::duration_cast<Millis>(now - resetting_->since);
  const bool speaks = closing::silence(client_.fd()) < waited;
  if (waited >= worker_.options.reset_patience * (speaks ? kSpeakingPatience : 1)) {
    if (client_is_silent()) worker_.metrics.resets_silent.add();
    return reset_now();
  }
  std::size_t& asked = resetting_->asked;
  if (asked < kAskAfter.size() ? waited >= kAskAfter[asked] : speaks && now - resetting_->asked_at >= kAskAgain) {
    closing::ask_client(client_.fd());
    asked = std::min(asked + 1, kAskAfter.size());
    resetting_->asked_at = now;
  }
  resetting_->look_at = now + std::clamp(worker_.options.lease / 4, kLookMin, kLookMax);
}

void Session::await_client_if_due() {
  if (worker_.loop.now() >= resetting_->look_at) await_client();
}

bool Session::reset_is_let_out() const {
  return !client_is_silent() && (!worker_.options.beats || worker_.options.beats());
}

bool Session::client_is_silent() const {
  return worker_.options.lease > Millis{0} && closing::silence(client_.fd()) > worker_.options.lease / 2;
}

void Session::reset_now() {
  if (over_) return;
  worker_.loop.remove(client_.fd(), *this);
  erase_record();
  closing::reset(client_, worker_.marks);
  end();
}

// --- no segment ------------------------------------------------------------------------------------------------------

void Session::release(bool erase) {
  if (over_) return;
  cause_ = CloseCause::released;
  worker_.loop.remove(client_.fd(), *this);
  if (erase) erase_record();
  closing::close_silently(client_);
  end();
}

// --- all of them -----------------------------------------------------------------------------------------------------

void Session::stop(StopAction action, StopPatience patience) {
  if (over_) return;
  if (frozen_since_) return release(false);
  if (resetting_) {
    if (patience == StopPatience::none) reset_now();
    return;
  }
  if (action == StopAction::close) return close_now(CloseCause::stopped);
  cause_ = CloseCause::stopped;
  if (action == StopAction::reset) return patience == StopPatience::none ? reset_now() : reset_client(cause_);
  refresh_acked();
  republish();
  worker_.loop.remove(client_.fd(), *this);
  closing::close_silently(client_);
  end();
}

void Session::end() {
  if (over_) return;
  over_ = true;
  on_ending(cause_);
  if (heal_ && heal_->rung != ResumeRung::reset)
    heal_becomes(ResumeRung::reset, cause_ == CloseCause::stopped || cause_ == CloseCause::released
                                        ? heal_reason::stopped
                                        : heal_reason::client_gone);
  report_heal();
  worker_.metrics.closes[static_cast<std::size_t>(cause_)].add();
  if (resetting_) {
    auto& all = worker_.resetting;
    all[resetting_->slot] = all.back();
    all[resetting_->slot]->resetting_->slot = resetting_->slot;
    all.pop_back();
  }
  wait_no_more();
  drop_upstream();
  if (upstream_owner() != UpstreamPool::kAnybody)
    for (const auto& pool : listener_.pools) pool->drop_owned(upstream_owner());
  to_client_.clear();
  to_upstream_.clear();
  worker_.session_over(*this);
}

void Session::erase_record() {
  const auto key = record_.facts.key;
  if (!worker_.pending_erasures.empty() || !worker_.sink.erase(key, record_.session_id)) {
    worker_.metrics.record_retries.add();
    worker_.pending_erasures.emplace_back(key, record_.session_id);
    return;
  }
  worker_.metrics.records_erased.add();
}

}  // namespace suture
