#include <string>

#include <statesync/service_impl.hpp>

namespace suture::statesync {

void StateSync::Impl::register_metrics(MetricsRegistry& registry) {
  core_.directory.register_metrics(registry);
  core_.liveness.register_metrics(registry);
  socket_.register_metrics(registry);
  for (std::size_t i = 1; i < core_.refusals.size(); ++i) {
    registry.counter("suture_statesync_refused_total", "State sync connections, streams and messages refused.",
                     "reason=\"" + std::string(to_string(static_cast<Refusal>(i))) + '"', core_.refusals[i]);
  }
  registry.counter("suture_control_stalls_total", "Times the control loop was stuck beyond its limit.", "", stalls_);
  registry.counter("suture_directory_own_full_total", "Own sessions without a record because the directory is full.",
                   "", own_full_);
  registry.counter("suture_records_left_late_total",
                   "Times that bytes left before their record because a peer was too slow to take it.", "", left_late_);
  registry.counter("suture_liveness_answers_total", "Answers sent to peers' questions about flows.", "", answers_sent_);
  registry.counter("suture_slot_clock_apart_total", "Times a peer's slot clock was too far from ours.", "",
                   core_.clock.apart_total());
  registry.computed("suture_statesync_synchronised", "1 once every reachable peer's snapshot was applied.",
                    MetricsRegistry::Type::gauge, "", [this] { return synchronised_ ? 1.0 : 0.0; });
  for (auto& queue : queues_) {
    registry.counter("suture_statesync_worker_queue_full_total", "Records a worker had to keep back for a while.", "",
                     queue->full());
  }
  core_.membership.register_metrics(registry);
  registry.computed("suture_cut_off", "1 while no majority of the configured nodes is alive and caught up here.",
                    MetricsRegistry::Type::gauge, "",
                    [this] { return stalled() || core_.membership.cut_off() ? 1.0 : 0.0; });
  const auto gauge = MetricsRegistry::Type::gauge;
  for (auto& [id, entry] : peers_) {
    const auto* peer = &entry;
    const std::string label = "peer=\"" + std::to_string(to_int(id)) + '"';
    const auto computed = [&](const char* name, const char* help, double (*value)(const PeerState&)) {
      registry.computed(name, help, gauge, label, [this, peer, value] { return value(state_of(*peer, Clock::now())); });
    };
    computed("suture_peer_up", "1 while the peer is in two-way liveness.",
             [](const PeerState& s) { return s.alive ? 1.0 : 0.0; });
    computed("suture_peer_synced", "1 while the peer's records are complete here.",
             [](const PeerState& s) { return s.synced ? 1.0 : 0.0; });
    computed("suture_peer_hint_ok", "1 while the peer's slot clock agrees with ours.",
             [](const PeerState& s) { return s.hint_ok ? 1.0 : 0.0; });
    computed("suture_peer_caught_up", "1 while what the peer claimed when it was not heard is applied here.",
             [](const PeerState& s) { return s.caught_up ? 1.0 : 0.0; });
    computed("suture_peer_clock_apart_seconds", "The peer's slot clock minus ours.",
             [](const PeerState& s) { return static_cast<double>(s.clock_apart_ms) / 1000; });
    computed("suture_replication_queue_records", "Changes that wait to be sent to the peer.",
             [](const PeerState& s) { return static_cast<double>(s.queue); });
    computed("suture_replication_lag_seconds", "Age of the oldest change that the peer has not acknowledged.",
             [](const PeerState& s) { return s.lag_seconds; });
    registry.counter("suture_statesync_unreachable_total", "Dials that the peer did not answer.", label,
                     peer->sender.unreachable());
    const auto& sent = peer->sender.replicator().counters();
    registry.counter("suture_replication_batches_total", "Batches sent.", label, sent.batches);
    registry.counter("suture_replication_records_total", "Session states sent.", label, sent.records);
    registry.counter("suture_replication_erases_total", "Session ends sent.", label, sent.erases);
    registry.counter("suture_replication_bytes_total", "Estimated size of the batches sent.", label, sent.bytes);
    registry.counter("suture_replication_snapshots_total", "Snapshots begun for the peer.", label, sent.snapshots);
    registry.counter("suture_replication_resumes_total", "Streams resumed without a snapshot.", label, sent.resumes);
    registry.counter("suture_replication_never_sent_total", "Sessions that ended before they were sent.", label,
                     sent.never_sent);
    registry.counter("suture_replication_received_records_total", "Changes received from the peer.", label,
                     peer->receiver.counters().records);
  }
}

}  // namespace suture::statesync
