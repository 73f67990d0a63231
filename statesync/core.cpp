#include <statesync/core.hpp>

#include <suture/log.hpp>

namespace suture::statesync {
namespace {

std::vector<NodeId> ids_of(const std::vector<PeerOptions>& peers) {
  std::vector<NodeId> ids;
  for (const auto& peer : peers) ids.push_back(peer.id);
  return ids;
}

}  // namespace

Core::Core(Options opts, std::unique_ptr<PeerTransport> link, OwnerMap& map, SlotClock& slot)
    : options(std::move(opts)),
      transport(std::move(link)),
      slot_clock(slot),
      directory({options.id, options.incarnation, options.records_max}, map,
                {.on_claimed = [this](const SessionRecord& theirs) { on_claimed(theirs); },
                 .on_own_restored = [this](const suture_flow_key& own) { on_own_restored(own); },
                 .on_owner_changed = [this](const suture_flow_key& flow,
                                            const SessionRecord* standing) { on_owner_changed(flow, standing); },
                 .on_orphan = [this](const SessionRecord& record, TimePoint updated) { on_orphan(record, updated); }}),
      clock({.self = options.id, .start_offset_ms = options.slot_offset_start_ms}, slot),
      peer_clocks(options.forget_after),
      membership(
          {.self = options.id, .peers = ids_of(options.peers), .two_node_available = options.two_node_available}),
      liveness({.self = options.id,
                .incarnation = options.incarnation,
                .secret = secret,
                .interval = options.liveness_interval,
                .multiplier = options.liveness_multiplier,
                .stall_limit = options.stall_limit},
               {.on_up = [this](NodeId id, Incarnation incarnation) { on_alive(id, incarnation, true); },
                .on_down = [this](NodeId id, Incarnation incarnation) { on_alive(id, incarnation, false); },
                .on_heard = [this](const Datagram& datagram, TimePoint now) { on_heard(datagram, now); },
                .on_answer = [this](const Datagram& datagram) { on_answer(datagram); },
                .delivered_ms = [this](NodeId id, TimePoint now) { return delivered_ms(id, now); }}) {
  for (auto& limiter : limiters_) limiter = std::make_unique<LogLimiter>();
}

Hello Core::hello(NodeId peer) const {
  Hello hello;
  hello.node = options.id;
  hello.name = options.name;
  hello.incarnation = options.incarnation;
  hello.liveness_key = hello_key(secret, peer);
  const auto& underlay = options.underlay4 ? options.underlay4 : options.underlay6;
  if (underlay) {
    hello.liveness_endpoint = underlay->is_v6() ? '[' + underlay->to_string() + ']' : underlay->to_string();
    hello.liveness_endpoint += ':' + std::to_string(options.liveness_port);
  }
  return hello;
}

std::optional<LinkError> Core::learn(NodeId peer, Incarnation incarnation, const LivenessKey& peer_key) {
  const auto name = "node " + std::to_string(to_int(peer));
  const auto alive = liveness.alive_incarnation(peer);
  if (alive && *alive != incarnation) {
    return LinkError{Refusal::duplicate_id,
                     name + " incarnation " + std::to_string(incarnation) + ": incarnation " + std::to_string(*alive) +
                         " of the same id is alive or was a moment ago; two nodes must not share an id"};
  }
  const auto known = liveness.known_key(peer, incarnation);
  if (known && *known != peer_key) {
    return LinkError{Refusal::incarnation_reused,
                     name + ": another process had incarnation " + std::to_string(incarnation) +
                         " of the same id (both started within a tenth of a second?); start again"};
  }
  if (!known) {
    log::info("peer_incarnation", {{"peer", to_int(peer)}, {"incarnation", incarnation}});
    liveness.set_peer(peer, incarnation, peer_key, Clock::now());
    heard_of(peer);
    changed(peer);
  }
  return std::nullopt;
}

void Core::refused(const char* event, unsigned peer, const std::string& remote, const LinkError& error) {
  const auto reason = static_cast<std::size_t>(error.reason);
  refusals[reason].add();
  std::uint64_t suppressed = 0;
  if (!limiters_[reason]->allow(static_cast<std::uint8_t>(peer), Clock::now(), suppressed)) return;
  log::warn(event, {{"peer", peer == 0 ? "unknown" : std::to_string(peer)},
                    {"remote", remote},
                    {"reason", to_string(error.reason)},
                    {"detail", error.text},
                    {"suppressed", suppressed}});
}

}  // namespace suture::statesync
