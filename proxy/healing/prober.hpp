// Whom to probe, and when, after a node's death (PROTOCOL.md, "Probe, fence, claim" and "False suspicion"). Pure: keys
// in, keys out; the driver makes a claim of each key that next() returns and sends the segments. Control thread.
//
//   death of (node, incarnation) ── start ──> digest ──> sample ──> judge ─┬─ answers ──> burst ──┐
//                                             (our share)   ^  1 %         └─ none ──> wait ──┐   │ a window of fresh
//                                                           └── 0.1 s doubling to 75 s ───────┘ <─┘ probes, no answer
//
// Share: each key is probed first by one of the living nodes, the same for all that see the same members (prober_of()).
// That one may not have the record, or may have died or begun meanwhile: the others ask late_after later, if the record
// stands by then.
// Sample: if the node is really dead, its clients' answers reach the survivors. If it only seems dead, its clients go
// on sending to it, and their answers, too: nothing comes to us, nobody claims, and the burst stays a sample a minute
// until answers come (routes were slow) or the node is alive again (stop()).
// A key is asked again after 0.1 s doubling to 75 s, until it is claimed (removed()), its record ends, or the session's
// own timeout has passed since its last activity.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include <boost/unordered/unordered_flat_map.hpp>

#include <suture/clock.hpp>
#include <suture/ids.hpp>
#include <suture/metrics.hpp>

namespace suture::healing {

// Which of `members` probes this flow: the highest random weight (rendezvous hashing), so that a member that comes or
// goes moves no keys between the others. The same on every node: no secret in it. `members` is not empty.
NodeId prober_of(const suture_flow_key& key, std::span<const NodeId> members);

// The records of a node, as the prober sees them. Implemented by the driver on the directory.
class ProbeSource {
 public:
  virtual ~ProbeSource() = default;
  // Every flow whose record stands with this owner, and when that record last changed. At one go: a million of them
  // take a tenth of a second, which is the driver's to know.
  virtual void for_each(NodeId node, Incarnation incarnation,
                        const std::function<void(const suture_flow_key&, TimePoint active)>& visit) const = 0;
};

class Prober {
 public:
  struct Options {
    NodeId self{};
    unsigned probe_per_second = 20000;
    unsigned sample_percent = 1;
    std::size_t sample_min = 16;  // so few cost nobody anything, and a small share needs no second round
    std::size_t sample_max = 1000;
    // Of a sample's probes this part (1 / n) must be answered: many clients may be gone or asleep, but of a node that
    // lives only the few whose route has moved answer to us.
    std::size_t answered_part = 8;
    // An answer that has not come by then is none: asked again soon, since a PoP that still takes the node for living
    // sends what it gets to the dead.
    Millis first_timeout{100};
    // More than the 60 s of a TIME_WAIT (TCP_TIMEWAIT_LEN), which begins anew with each probe: of a connection that its
    // client has closed, the next probe finds nothing any more.
    Millis backoff_min{100}, backoff_max{75'000};
    Millis late_after{1000};          // keys of other members
    Millis idle_timeout{3600000};     // the session's own; measured from its record's last change
    std::size_t keys_max = 1U << 20;  // of one node
    std::size_t per_call_max = 512;
    std::size_t digest_per_call_max = 16384;  // some milliseconds: the control loop beats meanwhile
  };
  Prober(Options options, const ProbeSource& source) : options_(options), source_(source) {}

  // Nodes that are alive, ourselves included. A change recomputes the shares of all that is under way.
  void set_members(std::vector<NodeId> members);
  void start(NodeId node, Incarnation incarnation);  // dead; again: no effect
  void stop(NodeId node, Incarnation incarnation);   // alive again
  // A record with a dead owner that came after its death (a third node's snapshot, a claimant's record that is gone).
  void add(NodeId node, Incarnation incarnation, const suture_flow_key& key, TimePoint active);

  // Keys to probe now, at most per_call_max, each once. Call every 10 ms or so while !idle().
  std::vector<suture_flow_key> next(TimePoint now);
  bool idle() const { return bursts_.empty(); }

  // It may not be asked yet: due again at that time, as if it had not been asked now.
  void put_off(const suture_flow_key& key, TimePoint due);
  // Its answer came to us: the claim goes on without the prober. If the record does not change owner, it is asked again
  // after backoff_max.
  void answered(const suture_flow_key& key, TimePoint now);
  // The record has another owner: somebody's claim, which is an answer that went elsewhere.
  void owner_changed(const suture_flow_key& key);
  void erased(const suture_flow_key& key);  // the record is gone

  enum class Phase : std::uint8_t { digest, sample, judge, wait, burst };
  std::optional<Phase> phase(NodeId node, Incarnation incarnation) const;
  std::size_t waiting() const;  // keys that are not done, of all bursts
  void register_metrics(MetricsRegistry& registry);

 private:
  static constexpr std::size_t kBuckets = 24;  // of activity: bucket n is at most 64 ms * 2^n old
  static constexpr std::size_t kLevels = 11;   // of back-off
  struct Candidate {
    suture_flow_key key{};
    TimePoint active{};
  };
  struct Pending {
    TimePoint expires{};
    std::uint32_t ticket = 0;  // of its only valid place in a queue
    std::uint8_t level = 0;    // probes sent; the next back-off
    bool asked = false;        // at all
    bool answered = false;     // its last probe was
  };
  struct Place {
    suture_flow_key key{};
    std::uint32_t ticket = 0;
    TimePoint due{};  // retries only
  };
  struct Burst {
    Phase phase = Phase::digest;
    std::vector<Candidate> raw;  // not yet looked at, from the back
    boost::unordered_flat_map<suture_flow_key, Pending, FlowKeyHash> pending;
    std::array<std::vector<Place>, kBuckets> fresh;  // never probed; the most recently active first
    std::array<std::deque<Place>, kLevels> retries;  // each in order of `due`
    std::deque<Place> late;                          // other members' keys, likewise
    std::deque<Place> put_off;                       // likewise: all wait for the same
    std::uint32_t last_ticket = 0;
    std::size_t sample = 0;         // size of one
    std::size_t round_sent = 0;     // of this sample, or in this window of the burst; fresh ones only in a burst
    std::size_t round_answers = 0;  // since the round began
    TimePoint round_ends{};
    Millis wait{0};
  };
  using Name = std::pair<NodeId, Incarnation>;

  void pull(const Name& name, Burst& burst);
  void digest(Burst& burst, TimePoint now);
  void finish_digest(Burst& burst);
  void begin_sample(Burst& burst);
  void judge(Burst& burst, TimePoint now);
  void pick(Burst& burst, std::size_t max, TimePoint now, std::vector<suture_flow_key>& out);
  bool pick_fresh(Burst& burst, TimePoint now, std::vector<suture_flow_key>& out);
  bool pick_retry(Burst& burst, TimePoint now, std::vector<suture_flow_key>& out);
  bool pick_due(Burst& burst, std::deque<Place>& queue, TimePoint now, std::vector<suture_flow_key>& out);
  bool take(Burst& burst, const Place& place, TimePoint now, std::vector<suture_flow_key>& out);
  void ask_again(Burst& burst, const suture_flow_key& key, Pending& pending, std::size_t level, TimePoint now);
  Millis backoff(std::size_t level) const;
  bool ours(const suture_flow_key& key) const;

  Options options_;
  const ProbeSource& source_;
  std::vector<NodeId> members_;
  std::map<Name, Burst> bursts_;
  double tokens_ = 0;
  std::optional<TimePoint> refilled_at_;
  std::map<NodeId, Incarnation> told_;  // of which death start() was told last
  Counter started_, stopped_, finished_, suspected_, first_probes_, retries_, late_, answered_, claimed_, expired_,
      dropped_;
};

}  // namespace suture::healing
