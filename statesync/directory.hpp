// All sessions of all nodes, as far as we know, and the one writer of the kernel's owner map. Sans-I/O;
// single-threaded, on the control thread; time comes in as a parameter.
//
// Records of other nodes are in the owner map, our own are not (the local socket decides for them). A record of our own
// id but of an earlier incarnation counts as another node's: its owner is dead.
//
// Which record stands when two owners have one flow (supersedes()). Of one connection (same initial sequence numbers),
// PROTOCOL.md "Probe, fence, claim" 3:
//   1. both fenced: the later fence, in serial order, whatever the epochs: it is the only one that the client accepts
//   2. one fenced: that one, unless the other has a higher epoch (a frozen owner that saw its own echo: epoch + 1)
//   3. else the higher (epoch, id, incarnation): the same everywhere, whoever is alive for whom
// Of different connections, or where the numbers are unknown:
//   4. our own: its socket is here
//   5. a living owner's before a dead one's
//   6. the higher (epoch, id, incarnation)
// The loser waits behind the winner (one per flow) and comes back when the winner is erased; but not a dead owner's
// record whose claimant has ended the session, and not a lower claim to a session that we own (refused).
//
// A record that takes, or may take, one of our own sessions (contention) is told through Events::on_claimed. Our own
// record then waits as the loser, and none displaces it there; a state with a claim_epoch() takes the flow back.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <tuple>
#include <utility>
#include <vector>

#include <boost/unordered/unordered_flat_map.hpp>
#include <boost/unordered/unordered_flat_set.hpp>

#include <statesync/record.hpp>
#include <suture/clock.hpp>
#include <suture/ids.hpp>
#include <suture/metrics.hpp>
#include <suture/owner_map.hpp>

namespace suture::statesync {

enum class Applied : std::uint8_t {
  stored_new,     // the flow, or this session of it, was unknown
  stored,         // a newer state of a known session
  older,          // we have something newer, or the conflict rule prefers another owner
  not_owner,      // the sender may not speak for this owner
  full,           // records_max reached
  lower_claim,    // of a connection that we own by a better claim: refused
  epoch_jump,     // an epoch so far above all that we know that no series of claims explains it: refused
  contradictory,  // it takes back what its owner said of the same session before: refused, and the session only ended
  count_
};

// True: `a` stands, `b` does not. The two are of one flow key and of different owners or incarnations. Rule 4 is not in
// it: it depends on who asks.
bool supersedes(const SessionRecord& a, bool a_living, const SessionRecord& b, bool b_living);
// False as well where initial sequence numbers are unknown (both 0).
bool same_connection(const SessionRecord& a, const SessionRecord& b);

// Every claim adds 1: a record more than this above the highest epoch known of its connection is refused.
inline constexpr std::uint32_t kEpochJumpMax = 1U << 16;

class Directory {
 public:
  struct Options {
    NodeId self{};
    Incarnation incarnation = 0;
    std::size_t records_max = 1U << 20;
  };
  // Called from inside the changing call: they must not change the directory. Any may be empty.
  struct Events {
    // `theirs` supersedes our own live session's record, or contends with it: a claim of at least our epoch. Told again
    // only when its owner, epoch or fence changes.
    std::function<void(const SessionRecord& theirs)> on_claimed;
    // Our own record stands again because what superseded it is gone: peers may hold an older state of it.
    std::function<void(const suture_flow_key&)> on_own_restored;
    // The flow's record was a dead owner's; now another stands, or none (null).
    std::function<void(const suture_flow_key&, const SessionRecord* standing)> on_owner_changed;
    // A dead owner's record stands that did not before: from a third node's snapshot, or again after a claimant's.
    std::function<void(const SessionRecord&, TimePoint updated)> on_orphan;
  };
  Directory(Options options, OwnerMap& map, Events events = {});

  // Our own sessions, from the workers, adopted ones included. A session that replaces an older one of the same key is
  // stored_new; `older`: another's claim stands, ours waits behind it.
  Applied upsert_own(const SessionRecord& record, TimePoint now);
  bool erase_own(const suture_flow_key& key, std::uint64_t session_id);  // false: no such session (any more)

  // From `peer`'s stream. In a snapshot it may also speak for third nodes, and for our own former incarnations, whose
  // owners are not living here; then only what is newer than ours is taken.
  Applied apply_remote(NodeId peer, Incarnation incarnation, SessionRecord record, TimePoint now);
  // Whichever session of that owner we hold. False: none.
  bool erase_remote(NodeId peer, Incarnation incarnation, const suture_flow_key& key);
  // Between the two every record of the sender's own sessions is marked; those it did not name are removed at the end
  // (returns how many). A snapshot that was begun and not ended removes nothing.
  void snapshot_begin(NodeId peer);
  void snapshot_abort(NodeId peer);  // the stream broke
  std::size_t snapshot_end(NodeId peer, Incarnation incarnation);

  // Liveness verdicts. Another incarnation of `node` than the given one is not living from here on.
  void node_living(NodeId node, Incarnation incarnation, TimePoint now);
  void node_not_living(NodeId node, TimePoint now);
  bool living(NodeId node, Incarnation incarnation) const;
  // Absent: it lives. max(): another incarnation of it does.
  std::optional<Millis> dead_for(NodeId node, Incarnation incarnation, TimePoint now) const;
  std::vector<std::pair<NodeId, Incarnation>> dead_owners() const;  // whose records may be here
  // Removes the records of owners that have not been living for `after`. Returns how many.
  std::size_t forget_dead(TimePoint now, Millis after);

  const SessionRecord* find(const suture_flow_key& key) const;         // valid until the next non-const call
  const SessionRecord* find_own(const suture_flow_key& key) const;     // also one that waits behind a claim
  std::optional<TimePoint> updated(const suture_flow_key& key) const;  // when the standing record's last state came
  // For a claim of this flow: one above every epoch heard of its connection.
  Epoch claim_epoch(const suture_flow_key& key) const;
  bool is_own(const SessionRecord& record) const;
  void for_each(const std::function<void(const SessionRecord&)>& visit) const;
  // Of one incarnation, with the time of its last state here: the most recently active first is the caller's to sort.
  void for_each_of(NodeId owner, Incarnation incarnation,
                   const std::function<void(const SessionRecord&, TimePoint updated)>& visit) const;
  std::size_t size() const { return entries_.size(); }
  std::size_t size_of(NodeId owner) const { return per_owner_[to_int(owner)]; }  // every incarnation

  void register_metrics(MetricsRegistry& registry);
  const Counter& applied(Applied outcome) const { return applied_[static_cast<std::size_t>(outcome)]; }

 private:
  struct Entry {
    SessionRecord record;
    std::uint64_t mark = 0;  // of the sender's snapshot that named it last
    TimePoint updated{};
    Epoch epoch_max = 0;           // of this connection, from whomever; not used in losers
    std::unique_ptr<Entry> loser;  // of another owner; never in the map, has no loser itself
    bool in_map = false;
    bool contradicted = false;  // Applied::contradictory
  };
  using Entries = boost::unordered_flat_map<suture_flow_key, std::unique_ptr<Entry>, FlowKeyHash>;

  Applied count(Applied outcome);
  Applied place(SessionRecord record, TimePoint now);
  static bool contradicts(const Entry& known, const SessionRecord& record);
  bool erase(const suture_flow_key& key, const std::function<bool(const SessionRecord&)>& is_it);
  bool stands(const SessionRecord& a, const SessionRecord& b) const;
  void note_epoch(Entry& entry, const SessionRecord& record);
  void replace(Entry& entry, Entry next);
  void keep_loser(Entry& entry, Entry loser);
  enum class Removal : std::uint8_t { ended, forgotten };
  void remove(Entries::iterator it, Removal why);
  void tell_claim(const SessionRecord& theirs);
  void tell_claim_if_contested(const Entry& entry);
  void tell_if_restored(const Entry& entry);
  void publish(Entry& entry, bool owner_changed);
  void note_owner(const SessionRecord& record, TimePoint now);
  bool living(const SessionRecord& record) const { return living(record.owner, record.incarnation); }

  Options options_;
  OwnerMap& map_;
  Events events_;
  Entries entries_;
  std::array<std::size_t, 256> per_owner_{};
  std::array<std::uint64_t, 256> marks_{};
  std::array<bool, 256> in_snapshot_{};
  std::array<Incarnation, 256> living_{};  // 0: not living
  std::map<std::pair<NodeId, Incarnation>, TimePoint> dead_since_;
  // Keys of records that a third node told of an owner that did not live. If it lives after all, it says what is true
  // of them: it may have ended them before, and will not say so again.
  boost::unordered_flat_set<suture_flow_key, FlowKeyHash> hearsay_;
  // What on_claimed has told of own sessions: owner, incarnation, epoch, fence.
  using Told = std::tuple<NodeId, Incarnation, Epoch, std::uint32_t>;
  boost::unordered_flat_map<suture_flow_key, Told, FlowKeyHash> told_;
  std::array<Counter, static_cast<std::size_t>(Applied::count_)> applied_;
  Counter forgotten_, claims_heard_, ended_by_claimant_;
};

}  // namespace suture::statesync
