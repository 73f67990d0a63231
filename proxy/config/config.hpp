// The configuration, as one value. Parsed and validated by config/load; everything else takes the parts that it needs.
// Durations in milliseconds, sizes in bytes; the YAML names (docs/configuration.md) are these names.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include <boost/asio/ip/address.hpp>
#include <boost/asio/ip/tcp.hpp>

#include <proxy/config/prefix.hpp>
#include <statesync/record.hpp>
#include <suture/ids.hpp>
#include <suture/log.hpp>

namespace suture::config {

using Address = boost::asio::ip::address;
using TcpEndpoint = boost::asio::ip::tcp::endpoint;

struct UnixPath {
  std::string path;
};
using UpstreamAddress = std::variant<TcpEndpoint, UnixPath>;
// "192.0.2.1:80", "[2001:db8::1]:80", "unix:/run/app.sock". Inline: client needs them, and not the reader of YAML.
inline std::string to_string(const TcpEndpoint& endpoint) {
  const std::string host = endpoint.address().to_string();
  return (endpoint.address().is_v6() ? '[' + host + ']' : host) + ':' + std::to_string(endpoint.port());
}
inline std::string to_string(const UpstreamAddress& address) {
  if (const auto* path = std::get_if<UnixPath>(&address)) return "unix:" + path->path;
  return to_string(std::get<TcpEndpoint>(address));
}

struct Node {
  NodeId id{};
  std::string name;  // X-Served-By, Via, logs; default "pop<id>"
  std::optional<Address> underlay4;
  std::optional<Address> underlay6;     // at least one of the two
  std::vector<std::string> interfaces;  // those that can receive VIP packets
  unsigned workers = 0;                 // 0: one per core
};

struct Limits {
  std::uint64_t connections_max = 10000;
  std::uint32_t connections_per_client_max = 0;      // of one IPv4 address or IPv6 /64; 0: no limit
  std::uint32_t requests_per_connection_max = 0;     // the last is answered with Connection: close; 0: no limit
  std::uint32_t request_head_bytes_max = 32 * 1024;  // 431 beyond
  std::uint32_t request_line_bytes_max = 8 * 1024;   // 414 beyond
  std::uint32_t request_fields_max = 100;            // 431 beyond
  std::uint64_t request_body_bytes_max = 0;          // 413 beyond; 0: no limit
  std::uint32_t request_body_rate_min = 240;         // bytes per second, 408 below; 0: no limit
  std::uint32_t response_head_bytes_max = 64 * 1024;
  std::uint32_t upstream_idle_max = 64;  // idle upstream connections kept per worker
};

// HAProxy's PROXY protocol; off: none is sent.
enum class ProxyProtocol : std::uint8_t { off, v1, v2 };
// Which requests may reach an application twice: sent again by an heir (PROTOCOL.md, the S rule), or after a kept
// connection turned out to be closed.
enum class Replay : std::uint8_t {
  safe,        // RFC 9110 section 9.2.1
  idempotent,  // RFC 9110 section 9.2.2
  keyed,       // these, and whatever carries an Idempotency-Key
  always,
  never,
};

// Where a request goes, and what is done for it. client/route_table chooses.
struct Route {
  std::string host;  // lower case, without port and final dot; "*.example.org": all below; "": any
  std::string path;  // whole segments from the first on: "/api" is not "/apix"; "": any
  std::vector<UpstreamAddress> upstreams{UpstreamAddress{}};  // never empty; in turn
  Replay replay = Replay::idempotent;
  std::uint32_t journal_bytes_max = 64 * 1024;  // of a response, kept in the record; 0: none is
  bool checkpoints = true;                      // digests of larger responses without a strong validator
  std::uint32_t verify_tail = 0;                // bytes before the cursor that a range is compared with
  struct WebSocket {
    bool resume = true;              // where the application opts in
    std::uint32_t ping_ms = 30'000;  // 0: no pings of our own
  } websocket;
  std::optional<std::uint32_t> response_ms, request_body_ms;  // in place of those in Timeouts
};

struct Listener {
  std::uint16_t port = 0;
  SessionMode mode = SessionMode::tcp;
  std::vector<Prefix> proxy_protocol_from;  // proxy_protocol.accept_from: whose connections begin with a header
  ProxyProtocol upstream_proxy_protocol = ProxyProtocol::off;
  // The last one takes what no other does: the listener's own `upstream`. Alone in mode tcp. Never empty.
  std::vector<Route> routes{1};
  Limits limits;

  Route& default_route() { return routes.back(); }
  const Route& default_route() const { return routes.back(); }
};

struct Peer {
  NodeId id{};
  std::string name;
  Address underlay;       // VXLAN and liveness datagrams
  TcpEndpoint statesync;  // gRPC
};

struct StateSync {
  TcpEndpoint listen;
  std::string cert_file, key_file, ca_file;
  std::uint16_t liveness_port = 7101;  // UDP, on the underlay addresses
  std::uint32_t liveness_interval_ms = 50;
  std::uint32_t liveness_multiplier = 5;
  std::uint32_t flush_interval_ms = 2;
  bool records_first = true;
  std::uint32_t sync_wait_ms = 5000;       // at start: how long to wait for peers that do not answer before announcing
  std::uint32_t forget_after_ms = 600000;  // PROTOCOL.md, RST to an unknown flow
};

enum class ReturnPath : std::uint8_t { direct, tunnel };

struct Datapath {
  std::uint16_t vxlan_port = 7102;
  std::string vxlan_device = "suture-vx";
  std::uint32_t vni_base = 0x537500;  // low 3 bits 0
  ReturnPath return_path = ReturnPath::direct;
  std::uint32_t fin_mark = 0x10000000;
  std::uint32_t rst_mark = 0x20000000;
  std::uint32_t underlay_mtu = 1500;       // MSS clamp: what fits with the tunnel header
  std::uint32_t owners_max = 1U << 20;     // entries of the kernel's owner map
  std::uint32_t heartbeat_limit_ms = 150;  // below liveness interval x multiplier
  std::uint32_t hint_burst = 20000, hint_per_second = 20000;
  std::uint32_t punt_burst = 2000, punt_per_second = 1000;
};

// Two nodes have no majority without each other: a lone one may claim flows without fence, or must not.
enum class NoFence : std::uint8_t { available, safe };

struct Healing {
  std::uint32_t lease_ms = 0;  // PROTOCOL.md, egress rule 4; 0: midway between heartbeat limit and dead interval
  NoFence no_fence = NoFence::available;
  std::uint32_t first_timeout_ms = 200;  // of a probe or fence; doubles with each try
  std::uint32_t end_grace_ms = 1000;     // from an owner's death until sessions that can only be ended are
  std::uint32_t tries = 3;
  std::uint32_t probe_per_second = 20000;  // after a node's death
};

struct Announce {
  bool enabled = true;
  std::uint32_t table = 199;
  std::uint8_t protocol = 199;
  std::string device = "suture0";
};

struct HealthCheck {
  enum class Type : std::uint8_t { none, tcp, http } type = Type::none;
  UpstreamAddress target;
  std::string path = "/";                             // http
  std::string host;                                   // http; default: the node's name
  ProxyProtocol proxy_protocol = ProxyProtocol::off;  // http; default: as the listener whose application it is
  std::uint32_t interval_ms = 1000, timeout_ms = 1000;
  std::uint32_t rise = 2, fall = 3;
};

struct Timeouts {
  std::uint32_t connect_ms = 3000;        // to the upstream: 504 (502 if refused)
  std::uint32_t request_head_ms = 15000;  // 408
  std::uint32_t request_body_ms = 30000;  // between two reads: 408
  std::uint32_t response_ms = 60000;      // first byte of the response, and between two reads: 504
  std::uint32_t keep_alive_ms = 75000;    // idle client connection
  std::uint32_t upstream_keep_alive_ms = 30000;
  std::uint32_t tcp_idle_ms = 3600000;  // mode tcp and upgraded connections, both directions silent
  std::uint32_t drain_ms = 60000;       // SIGTERM until exit at the latest
  std::uint32_t drain_grace_ms = 500;   // SYNs still accepted after the withdrawal, while routers converge
};

struct Admin {
  TcpEndpoint listen{boost::asio::ip::address_v4::loopback(), 9180};
  bool allow_remote = false;  // without it `listen` must be a loopback address: the endpoint has no authentication
};

// One line per response: client/access_log.
struct AccessLog {
  enum class Format : std::uint8_t { off, common, combined, json } format = Format::off;
  std::string file = "-";  // "-": standard output
};

struct Log {
  log::Level level = log::Level::info;
  log::Format format = log::Format::text;
  AccessLog access;
};

struct Config {
  Node node;
  std::vector<Address> vips;
  std::vector<Listener> listeners;
  std::vector<Peer> peers;
  StateSync statesync;
  Datapath datapath;
  Healing healing;
  Announce announce;
  HealthCheck health;
  Timeouts timeouts;
  Admin admin;
  Log log;
};

// A mistake in a file: "FILE:LINE: message", the message says what would be right.
struct Mistake {
  std::string file;
  int line = 0;  // 1-based; 0: of the file as a whole
  std::string message;
};
std::string to_string(const Mistake& mistake);

struct LoadResult {
  std::optional<Config> config;   // absent if there is any mistake
  std::vector<Mistake> mistakes;  // all of them, in file order
};
// Reads, expands ${ENV}, parses and validates. Never throws; an unreadable file is a mistake at line 0.
LoadResult load_file(const std::string& path);
LoadResult load_text(const std::string& text, const std::string& name);  // `name` stands in for the file's name

}  // namespace suture::config
