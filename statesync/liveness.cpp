#include <statesync/liveness.hpp>

#include <algorithm>
#include <string>

namespace suture::statesync {

Liveness::Liveness(Options options, Events events) : options_(options), events_(std::move(events)) {}

void Liveness::set_peer(NodeId id, Incarnation incarnation, const LivenessKey& peer_key, TimePoint) {
  Peer& peer = peers_[id];
  if (peer.incarnation == incarnation && peer.peer_key == peer_key) return;
  if (peer.alive) down(id, peer);
  const std::uint16_t flags = peer.flags;
  peer = Peer{};
  peer.flags = flags;
  peer.incarnation = incarnation;
  peer.peer_key = peer_key;
  peer.pair_key =
      derive_key(options_.self, options_.incarnation, hello_key(options_.secret, id), id, incarnation, peer_key);
}

Liveness::Outcome Liveness::on_datagram(std::span<const std::uint8_t> bytes, TimePoint now) {
  const Outcome outcome = receive(bytes, now);
  outcomes_[static_cast<std::size_t>(outcome)].add();
  return outcome;
}

Liveness::Outcome Liveness::receive(std::span<const std::uint8_t> bytes, TimePoint now) {
  Datagram datagram;
  if (parse(bytes, datagram) != ParseError::none) return Outcome::malformed;
  if (datagram.receiver != options_.self || datagram.sender == options_.self) return Outcome::misdirected;
  const auto it = peers_.find(datagram.sender);
  if (it == peers_.end() || datagram.incarnation == 0 || it->second.incarnation != datagram.incarnation) {
    return Outcome::unknown_peer;
  }
  Peer& peer = it->second;
  if (!authentic(bytes, peer.pair_key)) return Outcome::forged;
  if (!fresh(peer, datagram.seq)) return Outcome::replayed;

  peer.heard_at = now;
  // Only an echo that moves on proves that the peer hears us now; what we never sent proves nothing.
  if (datagram.echo > peer.echoed_seq && datagram.echo <= peer.sent_seq) {
    peer.echoed_seq = datagram.echo;
    peer.echoed_at = now;
  }
  if (events_.on_heard) events_.on_heard(datagram, now);
  if (!peer.alive && two_way(peer, now)) {
    peer.alive = true;
    alive_.set(to_int(datagram.sender));
    ups_.add();
    if (events_.on_up) events_.on_up(datagram.sender, peer.incarnation);
  }
  if (datagram.type != DatagramType::beat && peer.alive && events_.on_answer) events_.on_answer(datagram);
  return Outcome::accepted;
}

// A sliding window (RFC 4303 section 3.4.3): each number once, late by at most kWindow.
bool Liveness::fresh(Peer& peer, std::uint64_t seq) {
  if (seq == 0) return false;
  if (seq > peer.heard_seq) {
    const std::uint64_t ahead = seq - peer.heard_seq;
    peer.seen = ahead >= kWindow ? std::bitset<kWindow>() : peer.seen << static_cast<std::size_t>(ahead);
    peer.seen.set(0);
    peer.heard_seq = seq;
    return true;
  }
  const std::uint64_t behind = peer.heard_seq - seq;
  if (behind >= kWindow || peer.seen.test(static_cast<std::size_t>(behind))) return false;
  peer.seen.set(static_cast<std::size_t>(behind));
  return true;
}

bool Liveness::two_way(const Peer& peer, TimePoint now) const {
  return peer.heard_at && peer.echoed_at && now - *peer.heard_at <= dead_interval() &&
         now - *peer.echoed_at <= dead_interval();
}

void Liveness::down(NodeId id, Peer& peer) {
  peer.alive = false;
  alive_.reset(to_int(id));
  // Back up only by what comes from now on.
  peer.echoed_at.reset();
  downs_.add();
  if (events_.on_down) events_.on_down(id, peer.incarnation);
}

std::optional<Millis> Liveness::stalled(TimePoint now) const {
  if (!last_tick_ || now - *last_tick_ <= options_.stall_limit + options_.interval) return std::nullopt;
  return std::chrono::duration_cast<Millis>(now - *last_tick_);
}

std::vector<Liveness::Outgoing> Liveness::tick(TimePoint now, std::uint64_t slot_now_ms) {
  // While we were stuck nothing of ours went out, so no echo could move on: those that have been heard meanwhile (the
  // caller has drained the socket) get one dead interval to echo what we send now.
  const bool was_stalled = stalled(now).has_value();
  last_tick_ = now;
  std::vector<Outgoing> out;
  for (auto& [id, peer] : peers_) {
    if (peer.incarnation == 0) continue;  // no key yet
    if (was_stalled && peer.alive && peer.heard_at && now - *peer.heard_at <= dead_interval()) peer.echoed_at = now;
    if (peer.alive && !two_way(peer, now)) down(id, peer);
    if (peer.sent_at && now - *peer.sent_at < options_.interval) continue;
    peer.sent_at = now;
    out.push_back(make(id, peer, Datagram{}, now, slot_now_ms));
  }
  return out;
}

TimePoint Liveness::next_tick(TimePoint now) const {
  TimePoint next = now + options_.interval;
  for (const auto& [id, peer] : peers_) {
    if (peer.sent_at) next = std::min(next, *peer.sent_at + options_.interval);
  }
  return std::max(next, now + Millis{1});
}

std::optional<Liveness::Outgoing> Liveness::answer(NodeId id, const suture_flow_key& key, Answer answer, TimePoint now,
                                                   std::uint64_t slot_now_ms) {
  const auto it = peers_.find(id);
  if (it == peers_.end() || !it->second.alive) return std::nullopt;
  Datagram datagram;
  datagram.type = static_cast<DatagramType>(answer);
  datagram.key = key;
  return make(id, it->second, datagram, now, slot_now_ms);
}

Liveness::Outgoing Liveness::make(NodeId id, Peer& peer, Datagram datagram, TimePoint now, std::uint64_t slot_now_ms) {
  datagram.sender = options_.self;
  datagram.receiver = id;
  datagram.incarnation = options_.incarnation;
  datagram.seq = ++peer.sent_seq;
  datagram.echo = peer.heard_seq;
  datagram.slot_ms = slot_now_ms;
  datagram.monotonic_ms = monotonic_ms(now);
  datagram.flags = peer.flags;
  datagram.delivered_ms = events_.delivered_ms ? events_.delivered_ms(id, now) : 0;
  datagram.hears = alive_;
  sent_.add();
  return {id, encode(datagram, peer.pair_key)};
}

void Liveness::set_flags(NodeId id, std::uint16_t flags) {
  peers_[id].flags = flags;
}

bool Liveness::alive(NodeId id) const {
  return alive_incarnation(id).has_value();
}

std::optional<Incarnation> Liveness::alive_incarnation(NodeId id) const {
  const auto it = peers_.find(id);
  if (it == peers_.end() || !it->second.alive) return std::nullopt;
  return it->second.incarnation;
}

std::uint64_t Liveness::sent_seq(NodeId id) const {
  const auto it = peers_.find(id);
  return it == peers_.end() ? 0 : it->second.sent_seq;
}

Incarnation Liveness::incarnation(NodeId id) const {
  const auto it = peers_.find(id);
  return it == peers_.end() ? 0 : it->second.incarnation;
}

std::optional<LivenessKey> Liveness::known_key(NodeId id, Incarnation incarnation) const {
  const auto it = peers_.find(id);
  if (it == peers_.end() || it->second.incarnation != incarnation) return std::nullopt;
  return it->second.peer_key;
}

void Liveness::register_metrics(MetricsRegistry& registry) {
  constexpr std::array<const char*, static_cast<std::size_t>(Outcome::count_)> kNames{
      "accepted", "malformed", "misdirected", "unknown_peer", "forged", "replayed"};
  for (std::size_t i = 0; i < kNames.size(); ++i) {
    registry.counter("suture_liveness_received_total", "Liveness datagrams received, by what became of them.",
                     std::string("result=\"") + kNames[i] + '"', outcomes_[i]);
  }
  registry.counter("suture_liveness_sent_total", "Liveness datagrams sent.", "", sent_);
  registry.counter("suture_liveness_transitions_total", "Peers that became alive or dead.", "to=\"up\"", ups_);
  registry.counter("suture_liveness_transitions_total", "Peers that became alive or dead.", "to=\"down\"", downs_);
}

}  // namespace suture::statesync
