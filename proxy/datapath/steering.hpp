// Owner of the BPF programs and their maps: the datapath's face to the rest of the process.
//
// Call order:
//   load(config)      programs are in the kernel and attached. Until the first beat() they treat this process as dead:
//                     VIP packets go to the heir (none yet: dropped), and nothing leaves from a VIP:port.
//   set_peer, set_slot_offset, set_heir, destroy_sockets (socket_destroyer.hpp)
//   beat() at least every heartbeat_limit / 3, from the thread whose being alive matters
//   detach()          clean exit only. Without it (crash, destructor) the programs stay attached and, once the
//   heartbeat is
//                     stale, keep the dead process's sockets silent and its packets going to the heir, until the next
//                     load() replaces them.
//
// One thread (control), but beat(), beats() and counters(): any thread.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <boost/asio/ip/address.hpp>

#include <suture/datapath_abi.h>
#include <suture/clock.hpp>
#include <suture/ids.hpp>
#include <suture/limits.hpp>
#include <suture/metrics.hpp>
#include <suture/owner_map.hpp>
#include <suture/result.hpp>

#include "proxy/datapath/attachments.hpp"

struct steer_bpf;
struct ring_buffer;

namespace suture::datapath {

struct SteeringConfig {
  struct Vip {
    boost::asio::ip::address address;
    std::uint16_t port = 0;
  };
  NodeId node_id{};
  std::vector<Vip> vips;
  std::vector<std::string> interfaces;  // every one that can receive VIP packets
  unsigned vxlan_ifindex = 0;           // Tunnel::ifindex()
  unsigned tun_ifindex = 0;             // Tun::ifindex(): punted packets arrive there
  std::uint32_t vni_base = 0;           // low 3 bits are 0
  std::uint32_t fin_mark = 0;           // one bit each, different ones
  std::uint32_t rst_mark = 0;
  std::uint64_t heartbeat_limit_ns = 0;
  // A client silent for so long gets no RST, and while this node is cut off no data without a fence (egress rules 3 and
  // 4). heartbeat_limit_ns <= this < the interval after which peers take this node for dead.
  std::uint64_t lease_ns = 200'000'000;
  std::uint32_t owners_max = 1U << 20;
  std::uint32_t flow_states_max = 1U << 16;
  bool return_tunnel = false;
  std::uint32_t hint_burst = 20000, hint_per_second = 20000;  // per client prefix
  std::uint32_t punt_burst = 200, punt_per_second = 200;      // per client prefix
  // Per client prefix, a bucket for each of: punts of claimed or frozen flows, REPLACED, GATED and REWRITTEN events.
  std::uint32_t claim_burst = 2000, claim_per_second = 2000;
  std::uint32_t event_burst = 1000, event_per_second = 1000;  // per sending peer
  // All prefixes together, a bucket for each of: punts, and the four above.
  std::uint32_t punt_total_burst = limits::punt_total_burst, punt_total_per_second = limits::punt_total_per_second;
};

using RungCounts = std::array<std::uint64_t, SUTURE_RUNG_COUNT>;
using PeerCounts = std::array<std::uint64_t, SUTURE_NODES_MAX>;

class FlowStates;
class KernelOwnerMap;

class Steering {
 public:
  // Errors: a missing capability, a kernel without a feature (which CONFIG_), an unknown interface, the verifier's
  // words.
  static Result<std::unique_ptr<Steering>> load(const SteeringConfig& config);
  ~Steering();
  Steering(const Steering&) = delete;
  Steering& operator=(const Steering&) = delete;

  // Removes the programs, and the clsact qdiscs that we (this process or a former one) had to add and nobody else uses.
  Result<void> detach();
  // Attaches what somebody removed, or what an interface that came back lacks. `vxlan_ifindex`: Tunnel::ifindex(),
  // which may have changed.
  AccessState restore(unsigned vxlan_ifindex);

  Result<void> set_vip(const SteeringConfig::Vip& vip);
  // flags: enum suture_peer_flags. Without SUTURE_PEER_CONFIGURED the peer is forgotten and its tunnel packets refused.
  Result<void> set_peer(NodeId id, const suture_peer& peer);
  void set_heir(NodeId id);  // NodeId{0}: nobody

  void beat(TimePoint now = Clock::now());
  bool beats(TimePoint now = Clock::now()) const;  // the last one is not stale: what leaves now is let out
  // The process's slot clock is CLOCK_MONOTONIC ms + this (SlotClock::offset_ms).
  void set_slot_offset(std::uint64_t offset_ms);
  void set_flags(std::uint32_t flags);  // enum suture_node_flags, all of them
  std::uint32_t flags() const;
  // `peer` has no socket for this flow: neither hint nor map sends its packets there for `lifetime`.
  Result<void> mark_not_mine(const suture_flow_key& key, NodeId peer, TimePoint now = Clock::now(),
                             Millis lifetime = not_mine_lifetime);

  RungCounts counters() const;
  PeerCounts forwarded() const;  // packets tunnelled to each node id
  OwnerMap& owner_map();
  FlowStates& flow_states();

  // Becomes readable when there are events (for Asio); poll_events() then hands over what is there and returns how
  // many.
  int event_fd() const;
  int poll_events(const std::function<void(const suture_event&)>& callback);

  void register_metrics(MetricsRegistry& registry);

  // bpf_ktime_get_ns() - CLOCK_MONOTONIC of this process, ns: not 0 in a time namespace (time_namespaces(7)).
  // For BPF_PROG_TEST_RUN: "ingress", "ingress_l3", "tunnel_ingress", "egress", "egress_l3". -1: no such program.
  int program_fd(const std::string& name) const;

  static constexpr Millis not_mine_lifetime{5000};

 private:
  struct CloseSkeleton {
    void operator()(steer_bpf* skeleton) const;
  };
  struct FreeRing {
    void operator()(ring_buffer* ring) const;
  };
  struct UnmapNode {
    void operator()(suture_node_state* state) const;
  };
  Steering() = default;
  Result<void> open(const SteeringConfig& config);
  Result<void> map_node(const SteeringConfig& config);
  Result<void> measure_clock();
  Result<void> open_events();
  std::uint64_t kernel_ns(TimePoint t) const;
  std::vector<std::uint64_t> sum_per_cpu(int map_fd, std::uint32_t entries) const;

  std::unique_ptr<steer_bpf, CloseSkeleton> skeleton_;
  std::unique_ptr<suture_node_state, UnmapNode> node_;  // the kernel's own page
  std::unique_ptr<ring_buffer, FreeRing> ring_;
  std::unique_ptr<KernelOwnerMap> owners_;
  std::unique_ptr<FlowStates> flow_states_;
  std::function<void(const suture_event&)> on_event_;
  std::unique_ptr<Attachments> attachments_;
  std::array<suture_peer, SUTURE_NODES_MAX> peers_{};
  std::int64_t clock_ahead_ns_ = 0;
};

}  // namespace suture::datapath
