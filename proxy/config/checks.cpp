#include <proxy/config/checks.hpp>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <proxy/config/routes.hpp>
#include <proxy/config/values.hpp>

namespace suture::config {
namespace {

// The kernel maps and the steering program are sized for a handful of services, not for a hosting platform.
constexpr std::size_t vips_max = 64;
constexpr std::size_t listeners_max = 64;

std::string indexed(const char* list, std::size_t i, const char* key = "") {
  return std::string(list) + '[' + std::to_string(i) + ']' + (*key == '\0' ? "" : ".") + key;
}

bool is_vip(const Config& c, const Address& address) {
  return std::find(c.vips.begin(), c.vips.end(), address) != c.vips.end();
}

void check_node(Document& d, const Config& c) {
  for (const auto& own : {c.node.underlay4, c.node.underlay6}) {
    if (own && is_vip(c, *own)) {
      d.mistake_at("node.underlay",
                   "node.underlay: " + own->to_string() + " is also a VIP; wanted an address that only this node has");
    }
  }
}

void check_vips(Document& d, const Config& c) {
  if (c.vips.size() > vips_max) d.mistake_at("vips", "vips: more than " + std::to_string(vips_max) + " addresses");
  for (std::size_t i = 0; i < c.vips.size(); ++i) {
    if (std::find(c.vips.begin(), c.vips.begin() + i, c.vips[i]) != c.vips.begin() + i) {
      d.mistake_at(indexed("vips", i), indexed("vips", i) + ": " + c.vips[i].to_string() + " is listed twice");
    }
  }
}

// A connection to one of our own VIP:ports would come back to ourselves.
bool loops(const Config& c, const UpstreamAddress& upstream) {
  const auto* endpoint = std::get_if<TcpEndpoint>(&upstream);
  return endpoint != nullptr && is_vip(c, endpoint->address()) &&
         std::any_of(c.listeners.begin(), c.listeners.end(),
                     [&](const Listener& l) { return l.port == endpoint->port(); });
}

void check_listeners(Document& d, const Config& c) {
  if (c.listeners.size() > listeners_max) {
    d.mistake_at("listeners", "listeners: more than " + std::to_string(listeners_max));
  }
  for (std::size_t i = 0; i < c.listeners.size(); ++i) {
    const auto& listener = c.listeners[i];
    for (std::size_t j = 0; j < i && listener.port != 0; ++j) {
      if (c.listeners[j].port == listener.port) {
        d.mistake_at(indexed("listeners", i, "port"), indexed("listeners", i, "port") + ": " +
                                                          std::to_string(listener.port) + " is also " +
                                                          indexed("listeners", j, "port") + "; ports must differ");
        break;
      }
    }
    check_routes(d, listener, indexed("listeners", i), [&](const UpstreamAddress& to) { return loops(c, to); });
  }
}

void check_peers(Document& d, const Config& c) {
  for (std::size_t i = 0; i < c.peers.size(); ++i) {
    const auto& peer = c.peers[i];
    const auto say = [&](const char* key, const std::string& message) {
      d.mistake_at(indexed("peers", i, key), indexed("peers", i, key) + ": " + message);
    };
    if (to_int(peer.id) != 0 && peer.id == c.node.id) {
      say("id", std::to_string(to_int(peer.id)) + " is this node's own id; wanted another, or no entry for this node");
    }
    for (std::size_t j = 0; j < i; ++j) {
      const auto& other = c.peers[j];
      if (to_int(peer.id) != 0 && peer.id == other.id) {
        say("id", std::to_string(to_int(peer.id)) + " is also " + indexed("peers", j, "id") + "; ids must differ");
      }
      if (!peer.underlay.is_unspecified() && peer.underlay == other.underlay) {
        say("underlay",
            peer.underlay.to_string() + " is also " + indexed("peers", j, "underlay") + "; every node has its own");
      }
      if (peer.statesync.port() != 0 && peer.statesync == other.statesync) {
        say("statesync",
            to_string(peer.statesync) + " is also " + indexed("peers", j, "statesync") + "; every node has its own");
      }
    }
    if (peer.statesync.port() != 0) {
      if (const auto why = not_unicast(peer.statesync.address()); !why.empty()) {
        say("statesync", peer.statesync.address().to_string() + ' ' + why + "; wanted the peer's own address");
      }
    }
    if (peer.underlay == Address{}) continue;  // not given, or wrong: already said
    if (const auto why = not_unicast(peer.underlay); !why.empty()) {
      say("underlay", peer.underlay.to_string() + ' ' + why + "; wanted the peer's own address");
      continue;
    }
    const auto& own = peer.underlay.is_v4() ? c.node.underlay4 : c.node.underlay6;
    if (!own && (c.node.underlay4 || c.node.underlay6)) {
      const char* family = peer.underlay.is_v4() ? "IPv4" : "IPv6";
      say("underlay", std::string("is ") + family + ", but node.underlay has no " + family +
                          " address to reach it from; add one there or use the other family here");
    }
    if (own && *own == peer.underlay)
      say("underlay", peer.underlay.to_string() + " is this node's own underlay address");
    if (is_vip(c, peer.underlay))
      say("underlay", peer.underlay.to_string() + " is a VIP; wanted the peer's own address");
  }
}

void check_readable(Document& d, const char* path, const std::string& file, const char* hint) {
  if (file.empty()) return;
  const int fd = ::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  struct stat info {};
  std::string why;
  if (fd < 0 || ::fstat(fd, &info) != 0) {
    why = std::strerror(errno);
  } else if (!S_ISREG(info.st_mode)) {
    why = "not a regular file";
  } else if (info.st_size == 0) {
    why = "the file is empty";
  }
  if (fd >= 0) ::close(fd);
  if (!why.empty()) d.mistake_at(path, std::string(path) + ": cannot read " + file + ": " + why + "; " + hint);
}

void check_statesync(Document& d, const Config& c) {
  const auto& s = c.statesync;
  check_readable(d, "statesync.cert_file", s.cert_file, "suture pki node DIR NAME ID makes it");
  check_readable(d, "statesync.key_file", s.key_file, "it lies beside the certificate and must be readable to suture");
  check_readable(d, "statesync.ca_file", s.ca_file, "suture pki init DIR makes it");
  if (is_vip(c, s.listen.address())) {
    d.mistake_at("statesync.listen", "statesync.listen: " + s.listen.address().to_string() +
                                         " is a VIP; wanted an address that only this node has");
  }
  for (const auto& listener : c.listeners) {
    if (s.listen.port() != 0 && s.listen.address().is_unspecified() && listener.port == s.listen.port()) {
      d.mistake_at("statesync.listen", "statesync.listen: port " + std::to_string(listener.port) +
                                           " on every address takes it from the listener of the same port; name one "
                                           "address or use another port");
    }
  }
  if (s.liveness_port == c.datapath.vxlan_port) {
    d.mistake_between("statesync.liveness_port", "datapath.vxlan_port",
                      "statesync.liveness_port: " + std::to_string(s.liveness_port) +
                          " is also datapath.vxlan_port; both are UDP, wanted two ports");
  }
}

void check_datapath(Document& d, const Config& c) {
  const auto& p = c.datapath;
  if (p.vxlan_port == 4789 || p.vxlan_port == 8472) {
    d.mistake_at("datapath.vxlan_port",
                 "datapath.vxlan_port: " + std::to_string(p.vxlan_port) +
                     (p.vxlan_port == 4789 ? " is the standard VXLAN port of other overlays (Docker Swarm, OVS)"
                                           : " is the Linux default, used by Flannel and Cilium") +
                     ", whose devices would take our packets; wanted another, e.g. 7102");
  }
  if ((p.vni_base & 7U) != 0) {
    d.mistake_at("datapath.vni_base",
                 "datapath.vni_base: the low 3 bits hold the packet's kind and must be 0; wanted "
                 "a multiple of 8");
  }
  for (const auto& [path, mark] :
       {std::pair{"datapath.fin_mark", p.fin_mark}, std::pair{"datapath.rst_mark", p.rst_mark}}) {
    if (!std::has_single_bit(mark)) {
      d.mistake_at(path, std::string(path) +
                             ": wanted exactly one bit, e.g. 0x10000000; the others belong to other "
                             "users of packet marks");
    }
  }
  if (p.fin_mark == p.rst_mark) {
    d.mistake_between("datapath.rst_mark", "datapath.fin_mark",
                      "datapath.rst_mark: the same bit as datapath.fin_mark; a socket that may send a "
                      "FIN could then send an RST too, wanted another bit");
  }
  const std::uint64_t dead_ms = std::uint64_t{c.statesync.liveness_interval_ms} * c.statesync.liveness_multiplier;
  if (p.heartbeat_limit_ms >= dead_ms) {
    const char* other =
        d.gives("statesync.liveness_interval_ms") ? "statesync.liveness_interval_ms" : "statesync.liveness_multiplier";
    d.mistake_between("datapath.heartbeat_limit_ms", other,
                      "datapath.heartbeat_limit_ms: " + std::to_string(p.heartbeat_limit_ms) +
                          " is not below statesync.liveness_interval_ms x liveness_multiplier = " +
                          std::to_string(dead_ms) + "; a stalled node must fall silent before its peers call it dead");
  }
  const std::uint32_t lease = c.healing.lease_ms;
  if (lease != 0 && (lease < p.heartbeat_limit_ms || lease >= dead_ms)) {
    d.mistake_at("healing.lease_ms",
                 "healing.lease_ms: " + std::to_string(lease) +
                     " must be at least datapath.heartbeat_limit_ms = " + std::to_string(p.heartbeat_limit_ms) +
                     " and below statesync.liveness_interval_ms x liveness_multiplier = " + std::to_string(dead_ms) +
                     "; leave it out and it is midway");
  }
}

void check_devices(Document& d, const Config& c) {
  const auto& interfaces = c.node.interfaces;
  for (const auto& [path, name] :
       {std::pair{"datapath.vxlan_device", c.datapath.vxlan_device}, std::pair{"announce.device", c.announce.device}}) {
    if (std::find(interfaces.begin(), interfaces.end(), name) != interfaces.end()) {
      d.mistake_at(path, std::string(path) + ": " + name +
                             " is also in node.interfaces; wanted a new name, suture "
                             "makes this device itself");
    }
  }
  if (c.datapath.vxlan_device == c.announce.device) {
    d.mistake_between("announce.device", "datapath.vxlan_device",
                      "announce.device: " + c.announce.device + " is also datapath.vxlan_device; wanted two names");
  }
}

void check_announce(Document& d, const Config& c) {
  if (c.announce.table >= 253 && c.announce.table <= 255) {
    d.mistake_at("announce.table", "announce.table: " + std::to_string(c.announce.table) +
                                       " is one of the kernel's own (253 default, 254 main, 255 local), which would "
                                       "route our own packets; wanted a table of its own, e.g. 199");
  }
  // rtnetlink.h: 1-4 redirect, kernel, boot, static; 11 zebra, 12 bird: a daemon does not learn its own routes.
  if (c.announce.protocol < 5 || c.announce.protocol == 11 || c.announce.protocol == 12) {
    d.mistake_at("announce.protocol", "announce.protocol: " + std::to_string(c.announce.protocol) +
                                          " belongs to the kernel, zebra or BIRD, which would not learn the route; "
                                          "wanted another, e.g. 199");
  }
}

void check_health(Document& d, const Config& c) {
  if (c.health.type == HealthCheck::Type::none) return;
  if (loops(c, c.health.target) && d.gives("health.target")) {
    d.mistake_at("health.target", "health.target: " + to_string(c.health.target) +
                                      " is a VIP and port of this proxy itself; wanted the application's own address");
  }
}

void check_admin(Document& d, const Config& c) {
  const auto& a = c.admin;
  if (!a.listen.address().is_loopback() && !a.allow_remote) {
    d.mistake_at("admin.listen", "admin.listen: " + to_string(a.listen) +
                                     " is not a loopback address, and the admin endpoint has no authentication; wanted "
                                     "127.0.0.1:9180, or admin.allow_remote: true behind a firewall");
  }
  if (is_vip(c, a.listen.address())) {
    d.mistake_at("admin.listen", "admin.listen: " + a.listen.address().to_string() + " is a VIP");
  }
  if (a.listen == c.statesync.listen)
    d.mistake_between("admin.listen", "statesync.listen", "admin.listen: is also statesync.listen; wanted two");
}

void check_access_log(Document& d, const Config& c) {
  const std::string& file = c.log.access.file;
  if (c.log.access.format == AccessLog::Format::off || !file.starts_with('/')) return;
  const std::string folder = file.substr(0, std::max<std::size_t>(1, file.rfind('/')));
  struct stat info {};
  const bool there = ::stat(folder.c_str(), &info) == 0;
  const bool is_folder = ::stat(file.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
  if (!there) {
    d.mistake_at("log.access.file", "log.access.file: cannot write " + file + ": " + folder + ": " +
                                        std::strerror(errno) + "; wanted a file in a folder that exists");
  } else if (is_folder) {
    d.mistake_at("log.access.file", "log.access.file: " + file + " is a folder; wanted a file in it");
  }
}

}  // namespace

void check_config(Document& document, const Config& config) {
  check_node(document, config);
  check_vips(document, config);
  check_listeners(document, config);
  check_peers(document, config);
  check_statesync(document, config);
  check_datapath(document, config);
  check_devices(document, config);
  check_announce(document, config);
  check_health(document, config);
  check_admin(document, config);
  check_access_log(document, config);
}

}  // namespace suture::config
