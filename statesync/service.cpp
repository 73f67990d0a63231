#include <algorithm>

#include <suture/log.hpp>

#include <statesync/service_impl.hpp>

namespace suture::statesync {
namespace {

constexpr std::size_t kDrainRecordsMax = 4096;  // per worker and turn of the control loop
// end_session(): session ids of its own, and how long the claim stands before it is erased. A record that comes and
// goes within one flush is never sent.
constexpr std::uint64_t kEndedSession = 0xffffULL << 48;
constexpr auto kEndedAfter = std::chrono::seconds(1);
// A busy node gathers even what is waited for, since each flush costs a write to each peer: so many times as long as
// the last one took lie between the end of one and the next.
constexpr int kFlushPause = 6;
// What waits for its record does not wait longer for a peer that is behind.
constexpr Millis kHeldBackMax{20};

}  // namespace

StateSync::Impl::Impl(Options options, std::unique_ptr<PeerTransport> transport, OwnerMap& map, SlotClock& slot_clock,
                      boost::asio::io_context& io)
    : core_(std::move(options), std::move(transport), map, slot_clock),
      io_(io),
      socket_(io, [this](std::span<const std::uint8_t> bytes, const auto& from) { on_datagram(bytes, from); }),
      flush_timer_(io),
      beat_timer_(io),
      tick_timer_(io) {
  for (const auto& peer : core_.options.peers) {
    peers_.try_emplace(peer.id, core_, peer);
  }
  core_.pumped = [this] { let_leave(); };
  core_.changed = [this](NodeId id) {
    listen();
    let_leave();
    if (const auto it = peers_.find(id); it != peers_.end()) refresh(it->second);
  };
  core_.heard_of = [this](NodeId id) {
    if (const auto it = peers_.find(id); it != peers_.end()) it->second.sender.hurry(Clock::now());
  };
  core_.id_refused = [this](NodeId by, const std::string& text) {
    log::error("node_id_refused", {{"by_peer", to_int(by)}, {"detail", text}});
    if (on_id_refused_) on_id_refused_(text);
  };
  core_.on_alive = [this](NodeId id, Incarnation incarnation, bool alive) { on_alive(id, incarnation, alive); };
  core_.on_heard = [this](const Datagram& datagram, TimePoint now) {
    core_.clock.on_sample(datagram.sender, datagram.slot_ms, (datagram.flags & kFlagClockSettled) != 0, now);
    core_.peer_clocks.on_heard(datagram, now);
    core_.membership.on_heard(datagram);
    Peer& peer = peers_.at(datagram.sender);
    peer.draining = (datagram.flags & kFlagDraining) != 0;
    refresh(peer);
  };
  core_.on_answer = [this](const Datagram& datagram) {
    if (on_answer_) on_answer_(datagram.sender, datagram.key, static_cast<Answer>(datagram.type));
  };
  core_.delivered_ms = [this](NodeId id, TimePoint now) { return delivered_ms(id, now); };
  core_.on_claimed = [this](const SessionRecord& theirs) {
    if (!on_claimed_) return;
    boost::asio::post(io_, guarded([this, theirs] { on_claimed_(theirs); }));
  };
  core_.on_own_restored = [this](const suture_flow_key& key) {
    for (auto& [id, peer] : peers_) peer.sender.replicator().mark_upsert(key, false, Clock::now());
  };
  core_.on_owner_changed = [this](const suture_flow_key& key, const SessionRecord* standing) {
    if (on_owner_changed_) on_owner_changed_(key, standing);
  };
  // Before that third nodes' records come that live and were not heard yet: dead_owners() names what is left of them.
  core_.on_orphan = [this](const SessionRecord& record, TimePoint updated) {
    if (on_orphan_ && synchronised_) on_orphan_(record, updated);
  };
  // Copied on the workers' threads: it must not touch running_ itself.
  const auto wake = [this, on_wake = guarded([this] { this->on_wake(); })] { boost::asio::post(io_, on_wake); };
  const auto hurry = [this, on_hurry = guarded([this] { this->on_hurry(); })] { boost::asio::post(io_, on_hurry); };
  for (unsigned i = 0; i < core_.options.workers; ++i) {
    queues_.push_back(std::make_unique<RecordQueue>(wake));
    queues_.back()->set_on_hurry(hurry);
  }
}

Result<void> StateSync::Impl::start() {
  const auto& options = core_.options;
  for (const auto& underlay : {options.underlay4, options.underlay6}) {
    if (!underlay) continue;
    if (auto opened = socket_.open(*underlay, options.liveness_port); !opened) {
      socket_.close();
      return opened;
    }
  }
  PeerTransport::Events events;
  events.on_inbound = [this](std::unique_ptr<InboundStream> stream) { on_inbound(std::move(stream)); };
  events.on_refused = [this](const std::string& remote, const LinkError& error) {
    core_.refused("statesync_connection_refused", 0, remote.empty() ? "unknown" : remote, error);
  };
  if (auto started = core_.transport->start(std::move(events)); !started) {
    socket_.close();
    return started;
  }
  started_ = true;
  const auto now = started_at_ = forgot_at_ = Clock::now();
  for (auto& [id, peer] : peers_) {
    peer.not_alive_since = now;
    peer.reported = state_of(peer, now);
    peer.sender.start(now);
  }
  log::info("statesync_started",
            {{"id", to_int(options.id)}, {"incarnation", options.incarnation}, {"peers", peers_.size()}});
  beat();
  tick();
  return {};
}

void StateSync::Impl::stop() {
  running_.reset();
  flush_timer_.cancel();
  beat_timer_.cancel();
  tick_timer_.cancel();
  for (auto& [id, peer] : peers_) {
    peer.sender.stop();
    peer.receiver.stop();
  }
  if (started_) core_.transport->stop();
  started_ = false;
  listen();
  socket_.close();
}

void StateSync::Impl::arm(boost::asio::steady_timer& timer, Clock::duration after, void (Impl::*handler)()) {
  timer.expires_after(after);
  timer.async_wait([this, weak = std::weak_ptr<bool>(running_), handler](const boost::system::error_code& cancelled) {
    if (!cancelled && weak.lock()) (this->*handler)();
  });
}

// Records of the workers

void StateSync::Impl::on_wake() {
  if (!flush_at_) flush_at(Clock::now() + core_.options.flush_interval);
}

// A worker holds bytes back until their record has left.
void StateSync::Impl::on_hurry() {
  const auto at = flushed_at_ + std::min<Clock::duration>(kFlushPause * flush_took_, core_.options.flush_interval);
  if (Clock::now() >= at) return flush();
  if (!flush_at_ || *flush_at_ > at) flush_at(at);
}

void StateSync::Impl::flush_at(TimePoint at) {
  flush_at_ = at;
  arm(flush_timer_, at - Clock::now(), &Impl::flush);
}

void StateSync::Impl::flush() {
  bool more = false;
  if (flush_at_) flush_timer_.cancel();
  const auto began = Clock::now();
  const auto take = [this](QueuedRecord&& change) { apply(std::move(change)); };
  for (auto& queue : queues_) more = queue->drain(kDrainRecordsMax, take) || more;
  flush_at_.reset();
  if (more) flush_at_ = began;
  if (more) boost::asio::post(io_, guarded([this] { flush(); }));
  pumping_ = true;
  for (auto& [id, peer] : peers_) peer.sender.pump();
  pumping_ = false;
  let_leave();
  flushed_at_ = Clock::now();
  flush_took_ = flushed_at_ - began;
}

void StateSync::Impl::listen() {
  const bool any =
      started_ && core_.options.records_first &&
      std::any_of(peers_.begin(), peers_.end(), [](const auto& entry) { return entry.second.sender.streaming(); });
  for (auto& queue : queues_) queue->set_listened(any);
}

// The records that were drained, once no peer holds them back.
void StateSync::Impl::let_leave() {
  if (pumping_) return;
  const auto now = Clock::now();
  bool held_back = false;
  for (auto& [id, peer] : peers_)
    held_back = (core_.liveness.alive(id) && peer.sender.holds_back(now, kHeldBackMax, left_late_)) || held_back;
  if (!held_back) {
    for (auto& queue : queues_) queue->leave();
  } else if (!flush_at_) {
    flush_at(now + kHeldBackMax);  // to look again
  }
}

bool StateSync::Impl::flushed() const {
  return ended_.empty() &&
         std::all_of(queues_.begin(), queues_.end(), [](const auto& queue) { return queue->waiting() == 0; }) &&
         std::all_of(peers_.begin(), peers_.end(), [this](const auto& entry) {
           return !core_.liveness.alive(entry.first) || entry.second.sender.replicator().delivered_all();
         });
}

void StateSync::Impl::apply(QueuedRecord&& change) {
  const auto now = Clock::now();
  SessionRecord& record = change.record;
  const auto key = record.facts.key;
  if (change.erased) {
    // A claim that comes and goes within one flush would never be sent, and the former owner's record stay at the
    // peers.
    const SessionRecord* own = core_.directory.find_own(key);
    if (own != nullptr && own->session_id == record.session_id && own->epoch != 0) {
      ended_.emplace_back(*own, now + kEndedAfter);
    } else {
      erase_own(key, record.session_id, now);
    }
    return;
  }
  record.owner = core_.options.id;
  record.incarnation = core_.options.incarnation;
  // The same client port again, before the end of the former session was told: the peers must not keep the former.
  const SessionRecord* former = core_.directory.find_own(key);
  if (former && former->session_id != record.session_id) {
    // Another worker's queue was drained first: its session is the later one.
    if (record.session_id < former->session_id && former->session_id < kEndedSession) return;
    for (auto& [id, peer] : peers_) peer.sender.replicator().mark_erase(key, now);
  }
  const Applied applied = core_.directory.upsert_own(record, now);
  if (applied == Applied::stored || applied == Applied::stored_new) {
    for (auto& [id, peer] : peers_) {
      peer.sender.replicator().mark_upsert(key, applied == Applied::stored_new, now);
    }
    return;
  }
  if (applied != Applied::full) return;
  own_full_.add();
  std::uint64_t suppressed = 0;
  if (full_log_.allow(0, now, suppressed)) {
    log::error(
        "directory_full",
        {{"records", core_.directory.size()}, {"suppressed", suppressed}, {"effect", "new sessions cannot be healed"}});
  }
}

void StateSync::Impl::end_session(const suture_flow_key& key) {
  const SessionRecord* theirs = core_.directory.find(key);
  if (theirs == nullptr || core_.directory.living(theirs->owner, theirs->incarnation)) return;
  SessionRecord ours = *theirs;
  ours.epoch = core_.directory.claim_epoch(key);
  if (ours.fenced) ours.fence += 2;
  ours.session_id = kEndedSession + ++ended_sessions_;  // no worker's number
  ours.http.reset();
  apply({.erased = false, .record = ours});
  ended_.emplace_back(ours, Clock::now() + kEndedAfter);
  on_wake();
}

void StateSync::Impl::forget_own(const suture_flow_key& key) {
  const SessionRecord* own = core_.directory.find_own(key);
  if (own == nullptr) return;
  erase_own(key, own->session_id, Clock::now());
  on_wake();
}

void StateSync::Impl::erase_own(const suture_flow_key& key, std::uint64_t session_id, TimePoint now) {
  if (!core_.directory.erase_own(key, session_id)) return;
  for (auto& [id, peer] : peers_) peer.sender.replicator().mark_erase(key, now);
}

void StateSync::Impl::erase_ended(TimePoint now) {
  if (ended_.empty() || ended_.front().second > now) return;
  for (; !ended_.empty() && ended_.front().second <= now; ended_.pop_front()) {
    erase_own(ended_.front().first.facts.key, ended_.front().first.session_id, now);
  }
  on_wake();
}

StateSync::StateSync(Options options, std::unique_ptr<PeerTransport> transport, OwnerMap& map, SlotClock& slot_clock,
                     boost::asio::io_context& io)
    : impl_(std::make_unique<Impl>(std::move(options), std::move(transport), map, slot_clock, io)) {}
StateSync::~StateSync() {
  impl_->stop();
}

void StateSync::set_on_peer_change(std::function<void(const PeerState&)> f) {
  impl_->on_peer_change_ = std::move(f);
}
void StateSync::set_on_answer(std::function<void(NodeId, const suture_flow_key&, Answer)> f) {
  impl_->on_answer_ = std::move(f);
}
void StateSync::set_on_id_refused(std::function<void(const std::string&)> f) {
  impl_->on_id_refused_ = std::move(f);
}
void StateSync::set_on_synchronised(std::function<void()> f) {
  impl_->on_synchronised_ = std::move(f);
}
void StateSync::set_on_stall(std::function<void(Millis)> f) {
  impl_->on_stall_ = std::move(f);
}
void StateSync::set_on_claimed(std::function<void(const SessionRecord&)> f) {
  impl_->on_claimed_ = std::move(f);
}
void StateSync::set_on_owner_changed(std::function<void(const suture_flow_key&, const SessionRecord*)> f) {
  impl_->on_owner_changed_ = std::move(f);
}
void StateSync::set_on_orphan(std::function<void(const SessionRecord&, TimePoint)> f) {
  impl_->on_orphan_ = std::move(f);
}
Result<void> StateSync::start() {
  return impl_->start();
}
void StateSync::stop() {
  impl_->stop();
}
void StateSync::end_session(const suture_flow_key& key) {
  impl_->end_session(key);
}
void StateSync::forget_own(const suture_flow_key& key) {
  impl_->forget_own(key);
}
bool StateSync::flushed() const {
  return impl_->flushed();
}
RecordSink& StateSync::sink(unsigned worker) {
  return *impl_->queues_.at(worker);
}
bool StateSync::send_answer(NodeId peer, const suture_flow_key& key, Answer answer) {
  return impl_->send_answer(peer, key, answer);
}
bool StateSync::synchronised() const {
  return impl_->synchronised_;
}
std::vector<std::string> StateSync::sync_waits_for() const {
  return impl_->synchronised_ ? std::vector<std::string>{} : impl_->waits_for(Clock::now());
}
bool StateSync::may_reset() const {
  return impl_->may_reset();
}
bool StateSync::complete_but_for_dead(Millis dead_for) const {
  return impl_->complete_but_for_dead(dead_for);
}
void StateSync::set_draining(bool draining) {
  impl_->set_draining(draining);
}
bool StateSync::majority() const {
  return impl_->core_.membership.majority();
}
bool StateSync::heard_by_any(NodeId owner) const {
  return impl_->core_.membership.heard_by_any(owner);
}
bool StateSync::caught_up(NodeId peer) const {
  return impl_->core_.membership.caught_up(peer);
}
bool StateSync::caught_up_all_alive() const {
  return !impl_->stalled() && impl_->core_.membership.caught_up_all_alive();
}
bool StateSync::cut_off() const {
  return impl_->stalled() || impl_->core_.membership.cut_off();
}
Epoch StateSync::claim_epoch(const suture_flow_key& key) const {
  return impl_->core_.directory.claim_epoch(key);
}
std::optional<FormerClock> StateSync::former_clock(const SessionRecord& record, TimePoint now) const {
  return impl_->former_clock(record, now);
}
std::vector<PeerState> StateSync::peers() const {
  return impl_->states();
}
std::optional<PeerState> StateSync::peer(NodeId id) const {
  return impl_->state(id);
}
const Directory& StateSync::directory() const {
  return impl_->core_.directory;
}
void StateSync::register_metrics(MetricsRegistry& registry) {
  impl_->register_metrics(registry);
}

}  // namespace suture::statesync
