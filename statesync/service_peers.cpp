#include <algorithm>
#include <array>

#include <suture/log.hpp>

#include <statesync/service_impl.hpp>

namespace suture::statesync {
namespace {

constexpr Millis kTick{50};  // redial, heartbeats, slot clock
constexpr Millis kForgetEvery{1000};

}  // namespace

// Peers
// ----------------------------------------------------------------------------------------------------------------

void StateSync::Impl::on_inbound(std::unique_ptr<InboundStream> stream) {
  const NodeId id = stream->identity();
  const auto it = peers_.find(id);
  if (it != peers_.end()) return it->second.receiver.adopt(std::move(stream), Clock::now());
  const bool own = id == core_.options.id;
  const auto reason = own ? Refusal::own_id : Refusal::unknown_node;
  const auto text = "node " + std::to_string(to_int(id)) +
                    (own ? " is this node's own id; two nodes must not share an id" : " is not among the peers here");
  core_.refused("statesync_peer_refused", to_int(id), stream->remote(), {reason, text});
  stream->refuse(reason, text);
}

void StateSync::Impl::on_datagram(std::span<const std::uint8_t> bytes, const boost::asio::ip::udp::endpoint& from) {
  const auto now = Clock::now();
  const auto outcome = core_.liveness.on_datagram(bytes, now);
  if (outcome == Liveness::Outcome::accepted) return;
  std::uint64_t suppressed = 0;
  if (!datagram_log_.allow(static_cast<std::uint8_t>(outcome), now, suppressed)) return;
  // While keys are not yet exchanged, and for late copies, refusals are everyday life.
  const bool expected = outcome == Liveness::Outcome::unknown_peer || outcome == Liveness::Outcome::replayed;
  constexpr std::array<const char*, 6> kNames{"accepted",     "malformed", "misdirected",
                                              "unknown_peer", "forged",    "replayed"};
  log::write(expected ? log::Level::debug : log::Level::warn, "liveness_datagram_refused",
             {{"from", from.address().to_string()},
              {"result", kNames[static_cast<std::size_t>(outcome)]},
              {"suppressed", suppressed}});
}

void StateSync::Impl::on_alive(NodeId id, Incarnation incarnation, bool alive) {
  const auto now = Clock::now();
  Peer& peer = peers_.at(id);
  log::write(alive ? log::Level::info : log::Level::warn, alive ? "peer_up" : "peer_down",
             {{"peer", to_int(id)}, {"name", peer.receiver.name()}, {"incarnation", incarnation}});
  if (alive) {
    peer.not_alive_since.reset();
    core_.membership.on_up(id);
    core_.directory.node_living(id, incarnation, now);
  } else {
    peer.not_alive_since = now;
    core_.membership.on_down(id, core_.liveness.sent_seq(id));
    core_.directory.node_not_living(id, now);
    core_.clock.on_peer_lost(id);
    let_leave();
  }
  refresh(peer);
}

void StateSync::Impl::beat() {
  const auto now = Clock::now();
  if (const auto stalled = core_.liveness.stalled(now)) {
    stalls_.add();
    for (const auto& [id, peer] : peers_) core_.membership.on_stall(id, core_.liveness.sent_seq(id));
    if (on_stall_) on_stall_(*stalled);
    socket_.drain();
  }
  for (const auto& out : core_.liveness.tick(Clock::now(), core_.slot_clock.now_ms())) {
    socket_.send({peers_.at(out.peer).options.underlay, core_.options.liveness_port}, out.bytes);
  }
  const auto next = std::chrono::ceil<Millis>(core_.liveness.next_tick(now) - now);
  arm(beat_timer_, next, &Impl::beat);
}

void StateSync::Impl::tick() {
  const auto now = Clock::now();
  core_.clock.tick(now);
  for (auto& [id, peer] : peers_) {
    peer.sender.tick(now);
    peer.receiver.tick(now);
    refresh(peer);
  }
  erase_ended(now);
  forget(now);
  check_synchronised(now);
  arm(tick_timer_, kTick, &Impl::tick);
}

void StateSync::Impl::forget(TimePoint now) {
  if (now - forgot_at_ < kForgetEvery) return;
  forgot_at_ = now;
  core_.peer_clocks.forget(now);
  const auto forgotten = core_.directory.forget_dead(now, core_.options.forget_after);
  if (forgotten > 0) log::info("records_forgotten", {{"sessions", forgotten}});
  for (auto& [id, peer] : peers_) {
    if (peer.not_alive_since && now - *peer.not_alive_since >= core_.options.forget_after &&
        !peer.receiver.streaming()) {
      peer.receiver.forget();
    }
  }
}

// One less: a change in the same millisecond may have come after.
std::uint64_t StateSync::Impl::delivered_ms(NodeId id, TimePoint now) const {
  const auto it = peers_.find(id);
  if (it == peers_.end()) return 0;
  const auto until = it->second.sender.replicator().delivered_until(core_.liveness.incarnation(id), now);
  return until ? monotonic_ms(*until) - 1 : 0;
}

std::optional<FormerClock> StateSync::Impl::former_clock(const SessionRecord& record, TimePoint now) const {
  if (core_.directory.is_own(record)) {
    return FormerClock{record.facts.ts_offset + static_cast<std::uint32_t>(monotonic_ms(now)), true, true};
  }
  return core_.peer_clocks.former_clock(record, now, core_.slot_clock.now_ms(now));
}

bool StateSync::Impl::send_answer(NodeId id, const suture_flow_key& key, Answer answer) {
  const auto it = peers_.find(id);
  if (it == peers_.end() || !started_) return false;
  const auto out = core_.liveness.answer(id, key, answer, Clock::now(), core_.slot_clock.now_ms());
  if (!out) return false;
  answers_sent_.add();
  socket_.send({it->second.options.underlay, core_.options.liveness_port}, out->bytes);
  return true;
}

void StateSync::Impl::set_draining(bool draining) {
  draining_ = draining;
  for (auto& [id, peer] : peers_) refresh(peer);
}

// State
// ----------------------------------------------------------------------------------------------------------------

PeerState StateSync::Impl::state_of(const Peer& peer, TimePoint now) const {
  const NodeId id = peer.options.id;
  PeerState state;
  state.id = id;
  state.name = peer.receiver.name();
  state.underlay = peer.options.underlay;
  state.incarnation = core_.liveness.incarnation(id);
  state.alive = core_.liveness.alive(id);
  state.synced = peer.receiver.synced();
  state.hint_ok = state.alive && core_.clock.hint_ok(id);
  state.draining = state.alive && peer.draining;
  state.sending = peer.sender.streaming();
  state.receiving = peer.receiver.streaming();
  state.clock_apart_ms = core_.clock.apart_ms(id).value_or(0);
  state.caught_up = core_.membership.caught_up(id);
  state.records = core_.directory.size_of(id);
  const Replicator& replicator = peer.sender.replicator();
  state.queue = replicator.queue();
  if (const auto oldest = replicator.oldest()) {
    state.lag_seconds = std::chrono::duration<double>(now - *oldest).count();
  }
  return state;
}

void StateSync::Impl::refresh(Peer& peer) {
  const NodeId id = peer.options.id;
  const bool alive = core_.liveness.alive(id);
  core_.liveness.set_flags(
      id, static_cast<std::uint16_t>((peer.receiver.synced() ? kFlagSynced : 0) | (draining_ ? kFlagDraining : 0) |
                                     (core_.clock.settled() ? kFlagClockSettled : 0)));
  const PeerState& known = peer.reported;
  const bool same = known.alive == alive && known.synced == peer.receiver.synced() &&
                    known.hint_ok == (alive && core_.clock.hint_ok(id)) && known.draining == (alive && peer.draining) &&
                    known.incarnation == core_.liveness.incarnation(id);
  if (same || reporting_ || !started_) return;
  reporting_ = true;
  boost::asio::post(io_, guarded([this] { report(); }));
}

void StateSync::Impl::report() {
  reporting_ = false;
  const auto now = Clock::now();
  check_synchronised(now);
  for (auto& [id, peer] : peers_) {
    PeerState state = state_of(peer, now);
    const PeerState& known = peer.reported;
    const bool same = known.alive == state.alive && known.synced == state.synced && known.hint_ok == state.hint_ok &&
                      known.draining == state.draining && known.incarnation == state.incarnation;
    if (same) continue;
    peer.reported = std::move(state);
    if (on_peer_change_) on_peer_change_(PeerState(peer.reported));
  }
}

std::vector<std::string> StateSync::Impl::waits_for(TimePoint now) const {
  std::vector<std::string> names;
  const bool waited = started_ && now - started_at_ >= core_.options.sync_wait;
  for (const auto& [id, peer] : peers_) {
    // Alive as well, because the slot clock comes with the datagrams.
    const bool alive = core_.liveness.alive(id);
    const bool done = (peer.receiver.synced_once() && alive) || (waited && !alive);
    if (!done) names.push_back(peer.receiver.name());
  }
  return names;
}

void StateSync::Impl::check_synchronised(TimePoint now) {
  if (synchronised_ || !started_ || !waits_for(now).empty()) return;
  synchronised_ = true;
  core_.clock.settle(now);
  std::string without;
  for (const auto& [id, peer] : peers_) {
    if (!peer.receiver.synced_once()) without += (without.empty() ? "" : ",") + peer.receiver.name();
  }
  log::info("statesync_synchronised", {{"sessions", core_.directory.size()},
                                       {"after_ms", std::chrono::duration_cast<Millis>(now - started_at_).count()},
                                       {"without", without.empty() ? "nobody" : without}});
  boost::asio::post(io_, guarded([this] {
                      for (auto& [id, peer] : peers_) refresh(peer);
                      if (on_synchronised_) on_synchronised_();
                    }));
}

bool StateSync::Impl::may_reset() const {
  const auto now = Clock::now();
  return std::ranges::all_of(peers_, [&](const auto& entry) {
    const auto& peer = entry.second;
    const bool forgotten = peer.not_alive_since && now - *peer.not_alive_since >= core_.options.forget_after;
    return started_ && (forgotten || peer.in_sync());
  });
}

bool StateSync::Impl::complete_but_for_dead(Millis dead_for) const {
  const auto now = Clock::now();
  return std::ranges::all_of(peers_, [&](const auto& entry) {
    const auto& [id, peer] = entry;
    const bool dead = peer.not_alive_since && now - *peer.not_alive_since >= dead_for;
    return started_ && (peer.in_sync() || (dead && !core_.membership.heard_by_any(id)));
  });
}

std::vector<PeerState> StateSync::Impl::states() const {
  std::vector<PeerState> states;
  for (const auto& [id, peer] : peers_) states.push_back(state_of(peer, Clock::now()));
  return states;
}

std::optional<PeerState> StateSync::Impl::state(NodeId id) const {
  const auto it = peers_.find(id);
  if (it == peers_.end()) return std::nullopt;
  return state_of(it->second, Clock::now());
}

}  // namespace suture::statesync
