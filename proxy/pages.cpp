#include "proxy/pages.hpp"

#include <algorithm>
#include <sstream>
#include <vector>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

namespace suture::pages {
namespace {

namespace json = boost::json;

const char* name_of(SessionMode mode) {
  return mode == SessionMode::http ? "http" : "tcp";
}

const char* name_of(config::Replay replay) {
  switch (replay) {
    case config::Replay::safe:
      return "safe";
    case config::Replay::idempotent:
      return "idempotent";
    case config::Replay::keyed:
      return "keyed";
    case config::Replay::always:
      return "always";
    case config::Replay::never:
      return "never";
  }
  return "";
}

template <class T>
std::string text(const T& value) {
  std::ostringstream out;
  out << value;
  return out.str();
}

json::object describe(const SessionRecord& record, const statesync::StateSync& sync) {
  json::object out;
  out["client"] = text(client_of(record.facts.key));
  out["vip"] = text(vip_of(record.facts.key));
  out["mode"] = name_of(record.mode);
  out["owner"] = to_int(record.owner);
  out["own"] = sync.directory().is_own(record);
  out["living"] = sync.directory().is_own(record) || sync.directory().living(record.owner, record.incarnation);
  out["incarnation"] = record.incarnation;
  out["epoch"] = record.epoch;
  out["in_known"] = record.in_known;
  out["out_sent"] = record.out_sent;
  out["out_acked"] = record.out_acked;
  out["timestamps"] = record.facts.timestamps;
  out["hint"] = record.facts.hint;
  if (record.http) {
    out["phase"] = static_cast<unsigned>(record.http->phase);
    out["exchanges"] = record.http->exchanges;
  }
  return out;
}

json::object describe(const config::Route& route) {
  json::array upstreams;
  for (const auto& upstream : route.upstreams) upstreams.emplace_back(config::to_string(upstream));
  json::object out{{"host", route.host},
                   {"path", route.path},
                   {"upstream", std::move(upstreams)},
                   {"replay", name_of(route.replay)},
                   {"journal_bytes_max", route.journal_bytes_max},
                   {"checkpoints", route.checkpoints},
                   {"verify_tail", route.verify_tail},
                   {"websocket", {{"resume", route.websocket.resume}, {"ping_ms", route.websocket.ping_ms}}}};
  if (route.response_ms) out["response_ms"] = *route.response_ms;
  if (route.request_body_ms) out["request_body_ms"] = *route.request_body_ms;
  return out;
}

json::array peer_list(const statesync::StateSync& sync) {
  json::array out;
  for (const auto& peer : sync.peers()) {
    json::object o;
    o["id"] = to_int(peer.id);
    o["name"] = peer.name;
    o["underlay"] = peer.underlay.to_string();
    o["alive"] = peer.alive;
    o["synced"] = peer.synced;
    o["hint_ok"] = peer.hint_ok;
    o["draining"] = peer.draining;
    o["sending"] = peer.sending;
    o["receiving"] = peer.receiving;
    o["incarnation"] = peer.incarnation;
    o["clock_apart_ms"] = peer.clock_apart_ms;
    o["records"] = peer.records;
    o["queue"] = peer.queue;
    o["lag_seconds"] = peer.lag_seconds;
    out.push_back(std::move(o));
  }
  return out;
}

}  // namespace

std::string stats(const NodeView& view) {
  json::object out;
  out["version"] = SUTURE_VERSION;
  out["node"] = {
      {"id", to_int(view.config.node.id)}, {"name", view.config.node.name}, {"incarnation", view.incarnation}};
  out["announcing"] = view.announcing;
  out["draining"] = view.draining;
  out["synchronised"] = view.sync.synchronised();
  out["active_sessions"] = view.active_sessions;
  out["directory_sessions"] = view.sync.directory().size();
  out["peers"] = peer_list(view.sync);
  boost::system::error_code failed;
  auto metrics = json::parse(view.metrics_json, failed);
  if (!failed) out["metrics"] = std::move(metrics);
  return json::serialize(out);
}

std::string peers(const NodeView& view) {
  return json::serialize(peer_list(view.sync));
}

std::string sessions(const NodeView& view, std::size_t limit) {
  std::vector<const SessionRecord*> own, others;
  view.sync.directory().for_each([&](const SessionRecord& record) {
    auto& list = view.sync.directory().is_own(record) ? own : others;
    if (list.size() < limit) list.push_back(&record);
  });
  others.resize(std::min(others.size(), limit - own.size()));
  own.insert(own.end(), others.begin(), others.end());
  json::array described;
  for (const auto* record : own) described.push_back(describe(*record, view.sync));
  return json::serialize(json::object{{"total", view.sync.directory().size()}, {"sessions", std::move(described)}});
}

std::string config(const NodeView& view) {
  const auto& c = view.config;
  json::object out;
  json::object node{{"id", to_int(c.node.id)}, {"name", c.node.name}, {"workers", c.node.workers}};
  json::array interfaces;
  for (const auto& name : c.node.interfaces) interfaces.emplace_back(name);
  node["interfaces"] = std::move(interfaces);
  if (c.node.underlay4) node["underlay4"] = c.node.underlay4->to_string();
  if (c.node.underlay6) node["underlay6"] = c.node.underlay6->to_string();
  out["node"] = std::move(node);
  json::array vips;
  for (const auto& vip : c.vips) vips.emplace_back(vip.to_string());
  out["vips"] = std::move(vips);
  json::array listeners;
  for (const auto& listener : c.listeners) {
    json::array routes;
    for (const auto& route : listener.routes) routes.push_back(describe(route));
    listeners.push_back(
        json::object{{"port", listener.port}, {"mode", name_of(listener.mode)}, {"routes", std::move(routes)}});
  }
  out["listeners"] = std::move(listeners);
  out["datapath"] = {{"vxlan_port", c.datapath.vxlan_port},
                     {"return_path", c.datapath.return_path == config::ReturnPath::direct ? "direct" : "tunnel"},
                     {"underlay_mtu", c.datapath.underlay_mtu}};
  out["statesync"] = {{"listen", text(c.statesync.listen)},
                      {"liveness_interval_ms", c.statesync.liveness_interval_ms},
                      {"liveness_multiplier", c.statesync.liveness_multiplier},
                      {"flush_interval_ms", c.statesync.flush_interval_ms},
                      {"records_first", c.statesync.records_first}};
  out["announce"] = {{"enabled", c.announce.enabled}, {"table", c.announce.table}, {"device", c.announce.device}};
  return json::serialize(out);
}

}  // namespace suture::pages
