// Everything of ours that is in the kernel, as one thing: VIP addresses, the TUN device that carries the route and the
// punted packets, the VXLAN device, the BPF programs and their maps. Opened before anything listens, closed last.
//
// Call order: open() → start() → beat()... → close(). Control thread only, except owner_map() (same thread by
// contract). After open() and before the first beat() the programs let nothing of the VIP out: what a former process
// left in the kernel is silent, and open() destroys those sockets.
//
// One per network namespace (a second one's open() is refused). From start() on it looks every second, and soon after
// the kernel reports a change, whether its devices are up, the VIPs there and the programs attached, and mends that.
// The routes are the announcer's (AnnouncedRoutes).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/address.hpp>

#include <suture/datapath_abi.h>
#include <suture/clock.hpp>
#include <suture/ids.hpp>
#include <suture/metrics.hpp>
#include <suture/owner_map.hpp>
#include <suture/result.hpp>

#include "proxy/health/announced_routes.hpp"

namespace suture {

class KernelPath {
 public:
  struct Peer {
    NodeId id{};
    boost::asio::ip::address underlay;
  };
  struct Options {
    NodeId node{};
    Incarnation incarnation = 0;
    std::optional<boost::asio::ip::address> underlay4, underlay6;
    std::vector<std::string> interfaces;
    std::vector<boost::asio::ip::address> vips;
    std::vector<std::uint16_t> ports;
    std::vector<Peer> peers;
    std::uint16_t vxlan_port = 0;
    std::string vxlan_device;
    std::uint32_t vni_base = 0;
    bool return_tunnel = false;
    std::uint32_t fin_mark = 0, rst_mark = 0;
    std::uint32_t underlay_mtu = 1500;
    std::uint32_t owners_max = 0;
    Millis heartbeat_limit{0};
    Millis lease{
        200};  // egress rules 3 and 4: heartbeat_limit <= this < the interval after which peers declare us dead
    std::uint32_t hint_burst = 0, hint_per_second = 0, punt_burst = 0, punt_per_second = 0;
    std::uint32_t announce_table = 0;
    std::uint8_t announce_protocol = 0;
    std::string tun_device;
  };

  static Result<std::unique_ptr<KernelPath>> open(const Options& options);
  ~KernelPath();
  KernelPath(const KernelPath&) = delete;
  KernelPath& operator=(const KernelPath&) = delete;

  // Punted packets (from the IP header on) and events of the programs, as they come, on `io`.
  using OnPacket = std::function<void(std::span<const std::uint8_t>)>;
  using OnEvent = std::function<void(const suture_event&)>;
  void start(boost::asio::io_context& io, OnPacket on_packet, OnEvent on_event);

  // Which access interfaces lack their programs ("eth1: does not exist"), and whether any has them. Called on `io`
  // after start(), at first and after each change. Set before start().
  using OnInterfaces = std::function<void(bool any_attached, const std::vector<std::string>& missing)>;
  void on_interfaces(OnInterfaces callback);

  void beat(TimePoint now);
  bool beats() const;                             // any thread: what leaves now is not dropped for want of a beat
  void set_slot_offset(std::uint64_t offset_ms);  // SlotClock::offset_ms()
  void set_draining(bool draining);
  // No two-way liveness with a majority: data and FINs to silent clients of flows without fence are held back, and an
  // event SUTURE_EVENT_GATED asks for a probe (egress rule 4).
  void set_cut_off(bool cut_off);
  // Liveness verdict about a configured peer. The heir is chosen anew: the living peer with the lowest id above ours,
  // around the ring, so that several dead processes do not all fall on one.
  void set_peer(NodeId peer, bool alive, bool hint_ok, Incarnation incarnation);
  void mark_not_mine(const suture_flow_key& key, NodeId peer);

  // What the programs do with one flow, from the next packet on; at most 65536 flows. errno_value ENOSPC: no room, and
  // nothing has changed: a claim must not begin, a session in doubt must be released at once.
  Result<void> set_flow_state(const suture_flow_key& key, suture_flow_phase phase);
  Result<void> clear_flow_state(const suture_flow_key& key);  // no error where there is none

  // A punted packet, from the IP header on and unchanged, into the local stack: it does not meet the ingress program
  // again. (No checksum needs to be right for this to succeed; the stack verifies them.) errno_value ENOBUFS, EAGAIN:
  // try again or drop, TCP repairs it.
  Result<void> inject(std::span<const std::uint8_t> packet);

  // One packet to a peer from user space. An error also for a peer that is not configured.
  Result<void> send(NodeId peer, suture_tunnel_kind kind, std::span<const std::uint8_t> packet);

  OwnerMap& owner_map();
  AnnouncedRoutes& routes();
  void register_metrics(MetricsRegistry& registry);

  // A clean exit: programs, devices, routes and the addresses that we added are removed. The destructor of a path that
  // was not closed (a later step of the start failed) does the same, unless open() took over what a killed process
  // left.
  void close();

 private:
  struct State;
  explicit KernelPath(std::unique_ptr<State> state);
  void abandon();
  std::unique_ptr<State> state_;
};

}  // namespace suture
