#include "proxy/options.hpp"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <thread>

#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>

#include "proxy/datapath/tunnel.hpp"

namespace suture {
namespace {

// What fits into a tunnelled packet, so that any PoP can forward any flow.
std::uint16_t mss_clamp(const config::Config& config, bool v6) {
  const bool underlay6 = std::any_of(config.peers.begin(), config.peers.end(),
                                     [](const config::Peer& peer) { return peer.underlay.is_v6(); });
  return static_cast<std::uint16_t>(datapath::tunnel_mss(config.datapath.underlay_mtu, underlay6, v6));
}

}  // namespace

Incarnation incarnation_at(std::chrono::system_clock::time_point now) {
  constexpr std::chrono::system_clock::time_point epoch{std::chrono::sys_days{std::chrono::year{2026} / 1 / 1}};
  const auto tenths = std::chrono::duration_cast<Millis>(now - epoch).count() / 100;
  return tenths > 0 ? static_cast<Incarnation>(tenths) : 1;
}

statesync::Options statesync_options(const config::Config& config, Incarnation incarnation) {
  statesync::Options out;
  out.id = config.node.id;
  out.name = config.node.name;
  out.incarnation = incarnation;
  for (const auto& peer : config.peers) out.peers.push_back({peer.id, peer.name, peer.underlay, peer.statesync});
  out.underlay4 = config.node.underlay4;
  out.underlay6 = config.node.underlay6;
  out.liveness_port = config.statesync.liveness_port;
  out.liveness_interval = Millis{config.statesync.liveness_interval_ms};
  out.liveness_multiplier = config.statesync.liveness_multiplier;
  out.stall_limit = Millis{config.datapath.heartbeat_limit_ms};
  out.flush_interval = Millis{config.statesync.flush_interval_ms};
  out.records_first = config.statesync.records_first;
  out.sync_wait = Millis{config.statesync.sync_wait_ms};
  out.forget_after = Millis{config.statesync.forget_after_ms};
  out.workers = worker_count(config);
  out.two_node_available = config.healing.no_fence == config::NoFence::available;
  out.records_max = config.datapath.owners_max;
  // A starting guess, until a peer's clock is heard: nodes on different hosts booted at different times, and two that
  // start while they cannot hear each other should still agree when they can. Nothing is decided by it.
  const auto wall = std::chrono::system_clock::now().time_since_epoch();
  out.slot_offset_start_ms =
      static_cast<std::uint64_t>(std::chrono::duration_cast<Millis>(wall).count()) - monotonic_ms();
  return out;
}

statesync::GrpcOptions grpc_options(const config::Config& config) {
  return {config.node.id, config.statesync.listen, config.statesync.cert_file, config.statesync.key_file,
          config.statesync.ca_file};
}

Millis lease(const config::Config& config) {
  if (config.healing.lease_ms != 0) return Millis{config.healing.lease_ms};
  const std::uint64_t dead =
      std::uint64_t{config.statesync.liveness_interval_ms} * config.statesync.liveness_multiplier;
  return Millis{(config.datapath.heartbeat_limit_ms + dead) / 2};
}

healing::Healer::Options healer_options(const config::Config& config, Incarnation incarnation) {
  healing::Healer::Options out;
  out.self = config.node.id;
  out.incarnation = incarnation;
  out.claim.tries = config.healing.tries;
  out.claim.first_timeout = Millis{config.healing.first_timeout_ms};
  out.claim.lease = lease(config);
  out.end_grace = Millis{config.healing.end_grace_ms};
  out.claim.session_timeout = Millis{config.timeouts.tcp_idle_ms};
  out.mss_max4 = mss_clamp(config, false);
  out.mss_max6 = mss_clamp(config, true);
  return out;
}

healing::Prober::Options prober_options(const config::Config& config) {
  healing::Prober::Options out;
  out.self = config.node.id;
  out.probe_per_second = config.healing.probe_per_second;
  out.idle_timeout = Millis{config.timeouts.tcp_idle_ms};
  return out;
}

KernelPath::Options kernel_path_options(const config::Config& config, Incarnation incarnation) {
  KernelPath::Options out;
  out.node = config.node.id;
  out.incarnation = incarnation;
  out.underlay4 = config.node.underlay4;
  out.underlay6 = config.node.underlay6;
  out.interfaces = config.node.interfaces;
  out.vips = config.vips;
  for (const auto& listener : config.listeners) out.ports.push_back(listener.port);
  for (const auto& peer : config.peers) out.peers.push_back({peer.id, peer.underlay});
  out.vxlan_port = config.datapath.vxlan_port;
  out.vxlan_device = config.datapath.vxlan_device;
  out.vni_base = config.datapath.vni_base;
  out.return_tunnel = config.datapath.return_path == config::ReturnPath::tunnel;
  out.fin_mark = config.datapath.fin_mark;
  out.rst_mark = config.datapath.rst_mark;
  out.underlay_mtu = config.datapath.underlay_mtu;
  out.owners_max = config.datapath.owners_max;
  out.heartbeat_limit = Millis{config.datapath.heartbeat_limit_ms};
  out.lease = lease(config);
  out.hint_burst = config.datapath.hint_burst;
  out.hint_per_second = config.datapath.hint_per_second;
  out.punt_burst = config.datapath.punt_burst;
  out.punt_per_second = config.datapath.punt_per_second;
  out.announce_table = config.announce.table;
  out.announce_protocol = config.announce.protocol;
  out.tun_device = config.announce.device;
  return out;
}

WorkerOptions worker_options(const config::Config& config, Incarnation incarnation, unsigned index, unsigned count) {
  WorkerOptions out;
  out.vips = config.vips;
  out.listeners = config.listeners;
  out.timeouts = config.timeouts;
  out.node = config.node.id;
  out.node_name = config.node.name;
  for (const auto& peer : config.peers) out.peer_names[peer.id] = peer.name;
  out.access_format = config.log.access.format;
  out.incarnation = incarnation;
  out.fin_mark = config.datapath.fin_mark;
  out.rst_mark = config.datapath.rst_mark;
  out.lease = lease(config);
  out.mss_clamp4 = mss_clamp(config, false);
  out.mss_clamp6 = mss_clamp(config, true);
  out.index = index;
  out.workers = count;
  // At the drain timeout: between two requests a FIN is a clean end that every client handles; in the middle of
  // something an end must not look like success.
  out.at_stop = [](const SessionRecord& record) {
    const bool idle = record.http && record.http->phase == HttpPhase::idle;
    return idle ? StopAction::close : StopAction::reset;
  };
  return out;
}

unsigned worker_count(const config::Config& config) {
  if (config.node.workers != 0) return config.node.workers;
  return std::max(1U, std::thread::hardware_concurrency());
}

bool has_privileged_port(const config::Config& config) {
  return std::any_of(config.listeners.begin(), config.listeners.end(),
                     [](const config::Listener& listener) { return listener.port < 1024; });
}

std::string metrics_json(const MetricsRegistry& metrics) {
  boost::json::object out;
  for (const auto& family : metrics.collect()) {
    for (const auto& sample : family.samples) {
      out[sample.labels.empty() ? sample.name : sample.name + '{' + sample.labels + '}'] = sample.value;
    }
  }
  return boost::json::serialize(out);
}

std::optional<std::size_t> parse_limit(const std::optional<std::string>& text) {
  if (!text) return 100;
  std::size_t value = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
  if (error != std::errc{} || end != text->data() + text->size() || value < 1 || value > kSessionsShownMax)
    return std::nullopt;
  return value;
}

}  // namespace suture
