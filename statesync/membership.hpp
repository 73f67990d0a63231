// Who counts (PROTOCOL.md, "Cut off"): majority, witnesses, and whether we know what was claimed while we did not hear
// a peer, or it did not hear us. Sans-I/O, control thread; fed by Liveness.
//
//            on_down, on_stall: note our last number
//   caught up ────────────────────> behind ── a datagram that echoes a later number and names us among the nodes that
//      ^                                      its sender hears: it takes nothing of ours any more ──> target
//      └────── delivered_ms >= target: what it took before is applied here ──────────────────────────────┘
//
// target = that datagram's clock + margin: a claim goes through the peer's worker queue and flush interval before its
// replicator knows of it. A node that has just started is behind with everybody.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include <statesync/liveness_wire.hpp>
#include <suture/clock.hpp>
#include <suture/metrics.hpp>

namespace suture::statesync {

class Membership {
 public:
  struct Options {
    NodeId self{};
    std::vector<NodeId> peers;       // configured, without ourselves
    bool two_node_available = true;  // two nodes: one that is alone counts as a majority
    Millis margin{100};
  };
  explicit Membership(Options options);

  // `sent_seq`: number of our last datagram to the peer.
  void on_up(NodeId peer);
  void on_down(NodeId peer, std::uint64_t sent_seq);
  void on_stall(NodeId peer, std::uint64_t sent_seq);  // our own loop was stuck: every peer may have taken our sessions
  void on_heard(const Datagram& datagram);             // authentic and fresh

  bool majority() const;
  bool heard_by_any(NodeId owner) const;
  bool caught_up(NodeId peer) const;  // and alive
  bool caught_up_all_alive() const;
  bool cut_off() const;  // no majority that is alive and caught up

  void register_metrics(MetricsRegistry& registry);

 private:
  struct Peer {
    bool alive = false;
    bool caught_up = false;
    Incarnation incarnation = 0;
    std::uint64_t heard_seq = 0;
    NodeSet hears;                           // as its newest datagram said
    std::uint64_t behind_seq = 0;            // ours, when we fell behind
    std::optional<std::uint64_t> target_ms;  // of its clock
  };
  template <class Counts>
  bool is_majority(Counts counts) const;
  void fall_behind(Peer& peer, std::uint64_t sent_seq);

  Options options_;
  std::map<NodeId, Peer> peers_;
  Counter fell_behind_, caught_up_;
};

}  // namespace suture::statesync
