#include <statesync/membership.hpp>

#include <algorithm>

namespace suture::statesync {

Membership::Membership(Options options) : options_(std::move(options)) {
  for (const NodeId id : options_.peers) peers_[id];
}

void Membership::fall_behind(Peer& peer, std::uint64_t sent_seq) {
  if (peer.caught_up) fell_behind_.add();
  peer.caught_up = false;
  peer.target_ms.reset();
  peer.behind_seq = sent_seq;
}

void Membership::on_up(NodeId id) {
  const auto it = peers_.find(id);
  if (it != peers_.end()) it->second.alive = true;
}

void Membership::on_down(NodeId id, std::uint64_t sent_seq) {
  const auto it = peers_.find(id);
  if (it == peers_.end()) return;
  it->second.alive = false;
  fall_behind(it->second, sent_seq);
}

void Membership::on_stall(NodeId id, std::uint64_t sent_seq) {
  const auto it = peers_.find(id);
  if (it != peers_.end()) fall_behind(it->second, sent_seq);
}

void Membership::on_heard(const Datagram& datagram) {
  const auto it = peers_.find(datagram.sender);
  if (it == peers_.end()) return;
  Peer& peer = it->second;
  if (peer.incarnation != datagram.incarnation) {
    // Both series of numbers start again, and its clock may be another.
    fall_behind(peer, 0);
    peer.incarnation = datagram.incarnation;
    peer.heard_seq = 0;
  }
  if (datagram.seq <= peer.heard_seq) return;  // overtaken on the way
  peer.heard_seq = datagram.seq;
  peer.hears = datagram.hears;
  if (peer.caught_up) return;
  if (!peer.target_ms && datagram.echo > peer.behind_seq && datagram.hears.test(to_int(options_.self))) {
    peer.target_ms = datagram.monotonic_ms + static_cast<std::uint64_t>(options_.margin.count());
  }
  if (!peer.target_ms || datagram.delivered_ms < *peer.target_ms) return;
  peer.caught_up = true;
  caught_up_.add();
}

template <class Counts>
bool Membership::is_majority(Counts counts) const {
  std::size_t ours = 1;
  for (const auto& [id, peer] : peers_) ours += counts(peer) ? 1 : 0;
  if (peers_.size() == 1 && options_.two_node_available) return true;
  return 2 * ours > peers_.size() + 1;
}

bool Membership::majority() const {
  return is_majority([](const Peer& peer) { return peer.alive; });
}

bool Membership::cut_off() const {
  return !is_majority([](const Peer& peer) { return peer.alive && peer.caught_up; });
}

bool Membership::heard_by_any(NodeId owner) const {
  return std::any_of(peers_.begin(), peers_.end(), [&](const auto& entry) {
    return entry.first != owner && entry.second.alive && entry.second.hears.test(to_int(owner));
  });
}

bool Membership::caught_up(NodeId id) const {
  const auto it = peers_.find(id);
  return it != peers_.end() && it->second.alive && it->second.caught_up;
}

bool Membership::caught_up_all_alive() const {
  return std::all_of(peers_.begin(), peers_.end(),
                     [](const auto& entry) { return !entry.second.alive || entry.second.caught_up; });
}

void Membership::register_metrics(MetricsRegistry& registry) {
  registry.computed("suture_majority", "1 while the living nodes are more than half of the configured ones.",
                    MetricsRegistry::Type::gauge, "", [this] { return majority() ? 1.0 : 0.0; });
  registry.counter("suture_peer_fell_behind_total",
                   "Times a peer died, was restarted or was not heard in a stall: its claims had to be learned.", "",
                   fell_behind_);
  registry.counter("suture_peer_caught_up_total", "Times such a peer's claims were all known again.", "", caught_up_);
}

}  // namespace suture::statesync
