// Carries out the claim table's actions (claim.hpp) for all flows of a node: which flow has a claim, what it holds, and
// what its story was. On the control thread only. Time and the outside come in through arguments and one interface.
//
//   stray of a dead owner ─> on_packet ─┐                       ┌─ Send ───> World::send
//   kernel saw "replaced" ─> on_replaced ├─> Claim ─> Outcome ──┼─ Proven ─> plan_healing, rebuild, World::adopt
//   a peer's claim ────────> on_claimed ─┘      (one a flow)    ├─ Freeze, Thaw, Release ─> World (kernel and session)
//   tick ──────────────────> on_tick                            └─ GiveUp ─> what is held goes on to whom it belongs
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include <boost/unordered/unordered_flat_map.hpp>

#include <suture/datapath_abi.h>
#include <suture/clock.hpp>
#include <suture/ids.hpp>
#include <suture/limits.hpp>

#include "proxy/client/adoption.hpp"
#include "proxy/healing/claim.hpp"
#include "proxy/healing/heal_metrics.hpp"
#include "proxy/healing/holding.hpp"
#include "proxy/healing/rebuild.hpp"

namespace suture::healing {

// What the healer knows of and does to the node around it.
class HealWorld {
 public:
  // Everything in ClaimContext but `now` and `random`.
  virtual ClaimContext situation(const SessionRecord& record, TimePoint now) const = 0;
  virtual ~HealWorld() = default;
  virtual const SessionRecord* record(const suture_flow_key& key) const = 0;      // the one that stands
  virtual const SessionRecord* own_record(const suture_flow_key& key) const = 0;  // of a session of this process
  virtual bool is_own(const SessionRecord& record) const = 0;
  virtual Epoch claim_epoch(const suture_flow_key& key) const = 0;  // one more than any that is known
  // For how long its owner has not been living here; absent: it lives. max(): it cannot come back (a new incarnation).
  virtual std::optional<Millis> owner_dead_for(const SessionRecord& record, TimePoint now) const = 0;
  virtual std::uint32_t random() = 0;

  // Kernel. Failures of send, forward and inject are counted by the implementation; TCP repairs what is lost.
  virtual void send(std::span<const std::uint8_t> packet) = 0;  // to a client, from the VIP
  virtual void forward(NodeId peer, std::span<const std::uint8_t> packet) = 0;
  virtual void inject(std::span<const std::uint8_t> packet) = 0;  // to the local socket, past the ingress program
  virtual bool set_flow_state(const suture_flow_key& key, suture_flow_phase phase) = 0;  // false: the map is full
  virtual void clear_flow_state(const suture_flow_key& key) = 0;
  virtual Result<Rebuilt> rebuild(const RebuildSpec& spec) = 0;

  // Sessions.
  virtual bool adopt(Adoption adoption) = 0;  // false: not taken; the descriptor is still the caller's
  virtual void discard(int fd) = 0;           // closes a rebuilt socket without a segment
  virtual void freeze(const suture_flow_key& key) = 0;
  virtual void thaw(const suture_flow_key& key, std::optional<Epoch> claimed_again) = 0;
  // It ends without a segment. Its record is erased where another node owns it: it would stand again once that one has
  // ended the session. It stays where we are about to take the session anew.
  virtual void release(const suture_flow_key& key, bool erase_record) = 0;
  virtual void forget_own(const suture_flow_key& key) = 0;  // erases our own record of a session that we have no more
  virtual void end_record(const suture_flow_key& key) = 0;  // the client is gone: no node need heal it any more
};

class Healer {
 public:
  struct Options {
    NodeId self{};
    Incarnation incarnation = 0;
    ClaimOptions claim;
    std::size_t claims_max = limits::claims_max;
    Millis end_grace{1000};                    // see waits_for_owner()
    std::uint16_t mss_max4 = 0, mss_max6 = 0;  // RebuildSpec::mss_max
  };
  Healer(const Options& options, HealWorld& world) : options_(options), world_(world) {}

  // A packet (from the IP header on) of a flow that has a claim, or whose owner is dead. False: it changed nothing (its
  // session waits for its owner, an RST that ends nothing, no room).
  bool on_packet(const Segment& segment, std::span<const std::uint8_t> packet, TimePoint now);
  bool has_claim(const suture_flow_key& key) const { return claims_.contains(key); }

  // Our own session: the kernel met a packet whose echo is ahead of it; a peer says that it owns it; it has data that
  // egress rule 4 holds back.
  void on_replaced(const suture_flow_key& key, std::uint32_t tsecr, TimePoint now);
  void on_claimed(const SessionRecord& theirs, TimePoint now);
  void on_gated(const suture_flow_key& key, TimePoint now);

  // One probe to the client of a dead owner; whichever PoP its answer reaches begins the claim. over: there is nothing
  // to probe for any more (no record, or its owner lives). too_soon: not before `again`.
  enum class Probed : std::uint8_t { sent, over, too_soon };
  struct ProbeResult {
    Probed what = Probed::sent;
    TimePoint again{};
  };
  ProbeResult probe(const suture_flow_key& key, TimePoint now);

  // What a worker did with an adopted session.
  void on_adopted(const suture_flow_key& key, ResumeRung rung, const char* reason, TimePoint now);

  // Two-way liveness has come back.
  void on_owner_living(NodeId node, TimePoint now);
  void on_tick(TimePoint now);  // every 10 ms

  std::size_t size() const { return claims_.size(); }
  HealMetrics& metrics() { return metrics_; }

 private:
  struct Entry {
    Claim claim;
    SessionRecord record;  // as the claim knows it
    HealStory story;
    bool ours = false;  // we have the socket
    // Proven, and not rebuilt yet: our own former socket has to go first (a frozen owner that claims again).
    std::optional<Proof> proof;
    TimePoint rebuild_until{};
    bool listed = false;    // in the kernel's map of flows
    bool own_left = false;  // we gave our socket away to claim anew; our former record is still there
  };
  // A client whose window was closed when it answered: it has told the dead owner that it opened it, and the rebuilt
  // socket would ask by itself only after seconds (its first retransmission time is 3 s).
  static constexpr Millis reminder_first{50};
  struct Reminder {
    SessionRecord ours;
    std::uint32_t seq = 0, ack = 0;
    TimePoint due{};
    Millis wait{0};
  };
  using Entries = boost::unordered_flat_map<suture_flow_key, std::unique_ptr<Entry>, FlowKeyHash>;

  Entry* open_claim(const suture_flow_key& key, TimePoint now);
  Entry* open_owner(const SessionRecord& own, TimePoint now);
  Entry* open(Claim claim, const SessionRecord& record, bool ours, TimePoint now);
  std::optional<TimePoint> waits_for_owner(const SessionRecord& record, TimePoint now);
  bool on_reset_of_the_dead(const Segment& segment, TimePoint now);
  void sweep(TimePoint now);
  void remind(TimePoint now);
  bool refresh(Entry& entry, TimePoint now);
  ClaimContext context(const Entry& entry, TimePoint now);
  void close(const suture_flow_key& key);
  bool list(Entry& entry, suture_flow_phase phase);
  void unlist(Entry& entry);
  void send_probe(const SessionRecord& record, TimePoint now);

  void apply(const suture_flow_key& key, const Outcome& outcome, TimePoint now,
             std::span<const std::uint8_t> packet = {});
  void settle(const suture_flow_key& key);
  void carry_out(Entry& entry, const action::Send& send, TimePoint now);
  void carry_out(Entry& entry, const action::Proven& proven, TimePoint now);
  void carry_out(Entry& entry, const action::Freeze&, TimePoint now);
  void carry_out(Entry& entry, const action::Thaw& thaw, TimePoint now);
  void carry_out(Entry& entry, const action::Release&, TimePoint now);
  void carry_out(Entry& entry, const action::Reset& reset, TimePoint now);
  void carry_out(Entry& entry, const action::EndRecord&, TimePoint now);
  void carry_out(Entry& entry, const action::GiveUp& give_up, TimePoint now);
  void try_rebuild(Entry& entry, TimePoint now);
  Result<SessionRecord> rebuild(Entry& entry, const Proof& proof, TimePoint now);
  void inject_held(const suture_flow_key& key);

  Options options_;
  HealWorld& world_;
  Entries claims_;
  Holding holding_;
  boost::unordered_flat_map<suture_flow_key, HealStory, FlowKeyHash> stories_;  // adopted, not yet told
  HealMetrics metrics_;
  std::vector<Reminder> reminders_;
  std::size_t resting_ = 0;  // own sessions that only wait to renew their fence, as of the last sweep
  TimePoint swept_at_{};
  TimePoint next_due_ = TimePoint::max();
};

}  // namespace suture::healing
