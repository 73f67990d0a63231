// The admin endpoint's pages about this node: what they show, as JSON. No HTTP here (admin/admin_server), no state of
// its own.
#pragma once

#include <cstddef>
#include <string>

#include <statesync/service.hpp>

#include "proxy/config/config.hpp"

namespace suture::pages {

struct NodeView {
  const config::Config& config;
  const statesync::StateSync& sync;
  Incarnation incarnation = 0;
  bool announcing = false;
  bool draining = false;
  std::size_t active_sessions = 0;
  std::string metrics_json;  // {"name{labels}": value, ...}
};

// GET /stats: node, state, peers, counters.
std::string stats(const NodeView& view);
// GET /peers: one object a peer, as statesync sees it.
std::string peers(const NodeView& view);
// GET /sessions?limit=: the directory's records, this node's own first.
std::string sessions(const NodeView& view, std::size_t limit);
// GET /config: the main parts of what is in force, without secrets (paths of keys, not keys).
std::string config(const NodeView& view);

}  // namespace suture::pages
