// The healer's and the prober's doors on the real thing: directory and liveness, kernel, workers. Adapters only: the
// decisions are healing/claim's, healing/heal_plan's and healing/prober's.
#pragma once

#include <bitset>
#include <cstdint>
#include <functional>
#include <memory>
#include <random>
#include <span>
#include <vector>

#include <boost/unordered/unordered_flat_set.hpp>

#include <statesync/service.hpp>
#include <suture/clock.hpp>
#include <suture/metrics.hpp>

#include "proxy/client/worker.hpp"
#include "proxy/healing/healer.hpp"
#include "proxy/healing/prober.hpp"
#include "proxy/healing/raw_socket.hpp"
#include "proxy/kernel_path.hpp"

namespace suture {

class NodeHealWorld final : public healing::HealWorld {
 public:
  NodeHealWorld(statesync::StateSync& sync, const SlotClock& slot_clock, KernelPath& kernel, healing::RawSocket& raw,
                const std::vector<std::unique_ptr<Worker>>& workers)
      : sync_(sync), slot_clock_(slot_clock), kernel_(kernel), raw_(raw), workers_(workers) {}

  void set_living(NodeId peer, bool living) { living_.set(to_int(peer), living); }
  // Something between us and this client rewrites timestamps: its session, one of ours, is neither hinted nor fenced.
  void give_up_fence(const suture_flow_key& key);
  void sweep(TimePoint now);  // forgets such sessions once they have ended
  void register_metrics(MetricsRegistry& registry);

  healing::ClaimContext situation(const SessionRecord& record, TimePoint now) const override;
  const SessionRecord* record(const suture_flow_key& key) const override;
  const SessionRecord* own_record(const suture_flow_key& key) const override;
  bool is_own(const SessionRecord& record) const override;
  Epoch claim_epoch(const suture_flow_key& key) const override { return sync_.claim_epoch(key); }
  std::uint32_t random() override { return static_cast<std::uint32_t>(random_()); }

  void send(std::span<const std::uint8_t> packet) override;
  void forward(NodeId peer, std::span<const std::uint8_t> packet) override;
  void inject(std::span<const std::uint8_t> packet) override;
  bool set_flow_state(const suture_flow_key& key, suture_flow_phase phase) override;
  void clear_flow_state(const suture_flow_key& key) override;
  Result<healing::Rebuilt> rebuild(const healing::RebuildSpec& spec) override;

  bool adopt(Adoption adoption) override;
  void discard(int fd) override;
  void freeze(const suture_flow_key& key) override;
  void thaw(const suture_flow_key& key, std::optional<Epoch> claimed_again) override;
  std::optional<Millis> owner_dead_for(const SessionRecord& record, TimePoint now) const override;
  void release(const suture_flow_key& key, bool erase_record) override;
  void forget_own(const suture_flow_key& key) override;
  void end_record(const suture_flow_key& key) override { sync_.end_session(key); }

 private:
  statesync::StateSync& sync_;
  const SlotClock& slot_clock_;
  KernelPath& kernel_;
  healing::RawSocket& raw_;
  const std::vector<std::unique_ptr<Worker>>& workers_;
  std::bitset<256> living_;
  boost::unordered_flat_set<suture_flow_key, FlowKeyHash> unfenced_;
  TimePoint swept_at_{};
  std::mt19937 random_{std::random_device{}()};
  Counter fences_kept_, fences_given_up_;
  Counter send_errors_, forward_errors_, inject_errors_;
};

class DirectoryProbeSource final : public healing::ProbeSource {
 public:
  explicit DirectoryProbeSource(const statesync::StateSync& sync) : sync_(sync) {}
  void for_each(NodeId node, Incarnation incarnation,
                const std::function<void(const suture_flow_key&, TimePoint active)>& visit) const override;

 private:
  const statesync::StateSync& sync_;
};

}  // namespace suture
