// Carries out stray_policy's verdicts for packets that the ingress program punted: asks the peers, holds, forwards,
// resets. On the control thread only. Time and the outside come in through the arguments and two narrow interfaces.
//
//   punted packet -> on_packet ─┬─ forward ─> Outlet::forward
//                               ├─ ask ─────> Outlet::ask (every living peer) ... on_mine ─> held packets forwarded
//                               ├─ hold                                       ... on_tick ─> nobody answered: reset or
//                               │                                                            drop
//                               └─ claim ───> Outlet::claim: its owner is dead (proxy/healing/healer)
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <span>
#include <vector>

#include <boost/unordered/unordered_flat_map.hpp>

#include <suture/clock.hpp>
#include <suture/ids.hpp>
#include <suture/metrics.hpp>

#include "proxy/healing/holding.hpp"
#include "proxy/healing/segment.hpp"
#include "proxy/healing/stray_policy.hpp"

namespace suture::healing {

// What the node knows; answered from the directory and the liveness table.
class FlowKnowledge {
 public:
  struct Owner {
    KnownOwner state = KnownOwner::none;
    NodeId node{};
  };
  virtual ~FlowKnowledge() = default;
  virtual Owner owner_of(const suture_flow_key& key) const = 0;
  virtual bool has_claim(const suture_flow_key& key) const = 0;  // here: the healer takes all its packets
  virtual std::vector<NodeId> living_peers() const = 0;
  virtual bool peers_complete() const = 0;  // UnansweredFacts::peers_complete
  virtual bool complete_but_for_dead(Millis dead_for) const = 0;
};

// How packets leave. Failures are counted by the implementation.
class StrayOutlet {
 public:
  virtual ~StrayOutlet() = default;
  virtual void forward(NodeId peer, std::span<const std::uint8_t> packet) = 0;  // final
  virtual void ask(NodeId peer, std::span<const std::uint8_t> packet) = 0;
  virtual void deliver(std::span<const std::uint8_t> packet) = 0;  // to our own kernel's socket
  virtual void claim(const Segment& stray, std::span<const std::uint8_t> packet, TimePoint now) = 0;
  virtual void reset(std::span<const std::uint8_t> packet) = 0;  // to the client, marked as intended
};

class StrayHandler {
 public:
  // end_grace: UnansweredFacts::owner_must_be_dead
  StrayHandler(const FlowKnowledge& knowledge, StrayOutlet& outlet, Millis end_grace)
      : knowledge_(knowledge), outlet_(outlet), end_grace_(end_grace) {}

  // `packet` from the IP header on.
  void on_packet(std::span<const std::uint8_t> packet, TimePoint now);
  // `peer` has put the attached packet into its own socket.
  void on_mine(NodeId peer, const suture_flow_key& key, TimePoint now);
  // `peer` has no socket for it: only when every peer that was asked has said so may the flow be reset. A lost or late
  // answer costs one more question at the client's next retransmission.
  void on_unknown(NodeId peer, const suture_flow_key& key);
  // `peer` dropped a packet of this flow: an earlier "mine" of it no longer holds.
  void on_not_mine(NodeId peer, const suture_flow_key& key);
  // Call at least every question_timeout / 4.
  void on_tick(TimePoint now);

  std::uint64_t verdicts(StrayVerdict verdict) const { return verdicts_[static_cast<std::size_t>(verdict)].value(); }
  void register_metrics(MetricsRegistry& registry);

  // RFC 6298's lower bound as Linux has it (TCP_RTO_MIN): one retransmission time.
  static constexpr Millis question_timeout{200};
  // How long a "mine" is believed without a record; the record arrives within a flush interval and the path.
  static constexpr Millis answer_lifetime{3000};
  // A client whose retransmissions stay away for longer (they double) is served elsewhere, or has given up.
  static constexpr Millis unproven_lifetime{10'000};
  // Questions remembered at once; beyond it strays of further flows are dropped (the client sends them again).
  static constexpr std::size_t questions_max = 4096;

 private:
  struct Asked {
    Segment stray;  // the first one; a reset answers it
    TimePoint until;
    Question state = Question::open;
    NodeId owner{};
    std::vector<NodeId> silent;  // asked, and not heard from
  };
  // A flow of which nobody knows, and a node that is not heard may: since when its client has been sending here.
  struct Unproven {
    TimePoint since, latest;
  };
  void count(StrayVerdict verdict) { verdicts_[static_cast<std::size_t>(verdict)].add(); }
  void ask(const Segment& stray, std::span<const std::uint8_t> packet, TimePoint now);
  void release(const suture_flow_key& key, NodeId owner);
  void expire(const suture_flow_key& key, const Asked& asked, TimePoint now);
  void claim_held(const suture_flow_key& key, TimePoint now);
  bool owner_must_be_dead(const suture_flow_key& key, TimePoint now);

  const FlowKnowledge& knowledge_;
  StrayOutlet& outlet_;
  Millis end_grace_;
  Holding holding_;
  boost::unordered_flat_map<suture_flow_key, Asked, FlowKeyHash> questions_;
  boost::unordered_flat_map<suture_flow_key, Unproven, FlowKeyHash> unproven_;
  std::array<Counter, static_cast<std::size_t>(StrayVerdict::count)> verdicts_;
  Counter malformed_;
  Counter questions_full_;
  Counter held_dropped_;
  Gauge held_;
};

}  // namespace suture::healing
