// The stray handler's two doors, on the real thing: what the node knows (directory and liveness) and how packets leave
// (VXLAN from user space, raw socket). Adapters only: the decisions are healing/stray_policy's.
#pragma once

#include <span>
#include <vector>

#include <statesync/service.hpp>
#include <suture/metrics.hpp>

#include "proxy/healing/healer.hpp"
#include "proxy/healing/prober.hpp"
#include "proxy/healing/raw_socket.hpp"
#include "proxy/healing/stray_handler.hpp"
#include "proxy/kernel_path.hpp"

namespace suture {

class DirectoryKnowledge final : public healing::FlowKnowledge {
 public:
  DirectoryKnowledge(const statesync::StateSync& sync, const healing::Healer& healer) : sync_(sync), healer_(healer) {}
  Owner owner_of(const suture_flow_key& key) const override;
  bool has_claim(const suture_flow_key& key) const override { return healer_.has_claim(key); }
  std::vector<NodeId> living_peers() const override;
  bool peers_complete() const override { return sync_.may_reset(); }
  bool complete_but_for_dead(Millis dead_for) const override { return sync_.complete_but_for_dead(dead_for); }

 private:
  const statesync::StateSync& sync_;
  const healing::Healer& healer_;
};

class TunnelOutlet final : public healing::StrayOutlet {
 public:
  TunnelOutlet(KernelPath& kernel, healing::RawSocket& raw, healing::Healer& healer, healing::Prober& prober)
      : kernel_(kernel), raw_(raw), healer_(healer), prober_(prober) {}
  void forward(NodeId peer, std::span<const std::uint8_t> packet) override;
  void ask(NodeId peer, std::span<const std::uint8_t> packet) override;
  void deliver(std::span<const std::uint8_t> packet) override;
  void claim(const healing::Segment& stray, std::span<const std::uint8_t> packet, TimePoint now) override;
  void reset(std::span<const std::uint8_t> packet) override;
  void register_metrics(MetricsRegistry& registry);

 private:
  KernelPath& kernel_;
  healing::RawSocket& raw_;
  healing::Healer& healer_;
  healing::Prober& prober_;
  Counter send_errors_;
  Counter resets_;
};

}  // namespace suture
