#include "proxy/stray_io.hpp"

namespace suture {

healing::FlowKnowledge::Owner DirectoryKnowledge::owner_of(const suture_flow_key& key) const {
  const SessionRecord* record = sync_.directory().find(key);
  if (record == nullptr) return {};
  if (sync_.directory().is_own(*record)) return {healing::KnownOwner::own, record->owner};
  const bool living = sync_.directory().living(record->owner, record->incarnation);
  return {living ? healing::KnownOwner::living : healing::KnownOwner::dead, record->owner};
}

std::vector<NodeId> DirectoryKnowledge::living_peers() const {
  std::vector<NodeId> out;
  for (const auto& peer : sync_.peers()) {
    if (peer.alive) out.push_back(peer.id);
  }
  return out;
}

void TunnelOutlet::forward(NodeId peer, std::span<const std::uint8_t> packet) {
  if (!kernel_.send(peer, SUTURE_TUNNEL_FINAL, packet)) send_errors_.add();
}

void TunnelOutlet::ask(NodeId peer, std::span<const std::uint8_t> packet) {
  if (!kernel_.send(peer, SUTURE_TUNNEL_ASK, packet)) send_errors_.add();
}

void TunnelOutlet::deliver(std::span<const std::uint8_t> packet) {
  if (!kernel_.inject(packet)) send_errors_.add();
}

void TunnelOutlet::claim(const healing::Segment& stray, std::span<const std::uint8_t> packet, TimePoint now) {
  if (healer_.on_packet(stray, packet, now)) prober_.answered(stray.key, now);
}

void TunnelOutlet::reset(std::span<const std::uint8_t> packet) {
  if (raw_.send(packet)) {
    resets_.add();
  } else {
    send_errors_.add();
  }
}

void TunnelOutlet::register_metrics(MetricsRegistry& registry) {
  registry.counter("suture_rst_sent_total", "RSTs sent on purpose, by reason.", "reason=\"unknown_flow\"", resets_);
  registry.counter("suture_stray_send_errors_total", "Strays that could not be sent on from user space.", "",
                   send_errors_);
}

}  // namespace suture
