// State sync of one node: its own records to every peer, every peer's records into the directory, two-way liveness, the
// slot clock. Everything here runs on the control io_context's one thread, except the RecordSinks, of which each
// belongs to one worker thread.
//
// Order of calls: construct → set_* callbacks → register_metrics → start() → ... → stop(). sink(i) may be taken at any
// time after construction. At the end: no worker writes any more → run the io_context until flushed(), bounded →
// stop(), or the last changes (ends of sessions above all) never reach the peers. stop() closes links and sockets and
// returns when no callback can come any more; it is called on the control thread (or after io_context::run() has
// returned), before destruction.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/address.hpp>
#include <boost/asio/ip/tcp.hpp>

#include <statesync/directory.hpp>
#include <statesync/liveness_wire.hpp>
#include <statesync/messages.hpp>
#include <statesync/peer_clocks.hpp>
#include <statesync/peer_link.hpp>
#include <statesync/record.hpp>
#include <suture/clock.hpp>
#include <suture/metrics.hpp>
#include <suture/owner_map.hpp>
#include <suture/result.hpp>

namespace suture::statesync {

struct PeerOptions {
  NodeId id{};
  std::string name;                          // for logs until its Hello says its own
  boost::asio::ip::address underlay;         // liveness datagrams go there
  boost::asio::ip::tcp::endpoint statesync;  // we dial it there
};

struct Options {
  NodeId id{};
  std::string name;
  Incarnation incarnation = 0;  // grows with every start of this id
  std::vector<PeerOptions> peers;
  std::optional<boost::asio::ip::address> underlay4, underlay6;  // liveness sockets bind to these
  std::uint16_t liveness_port = 7101;
  Millis liveness_interval{50};
  std::uint32_t liveness_multiplier = 5;
  Millis stall_limit{150};  // our own loop was silent for longer: drain before judging (config: heartbeat_limit_ms)
  Millis flush_interval{2};
  bool records_first = true;  // RecordSink::hurry() has an effect
  Millis sync_wait{5000};
  Millis forget_after{600000};
  Millis redial_min{100}, redial_max{3000};
  Millis refused_grace{3000};  // a refusal of our own id must last this long before on_id_refused is called
  unsigned workers = 1;
  std::size_t records_max = 1U << 20;
  std::uint64_t slot_offset_start_ms = 0;  // our slot clock's offset until a peer's clock is known
  // Two nodes have no majority without each other (PROTOCOL.md, `no_fence: available | safe`). True: a node that is
  // alone counts as one.
  bool two_node_available = true;
};

// What the rest of the node knows of a peer. Links: `sending` is the stream that we dialed, `receiving` the peer's.
struct PeerState {
  NodeId id{};
  std::string name;
  boost::asio::ip::address underlay;
  Incarnation incarnation = 0;  // the newest that we heard; 0: never heard since our start
  bool alive = false;           // two-way liveness, this incarnation
  bool synced = false;          // its snapshot was applied and its stream is up
  bool hint_ok = false;         // alive, and its slot clock agrees with ours within limits::clock_hint_apart_max
  bool draining = false;
  bool sending = false;
  bool receiving = false;
  std::int64_t clock_apart_ms = 0;  // its slot clock - ours, when last heard
  std::size_t records = 0;          // of its own, in our directory
  std::size_t queue = 0;            // changes that it does not have yet
  double lag_seconds = 0;           // age of the oldest of them
  bool caught_up = false;           // alive, and what it claimed while we did not hear each other is applied here
  bool operator==(const PeerState&) const = default;
};

class StateSync {
 public:
  // `transport` is the gRPC one (grpc_link.hpp: make_grpc_transport) or a test's. `map`, `slot_clock` and `io` must
  // outlive this object.
  StateSync(Options options, std::unique_ptr<PeerTransport> transport, OwnerMap& map, SlotClock& slot_clock,
            boost::asio::io_context& io);
  ~StateSync();
  StateSync(const StateSync&) = delete;
  StateSync& operator=(const StateSync&) = delete;

  // Alive, synced, hint_ok, draining or the incarnation of a peer changed. Never called from inside another call into
  // this object, except start() and stop().
  void set_on_peer_change(std::function<void(const PeerState&)> callback);
  // An authenticated answer of a living peer to a datapath's question about a flow.
  void set_on_answer(std::function<void(NodeId peer, const suture_flow_key& key, Answer answer)> callback);
  // Peers persistently refuse our id (another process has it): once, with the reason. The node exits or stays
  // withdrawn.
  void set_on_id_refused(std::function<void(const std::string& reason)> callback);
  // synchronised() became true (once).
  void set_on_synchronised(std::function<void()> callback);
  // Our own loop was stuck for that long (SIGSTOP, overload): called before any peer is judged.
  void set_on_stall(std::function<void(Millis stalled)> callback);

  // A peer's claim of a session that we own, and whose record is in the directory: one of ours superseded, or contended
  // with by a claim of at least its epoch. Told again only when the claim's owner, epoch or fence changes. The owner
  // freezes and probes; to take the flow back it writes a record with claim_epoch(), fenced anew if theirs is fenced.
  void set_on_claimed(std::function<void(const SessionRecord& theirs)> callback);
  // The flow's record was one of a dead owner; now another stands (somebody's claim, ours included), or none (null).
  // Called from inside the directory's update: only const calls into this object.
  void set_on_owner_changed(std::function<void(const suture_flow_key& key, const SessionRecord* standing)> callback);
  // Directory::Events::on_orphan, once synchronised; what came before: Directory::dead_owners().
  void set_on_orphan(std::function<void(const SessionRecord& record, TimePoint updated)> callback);

  // Binds the liveness sockets and the statesync listener, and begins to dial. An error leaves everything stopped.
  Result<void> start();
  void stop();

  RecordSink& sink(unsigned worker);  // worker < options.workers; used on that worker's thread only

  // Every change handed to a sink is applied at every living peer. What waits for a living peer's broken stream may
  // wait for ever, so the caller bounds its patience; peers that are not alive hold nobody up (they will take a
  // snapshot).
  bool flushed() const;

  // The client of a dead owner's session is gone: no node need heal it any more. Told to the peers as a claim of ours
  // that ends a moment later. No effect on sessions of living nodes.
  void end_session(const suture_flow_key& key);
  // Our own record of a session that we gave away and could not take back.
  void forget_own(const suture_flow_key& key);

  // Best effort, one datagram: the asker repeats its question if it is lost. False: the peer is not reachable.
  bool send_answer(NodeId peer, const suture_flow_key& key, Answer answer);

  // Every reachable peer's snapshot was applied; a peer that stayed silent for sync_wait since start does not count.
  // Stays true. Until then a starting node does not announce.
  bool synchronised() const;
  std::vector<std::string> sync_waits_for() const;  // names of the peers that still hold synchronised() up
  // PROTOCOL.md, "RST to an unknown flow": every configured peer that was alive within forget_after is in sync. A peer
  // that was not heard since our start counts as possibly alive until forget_after has passed since our start.
  bool may_reset() const;
  // Every configured peer is in sync, or has not been alive for so long, here and to every peer that is.
  bool complete_but_for_dead(Millis dead_for) const;
  void set_draining(bool draining);  // told to the peers in liveness datagrams

  // PROTOCOL.md, "Cut off". "Alive": in two-way liveness.
  bool majority() const;                  // the living nodes, ourselves included, are more than half of the configured
  bool heard_by_any(NodeId owner) const;  // a living third node is in two-way liveness with `owner` (any incarnation)
  bool caught_up(NodeId peer) const;      // PeerState::caught_up
  bool caught_up_all_alive() const;       // after a stall: what was claimed meanwhile is known. The caller bounds its
                                          // patience: a peer whose stream is broken says nothing
  bool cut_off() const;                   // no majority of nodes that are alive and caught up; or our loop is stuck
  Epoch claim_epoch(const suture_flow_key& key) const;  // for a claim: above every epoch heard of its connection
  // The TSval that the owner of `record` would send now (PROTOCOL.md, probe and fence). Nothing: we never heard that
  // incarnation, or not within forget_after.
  std::optional<FormerClock> former_clock(const SessionRecord& record, TimePoint now) const;

  std::vector<PeerState> peers() const;
  std::optional<PeerState> peer(NodeId id) const;
  const Directory& directory() const;
  void register_metrics(MetricsRegistry& registry);  // scraped on the control thread

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace suture::statesync
