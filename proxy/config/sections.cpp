#include <proxy/config/sections.hpp>

#include <algorithm>

#include <proxy/config/routes.hpp>
#include <proxy/config/values.hpp>

namespace suture::config {
namespace {

constexpr const char* ms = "milliseconds";
constexpr const char* bytes = "bytes";
constexpr std::uint32_t day_ms = 24U * 3600 * 1000;

void read_id(Section& section, NodeId& out) {
  std::uint8_t id = 0;
  section.number(std::string("id"), id, 1, 255);
  out = NodeId{id};
}

void read_address(Section& section, const std::string& key, Address& out) {
  const auto text = section.scalar(key);
  if (!text) return;
  if (const auto address = parse_address(*text)) {
    out = *address;
  } else {
    section.wrong(key, "'" + *text + "' is not an IP address; wanted e.g. 198.18.0.1 or fd00:5::1");
  }
}

void read_endpoint(Section& section, const std::string& key, TcpEndpoint& out) {
  const auto text = section.scalar(key);
  if (!text) return;
  const auto endpoint = parse_endpoint(*text);
  if (!endpoint || endpoint->port() == 0) {
    section.wrong(key,
                  "'" + *text + "' is not an address with a port; wanted e.g. 198.18.0.1:7100 or [fd00:5::1]:7100");
    return;
  }
  out = *endpoint;
}

void read_upstream(Section& section, const std::string& key, UpstreamAddress& out) {
  const auto text = section.scalar(key);
  if (!text) return;
  std::string why;
  if (const auto upstream = parse_upstream(*text, why)) {
    out = *upstream;
  } else {
    section.wrong(key, why);
  }
}

void read_device(Section& section, const std::string& key, std::string& out) {
  const auto text = section.scalar(key);
  if (!text) return;
  if (!valid_device_name(*text)) {
    return section.wrong(key,
                         "'" + *text + "' is no device name; wanted 1 to 15 characters without '/', ':' and spaces");
  }
  out = *text;
}

// Goes into HTTP headers and logs: no spaces, no controls.
void read_token(Section& section, const std::string& key, std::string& out) {
  const auto text = section.scalar(key);
  if (!text) return;
  const bool plain = std::all_of(text->begin(), text->end(), [](char c) { return c > ' ' && c < 0x7f; });
  if (text->empty() || text->size() > 255 || !plain) {
    return section.wrong(key, "wanted 1 to 255 printable ASCII characters without spaces");
  }
  out = *text;
}

void read_node(Document& document, Section section, Node& out) {
  section.require("id", "this node's number, 1 to 255");
  section.require("underlay", "a list of this node's own IPv4 and/or IPv6 address, as its peers reach it");
  section.require("interfaces", "a list of the interfaces that receive packets for the VIPs");
  read_id(section, out.id);
  out.name = "pop" + std::to_string(to_int(out.id));
  read_token(section, "name", out.name);
  for (const auto& [text, item] : section.scalar_list("underlay", "address of this node (IPv4, IPv6 or both)")) {
    const auto address = parse_address(text);
    if (!address) {
      document.mistake(item.line, item.path + ": '" + text + "' is not an IP address");
      continue;
    }
    if (const auto why = not_unicast(*address); !why.empty()) {
      document.mistake(item.line, item.path + ": '" + text + "' " + why + "; wanted this node's own address");
      continue;
    }
    auto& place = address->is_v4() ? out.underlay4 : out.underlay6;
    if (place) {
      document.mistake(item.line, item.path + ": a second " + (address->is_v4() ? "IPv4" : "IPv6") +
                                      " address; wanted at most one of each family");
    }
    place = *address;
  }
  for (const auto& [text, item] : section.scalar_list("interfaces", "interface that receives packets for the VIPs")) {
    if (!valid_device_name(text)) {
      document.mistake(item.line, item.path + ": '" + text + "' is no interface name");
    } else if (std::find(out.interfaces.begin(), out.interfaces.end(), text) != out.interfaces.end()) {
      document.mistake(item.line, item.path + ": " + text + " is listed twice");
    } else {
      out.interfaces.push_back(text);
    }
  }
  section.number("workers", out.workers, 0, 256, "threads (0: one per core)");
  section.finish();
}

void read_limits(Section section, Limits& out) {
  section.number("connections_max", out.connections_max, 1, 10'000'000, "connections");
  section.number("connections_per_client_max", out.connections_per_client_max, 0, 10'000'000,
                 "connections (0: no limit)");
  section.number("requests_per_connection_max", out.requests_per_connection_max, 0, 1'000'000'000,
                 "requests (0: no limit)");
  section.number("request_line_bytes_max", out.request_line_bytes_max, 256, 1 << 20, bytes);
  section.number("request_fields_max", out.request_fields_max, 8, 10'000, "header fields");
  section.number("request_body_rate_min", out.request_body_rate_min, 0, 1 << 30, "bytes per second (0: no limit)");
  section.number("request_head_bytes_max", out.request_head_bytes_max, 1024, 1 << 20, bytes);
  section.number("request_body_bytes_max", out.request_body_bytes_max, 0, 1ULL << 50, "bytes (0: no limit)");
  section.number("response_head_bytes_max", out.response_head_bytes_max, 1024, 1 << 20, bytes);
  section.number("upstream_idle_max", out.upstream_idle_max, 0, 10'000, "connections");
  section.finish();
}

// Whoever is listed may claim to be any client.
void read_prefix(Document& document, const std::string& text, const Section::Item& item, std::vector<Prefix>& out) {
  const auto say = [&](const std::string& what) {
    document.mistake(item.line, item.path + ": '" + text + "' " + what);
  };
  const auto prefix = parse_prefix(text);
  if (!prefix) return say("is no address prefix; wanted e.g. 10.0.0.0/8, 192.0.2.7 or fd00:5::/32");
  if (prefix->address.is_v6() && prefix->address.to_v6().is_v4_mapped())
    return say("is an IPv4-mapped prefix; write it as IPv4");
  if (prefix->bits == 0) return say("is everybody, who could claim any address; wanted the balancers' own addresses");
  const Prefix clean = canonical(*prefix);
  if (clean.address != prefix->address) return say("has bits beyond its length; wanted " + to_string(clean));
  out.push_back(clean);
}

void read_proxy_protocol(Section& section, const std::string& key, ProxyProtocol& out) {
  section.choice<ProxyProtocol>(key, out,
                                {{"off", ProxyProtocol::off}, {"v1", ProxyProtocol::v1}, {"v2", ProxyProtocol::v2}});
}

void read_listener(Document& document, Section section, Listener& out) {
  section.require("port", "the VIP's TCP port, 1 to 65535");
  section.require("mode", "http or tcp");
  section.require("upstream", "the application: 127.0.0.1:8080, [::1]:8080 or unix:/run/app.sock");
  section.number("port", out.port, 1, 65535);
  section.choice<SessionMode>("mode", out.mode, {{"tcp", SessionMode::tcp}, {"http", SessionMode::http}});
  read_upstreams(document, section, "upstream", out.default_route().upstreams);
  read_routes(document, section, out);
  if (auto limits = section.child("limits")) read_limits(std::move(*limits), out.limits);
  if (auto front = section.child("proxy_protocol")) {
    front->require("accept_from", "a list of the front balancers' addresses, e.g. [10.0.0.0/8]");
    for (const auto& [text, item] : front->scalar_list("accept_from", "address prefix of a front balancer"))
      read_prefix(document, text, item, out.proxy_protocol_from);
    front->finish();
  }
  read_proxy_protocol(section, "upstream_proxy_protocol", out.upstream_proxy_protocol);
  section.finish();
}

void read_peer(Section section, Peer& out) {
  section.require("id", "the peer's number, 1 to 255");
  section.require("underlay", "the peer's own address, where VXLAN and liveness packets go");
  section.require("statesync", "the peer's statesync.listen address and port, e.g. 198.18.0.2:7100");
  read_id(section, out.id);
  out.name = "pop" + std::to_string(to_int(out.id));
  read_token(section, "name", out.name);
  read_address(section, "underlay", out.underlay);
  read_endpoint(section, "statesync", out.statesync);
  section.finish();
}

void read_statesync(Section section, StateSync& out) {
  section.require("listen", "address and port for the peers' streams, e.g. 198.18.0.1:7100");
  section.require("cert_file", "this node's certificate (suture pki node DIR NAME ID makes it)");
  section.require("key_file", "the certificate's private key");
  section.require("ca_file", "the cluster's CA certificate (suture pki init DIR makes it)");
  read_endpoint(section, "listen", out.listen);
  section.text("cert_file", out.cert_file);
  section.text("key_file", out.key_file);
  section.text("ca_file", out.ca_file);
  section.number("liveness_port", out.liveness_port, 1, 65535);
  section.number("liveness_interval_ms", out.liveness_interval_ms, 5, 60'000, ms);
  section.number("liveness_multiplier", out.liveness_multiplier, 2, 100);
  section.number("flush_interval_ms", out.flush_interval_ms, 1, 1000, ms);
  section.flag("records_first", out.records_first);
  section.number("sync_wait_ms", out.sync_wait_ms, 0, 600'000, ms);
  section.number("forget_after_ms", out.forget_after_ms, 1000, day_ms, ms);
  section.finish();
}

void read_datapath(Section section, Datapath& out) {
  section.number("vxlan_port", out.vxlan_port, 1, 65535);
  read_device(section, "vxlan_device", out.vxlan_device);
  section.number("vni_base", out.vni_base, 0, 0xffffff);
  section.choice<ReturnPath>("return_path", out.return_path,
                             {{"direct", ReturnPath::direct}, {"tunnel", ReturnPath::tunnel}});
  section.number("fin_mark", out.fin_mark, 1);
  section.number("rst_mark", out.rst_mark, 1);
  section.number("underlay_mtu", out.underlay_mtu, 1280, 65535, bytes);
  section.number("owners_max", out.owners_max, 1024, 1U << 26, "entries");
  section.number("heartbeat_limit_ms", out.heartbeat_limit_ms, 20, 60'000, ms);
  section.number("hint_burst", out.hint_burst, 1, 100'000'000, "packets");
  section.number("hint_per_second", out.hint_per_second, 1, 100'000'000, "packets per second");
  section.number("punt_burst", out.punt_burst, 1, 1'000'000, "packets");
  section.number("punt_per_second", out.punt_per_second, 1, 1'000'000, "packets per second");
  section.finish();
}

void read_healing(Section section, Healing& out) {
  section.number("lease_ms", out.lease_ms, 0, 60'000, "milliseconds (0: chosen)");
  section.choice<NoFence>("no_fence", out.no_fence, {{"available", NoFence::available}, {"safe", NoFence::safe}});
  section.number("first_timeout_ms", out.first_timeout_ms, 10, 60'000, ms);
  section.number("end_grace_ms", out.end_grace_ms, 0, 600'000, ms);
  section.number("tries", out.tries, 1, 10, "tries");
  section.number("probe_per_second", out.probe_per_second, 1, 10'000'000, "probes per second");
  section.finish();
}

void read_announce(Section section, Announce& out) {
  section.flag("enabled", out.enabled);
  section.number("table", out.table, 1);
  section.number("protocol", out.protocol, 1, 255);
  read_device(section, "device", out.device);
  section.finish();
}

void read_health(Section section, const std::vector<Listener>& listeners, HealthCheck& out) {
  using Type = HealthCheck::Type;
  section.require("type", "http, tcp or none");
  section.choice<Type>("type", out.type, {{"none", Type::none}, {"tcp", Type::tcp}, {"http", Type::http}});
  read_upstream(section, "target", out.target);
  for (const Listener& listener : listeners) {
    for (const Route& route : listener.routes) {
      for (const UpstreamAddress& upstream : route.upstreams) {
        if (to_string(upstream) == to_string(out.target)) out.proxy_protocol = listener.upstream_proxy_protocol;
      }
    }
  }
  read_proxy_protocol(section, "proxy_protocol", out.proxy_protocol);
  read_token(section, "path", out.path);
  if (!out.path.starts_with('/')) section.wrong("path", "'" + out.path + "' must begin with '/'");
  read_token(section, "host", out.host);
  section.number("interval_ms", out.interval_ms, 10, 3'600'000, ms);
  section.number("timeout_ms", out.timeout_ms, 10, 3'600'000, ms);
  section.number("rise", out.rise, 1, 100, "checks");
  section.number("fall", out.fall, 1, 100, "checks");
  section.finish();
}

void read_timeouts(Section section, Timeouts& out) {
  constexpr std::uint32_t week_ms = 7 * day_ms;
  section.number("connect_ms", out.connect_ms, 1, day_ms, ms);
  section.number("request_head_ms", out.request_head_ms, 1, day_ms, ms);
  section.number("request_body_ms", out.request_body_ms, 1, day_ms, ms);
  section.number("response_ms", out.response_ms, 1, day_ms, ms);
  section.number("keep_alive_ms", out.keep_alive_ms, 1, day_ms, ms);
  section.number("upstream_keep_alive_ms", out.upstream_keep_alive_ms, 1, day_ms, ms);
  section.number("tcp_idle_ms", out.tcp_idle_ms, 1, week_ms, ms);
  section.number("drain_ms", out.drain_ms, 0, day_ms, ms);
  section.number("drain_grace_ms", out.drain_grace_ms, 0, day_ms, ms);
  section.finish();
}

void read_admin(Section section, Admin& out) {
  read_endpoint(section, "listen", out.listen);
  section.flag("allow_remote", out.allow_remote);
  section.finish();
}

void read_access_log(Section section, AccessLog& out) {
  using Format = AccessLog::Format;
  section.require("format", "off, common, combined or json");
  section.choice<Format>(
      "format", out.format,
      {{"off", Format::off}, {"common", Format::common}, {"combined", Format::combined}, {"json", Format::json}});
  section.text("file", out.file);
  if (out.file != "-" && !out.file.starts_with('/'))
    section.wrong(
        "file",
        "'" + out.file + "' is no absolute path; wanted e.g. /var/log/suture/access.log, or - for standard output");
  section.finish();
}

void read_log(Section section, Log& out) {
  section.choice<log::Level>("level", out.level,
                             {{"debug", log::Level::debug},
                              {"info", log::Level::info},
                              {"warn", log::Level::warn},
                              {"error", log::Level::error}});
  section.choice<log::Format>("format", out.format, {{"text", log::Format::text}, {"json", log::Format::json}});
  if (auto access = section.child("access")) read_access_log(std::move(*access), out.access);
  section.finish();
}

void read_vips(Document& document, Section& top, std::vector<Address>& out) {
  for (const auto& [text, item] : top.scalar_list("vips", "anycast address")) {
    const auto address = parse_address(text);
    if (!address) {
      document.mistake(item.line, item.path + ": '" + text + "' is not an IP address" +
                                      (text.find('/') == std::string::npos ? "" : "; write it without prefix length"));
      continue;
    }
    std::string why = not_unicast(*address);
    if (why.empty() && address->is_loopback()) why = "is a loopback address, which no router can announce";
    if (!why.empty()) {
      document.mistake(item.line, item.path + ": '" + text + "' " + why + "; wanted the anycast address");
      continue;
    }
    out.push_back(*address);
    document.note("vips[" + std::to_string(out.size() - 1) + "]", item.line);
  }
}

}  // namespace

void read_config(Document& document, const YAML::Node& root, Config& config) {
  Section top(document, root, "", 1);
  if (!top.valid()) return;
  top.require("node", "a section with id, underlay and interfaces");
  top.require("vips", "a list of the anycast addresses");
  top.require("listeners", "a list of port, mode and upstream");
  top.require("statesync", "a section with listen, cert_file, key_file and ca_file");
  if (auto s = top.child("node")) read_node(document, std::move(*s), config.node);
  read_vips(document, top, config.vips);
  for (const auto& item : top.list("listeners", "entry with port, mode and upstream")) {
    read_listener(document, Section(document, item.node, item.path, item.line), config.listeners.emplace_back());
  }
  for (const auto& item : top.list("peers")) {
    read_peer(Section(document, item.node, item.path, item.line), config.peers.emplace_back());
  }
  if (auto s = top.child("statesync")) read_statesync(std::move(*s), config.statesync);
  if (auto s = top.child("datapath")) read_datapath(std::move(*s), config.datapath);
  if (auto s = top.child("healing")) read_healing(std::move(*s), config.healing);
  if (auto s = top.child("announce")) read_announce(std::move(*s), config.announce);
  if (!config.listeners.empty()) config.health.target = config.listeners.front().default_route().upstreams.front();
  config.health.host = config.node.name;
  if (auto s = top.child("health")) read_health(std::move(*s), config.listeners, config.health);
  if (auto s = top.child("timeouts")) read_timeouts(std::move(*s), config.timeouts);
  if (auto s = top.child("admin")) read_admin(std::move(*s), config.admin);
  if (auto s = top.child("log")) read_log(std::move(*s), config.log);
  top.finish();
}

}  // namespace suture::config
