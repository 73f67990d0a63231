#include "proxy/kernel_path.hpp"

#include <array>
#include <map>
#include <optional>
#include <utility>

#include <unistd.h>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>

#include <suture/limits.hpp>
#include <suture/log.hpp>

#include "proxy/datapath/change_monitor.hpp"
#include "proxy/datapath/flow_states.hpp"
#include "proxy/datapath/namespace_lock.hpp"
#include "proxy/datapath/netlink.hpp"
#include "proxy/datapath/route.hpp"
#include "proxy/datapath/socket_destroyer.hpp"
#include "proxy/datapath/steering.hpp"
#include "proxy/datapath/sysctl.hpp"
#include "proxy/datapath/tun.hpp"
#include "proxy/datapath/tunnel.hpp"
#include "proxy/datapath/tunnel_sender.hpp"
#include "proxy/datapath/vip_addresses.hpp"

namespace suture {
namespace {

namespace asio = boost::asio;

// Host routes on the TUN device, in the table that the BGP daemon learns.
class TunRoutes final : public AnnouncedRoutes {
 public:
  TunRoutes(datapath::Netlink netlink, unsigned ifindex, std::uint32_t table, std::uint8_t protocol)
      : netlink_(std::move(netlink)), ifindex_(ifindex), table_(table), protocol_(protocol) {}
  Result<void> add(const asio::ip::address& vip) override { return datapath::add_route(netlink_, route(vip)); }
  Result<bool> present(const asio::ip::address& vip) override { return datapath::has_route(netlink_, route(vip)); }
  Result<void> remove(const asio::ip::address& vip) override { return datapath::delete_route(netlink_, route(vip)); }

 private:
  datapath::DeviceRoute route(const asio::ip::address& vip) const { return {vip, ifindex_, table_, protocol_}; }
  datapath::Netlink netlink_;
  unsigned ifindex_;
  std::uint32_t table_;
  std::uint8_t protocol_;
};

// Waits for a descriptor that someone else owns.
class Readable {
 public:
  Readable(asio::io_context& io, int fd, std::function<void()> on_readable)
      : descriptor_(io, fd), on_readable_(std::move(on_readable)) {
    arm();
  }
  Readable(const Readable&) = delete;
  Readable& operator=(const Readable&) = delete;
  ~Readable() { descriptor_.release(); }

 private:
  void arm() {
    descriptor_.async_wait(asio::posix::stream_descriptor::wait_read, [this](const boost::system::error_code& error) {
      if (error) return;
      on_readable_();
      arm();
    });
  }
  asio::posix::stream_descriptor descriptor_;
  std::function<void()> on_readable_;
};

// One wake-up hands over at most this many packets, so that a flood of strays does not starve the control loop's
// timers.
constexpr int kPacketsPerWakeUp = 64;

}  // namespace

struct KernelPath::State {
  State(Options o, datapath::NamespaceLock l, datapath::Tun t)
      : options(std::move(o)), lock(std::move(l)), tun(std::move(t)), vips(options.vips) {}

  Options options;
  datapath::NamespaceLock lock;
  datapath::Tun tun;
  datapath::Tunnel tunnel;
  std::unique_ptr<datapath::Steering> steering;
  std::unique_ptr<TunRoutes> routes;
  std::unique_ptr<datapath::TunnelSender> sender4, sender6;
  std::map<NodeId, asio::ip::address> underlay;
  std::map<NodeId, suture_peer> peers;
  datapath::VipAddresses vips;
  std::unique_ptr<Readable> packets, events, changes;
  std::optional<datapath::ChangeMonitor> monitor;
  std::unique_ptr<asio::steady_timer> check_timer;
  bool check_is_near = false;
  OnInterfaces on_interfaces;
  std::optional<datapath::AccessState> access;
  std::string trouble;  // of the last check
  std::array<std::uint8_t, 65536> buffer{};
  bool closed = false;

  Result<void> restore_devices();
  void check();
  void check_in(Millis delay);
  Result<void> open_senders();
  Result<void> load_steering();
  Result<void> silence_former_process();
  void set_flag(suture_node_flags flag, bool on);
  void read_packets(const OnPacket& on_packet);
  NodeId heir() const;
};

Result<void> KernelPath::State::open_senders() {
  for (const auto& [address, sender] :
       {std::pair{options.underlay4, &sender4}, std::pair{options.underlay6, &sender6}}) {
    if (!address) continue;
    auto opened = datapath::TunnelSender::open(*address, options.vxlan_port, options.vni_base);
    if (!opened) return opened.error();
    *sender = std::make_unique<datapath::TunnelSender>(std::move(*opened));
  }
  return {};
}

Result<void> KernelPath::State::load_steering() {
  datapath::SteeringConfig config;
  config.node_id = options.node;
  for (const auto& vip : options.vips) {
    for (const auto port : options.ports) config.vips.push_back({vip, port});
  }
  config.interfaces = options.interfaces;
  config.vxlan_ifindex = tunnel.ifindex();
  config.tun_ifindex = tun.ifindex();
  config.vni_base = options.vni_base;
  config.fin_mark = options.fin_mark;
  config.rst_mark = options.rst_mark;
  config.heartbeat_limit_ns = static_cast<std::uint64_t>(options.heartbeat_limit.count()) * 1'000'000;
  config.lease_ns = static_cast<std::uint64_t>(options.lease.count()) * 1'000'000;
  config.owners_max = options.owners_max;
  config.return_tunnel = options.return_tunnel;
  config.hint_burst = options.hint_burst;
  config.hint_per_second = options.hint_per_second;
  config.punt_burst = options.punt_burst;
  config.punt_per_second = options.punt_per_second;
  auto loaded = datapath::Steering::load(config);
  if (!loaded) return loaded.error();
  steering = std::move(*loaded);
  for (const auto& peer : options.peers) {
    const auto& local = peer.underlay.is_v6() ? options.underlay6 : options.underlay4;
    suture_peer entry{};
    if (local) entry.local = to_addr(*local);
    entry.remote = to_addr(peer.underlay);
    entry.flags = SUTURE_PEER_CONFIGURED;
    if (peer.underlay.is_v6()) entry.flags |= SUTURE_PEER_UNDERLAY6;
    underlay[peer.id] = peer.underlay;
    peers[peer.id] = entry;
    if (auto ok = steering->set_peer(peer.id, entry); !ok) return ok.error();
  }
  return {};
}

Result<void> KernelPath::State::silence_former_process() {
  unsigned destroyed = 0;
  for (const auto& vip : options.vips) {
    for (const auto port : options.ports) {
      const auto count = datapath::destroy_sockets(vip, port);
      if (!count) return count.error();
      destroyed += *count;
    }
  }
  if (destroyed > 0) log::warn("former_sockets_destroyed", {{"count", destroyed}});
  return {};
}

// Ours, whoever set them down: what an operator wants to say is "drain".
Result<void> KernelPath::State::restore_devices() {
  const auto punts = tun.restore();
  if (punts && *punts) log::warn("device_restored", {{"device", tun.name()}});
  const auto forwarding = tunnel.restore();
  if (forwarding && *forwarding) log::warn("device_restored", {{"device", tunnel.device()}});
  auto addresses = vips.ensure();
  if (!punts) return punts.error();
  if (!forwarding) return forwarding.error();
  return addresses;
}

void KernelPath::State::check() {
  lock.forget_callers();
  const auto done = restore_devices();
  const std::string now = done ? std::string() : done.error().message;
  if (std::exchange(trouble, now) != now && !now.empty()) log::error("device_not_restored", {{"reason", now}});
  auto found = steering->restore(tunnel.ifindex());
  if (access && *access == found) return;
  access = std::move(found);
  if (on_interfaces) on_interfaces(access->any, access->missing);
}

// One timer for both paces; a change brings the next look forward, and the next change does not put it off.
void KernelPath::State::check_in(Millis delay) {
  check_timer->expires_after(delay);
  check_timer->async_wait([this](const boost::system::error_code& error) {
    if (error) return;
    check_is_near = false;
    check();
    check_in(limits::kernel_check_interval);
  });
}

void KernelPath::State::set_flag(suture_node_flags flag, bool on) {
  const auto others = steering->flags() & ~static_cast<std::uint32_t>(flag);
  steering->set_flags(on ? others | flag : others);
}

void KernelPath::State::read_packets(const OnPacket& on_packet) {
  for (int i = 0; i < kPacketsPerWakeUp; ++i) {
    const auto size = tun.read(buffer);
    if (!size || *size == 0) return;
    on_packet(std::span<const std::uint8_t>(buffer.data(), *size));
  }
}

NodeId KernelPath::State::heir() const {
  NodeId lowest{};
  NodeId next{};
  for (const auto& [id, peer] : peers) {  // in order of ids
    if (!(peer.flags & SUTURE_PEER_ALIVE)) continue;
    if (lowest == NodeId{}) lowest = id;
    if (next == NodeId{} && id > options.node) next = id;
  }
  return next != NodeId{} ? next : lowest;
}

KernelPath::KernelPath(std::unique_ptr<State> state) : state_(std::move(state)) {}
KernelPath::~KernelPath() {
  abandon();
}

Result<std::unique_ptr<KernelPath>> KernelPath::open(const Options& options) {
  // Before anything of another suture's could be touched.
  auto lock = datapath::NamespaceLock::take();
  if (!lock) {
    Error error = lock.error();
    error.message = "TUN device " + options.tun_device + " not made: " + error.message;
    return error;
  }
  auto tun = datapath::Tun::open(options.tun_device);
  if (!tun) return tun.error();
  // From here on whatever fails is taken back by the destructor.
  std::unique_ptr<KernelPath> path(new KernelPath(std::make_unique<State>(options, std::move(*lock), std::move(*tun))));
  auto* state = path->state_.get();
  auto netlink = datapath::Netlink::open(NETLINK_ROUTE);
  if (!netlink) return netlink.error();
  state->routes = std::make_unique<TunRoutes>(std::move(*netlink), state->tun.ifindex(), options.announce_table,
                                              options.announce_protocol);

  // Segments of ours must carry the client's own flow label (PROTOCOL.md); not fatal, sessions heal without it.
  if (auto ok = datapath::ensure_sysctl("net/ipv6/flowlabel_reflect", 1); !ok) {
    log::warn("sysctl", {{"note", ok.error().message}});
  }
  if (auto ok = state->vips.ensure(); !ok) return ok.error();
  auto tunnel = datapath::Tunnel::open({options.vxlan_device, options.vxlan_port, options.return_tunnel});
  if (!tunnel) return tunnel.error();
  state->tunnel = *tunnel;
  if (tunnel->adopted()) log::warn("tunnel_adopted", {{"device", options.vxlan_device}});
  if (auto ok = state->load_steering(); !ok) return ok.error();
  if (auto ok = state->open_senders(); !ok) return ok.error();
  if (auto ok = state->silence_former_process(); !ok) return ok.error();
  return path;
}

void KernelPath::start(asio::io_context& io, OnPacket on_packet, OnEvent on_event) {
  auto* state = state_.get();
  state->packets =
      std::make_unique<Readable>(io, state->tun.fd(), [state, on = std::move(on_packet)] { state->read_packets(on); });
  state->events = std::make_unique<Readable>(io, state->steering->event_fd(),
                                             [state, on = std::move(on_event)] { state->steering->poll_events(on); });
  state->check_timer = std::make_unique<asio::steady_timer>(io);
  state->check_in(Millis{0});
  auto monitor = datapath::ChangeMonitor::open();
  if (!monitor) {
    log::warn("changes_not_monitored", {{"reason", monitor.error().message}});
    return;
  }
  state->monitor = std::move(*monitor);
  state->changes = std::make_unique<Readable>(io, state->monitor->fd(), [state] {
    state->monitor->drain();
    if (!std::exchange(state->check_is_near, true)) state->check_in(limits::kernel_check_delay);
  });
}

void KernelPath::on_interfaces(OnInterfaces callback) {
  state_->on_interfaces = std::move(callback);
}

void KernelPath::beat(TimePoint now) {
  state_->steering->beat(now);
}
bool KernelPath::beats() const {
  return state_->steering->beats();
}
void KernelPath::set_slot_offset(std::uint64_t offset_ms) {
  state_->steering->set_slot_offset(offset_ms);
}

void KernelPath::set_draining(bool draining) {
  state_->set_flag(SUTURE_NODE_DRAINING, draining);
}
void KernelPath::set_cut_off(bool cut_off) {
  state_->set_flag(SUTURE_NODE_CUT_OFF, cut_off);
}

void KernelPath::set_peer(NodeId peer, bool alive, bool hint_ok, Incarnation incarnation) {
  const auto it = state_->peers.find(peer);
  if (it == state_->peers.end()) return;
  auto& entry = it->second;
  entry.flags &= ~static_cast<std::uint32_t>(SUTURE_PEER_ALIVE | SUTURE_PEER_HINT_OK);
  if (alive) entry.flags |= SUTURE_PEER_ALIVE;
  if (alive && hint_ok) entry.flags |= SUTURE_PEER_HINT_OK;
  entry.incarnation = incarnation;
  if (auto ok = state_->steering->set_peer(peer, entry); !ok) {
    log::error("peer_not_set", {{"peer", to_int(peer)}, {"reason", ok.error().message}});
  }
  state_->steering->set_heir(state_->heir());
}

void KernelPath::mark_not_mine(const suture_flow_key& key, NodeId peer) {
  // A full map evicts the oldest (LRU); another failure costs this flow one more wrong packet.
  (void)state_->steering->mark_not_mine(key, peer);
}

Result<void> KernelPath::set_flow_state(const suture_flow_key& key, suture_flow_phase phase) {
  return state_->steering->flow_states().set(key, phase);
}
Result<void> KernelPath::clear_flow_state(const suture_flow_key& key) {
  return state_->steering->flow_states().clear(key);
}
Result<void> KernelPath::inject(std::span<const std::uint8_t> packet) {
  return state_->tun.write(packet);
}

Result<void> KernelPath::send(NodeId peer, suture_tunnel_kind kind, std::span<const std::uint8_t> packet) {
  const auto it = state_->underlay.find(peer);
  if (it == state_->underlay.end()) return Error{"not a configured peer"};
  const auto& sender = it->second.is_v6() ? state_->sender6 : state_->sender4;
  if (!sender) return Error{"no underlay address of the peer's family"};
  return sender->send(it->second, kind, packet);
}

OwnerMap& KernelPath::owner_map() {
  return state_->steering->owner_map();
}
AnnouncedRoutes& KernelPath::routes() {
  return *state_->routes;
}
void KernelPath::register_metrics(MetricsRegistry& registry) {
  state_->steering->register_metrics(registry);
}

void KernelPath::close() {
  if (std::exchange(state_->closed, true)) return;
  state_->packets.reset();
  state_->events.reset();
  state_->changes.reset();
  state_->check_timer.reset();
  if (state_->routes) {
    for (const auto& vip : state_->options.vips) (void)state_->routes->remove(vip);
  }
  if (state_->steering) {
    if (auto ok = state_->steering->detach(); !ok) log::warn("detach", {{"reason", ok.error().message}});
  }
  if (state_->tunnel.ifindex() != 0) {
    if (auto ok = state_->tunnel.remove(); !ok) log::warn("tunnel_remove", {{"reason", ok.error().message}});
  }
  state_->vips.remove();
}

// A start that failed. What a killed process left behind stays: those filters keep the kernel from answering that
// process's clients with RST until a start succeeds.
void KernelPath::abandon() {
  if (!state_->tunnel.adopted()) close();
}

}  // namespace suture
