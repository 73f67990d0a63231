// One flow's way to a new owner and an owner's way out (PROTOCOL.md, "Probe, fence, claim"): one pure table, events in,
// segments and actions out. No sockets, no clock, no randomness; the simulation (tests/simulation) drives this class.
// One object per flow and node: claimant() while a node without a socket wants the flow, owner() while a node with one
// must judge a suspicion or renew its fence.
//
// clang-format off
//   state    | packet                                    | tick: no answer      | claim heard (on_claimed)  | other events
//   ---------+-------------------------------------------+----------------------+---------------------------+-------------
//   none     | trusted echo, ACK >= acked: fence, hold   | -                    | theirs becomes the        | start: probe
//            | else: probe, hold                         |                      | record; living: give up   |
//            | owner or a later claimant living: forward |                      |                           |
//   probing  | pure ACK: fence at its ACK                | again, 3 times, then | same                      | owner living:
//            | no fence possible: two leases of the same | give up              |                           | give up
//            | ACK with a majority: proven               |                      |                           |
//   fencing  | echo = F, pure: PROVEN (c, S)             | same                 | later F: give up          | owner living:
//            | echo = F, data: fence again (for S)       |                      | else go on: later wins    | go on (a
//            | echo after F: living: forward, give up    |                      |                           | fence may be
//            |               else new F above it         |                      |                           | in force)
//            | ACK moved: fence there                    |                      |                           |
//            | ACK same in two tries, SEQ > L:           |                      |                           |
//            | lost bytes, fence with ACK = SEQ          |                      |                           |
//   proven   | hold; echo ahead of F: release            | give up              | later F: release          | rebuilt: owner
//   owner    | echo > 2^16 ahead of us: freeze, verify   | renew the fence      | older F: ignore           | foreign echo:
//            | (in grace: verify, do not freeze)         |                      | else freeze, verify       | as its packet
//   frozen   | own echo of a verification: thaw          | verify 3 times, then | with a foreign echo:      |
//            | older own echo, ACK moved: verify there   | silent; claimed:     | release; else verify,     |
//            | foreign echo: forward to whom it names    | release; claimant    | and release if nothing    |
//            |                                           | dead or dumb: probe  | comes                     |
//            |                                           | session timeout:     |                           |
//            |                                           | release              |                           |
//   released | drop                                      | -                    | -                         | -
// clang-format on
//
// An RST whose SEQ is the ACK of our recent nudge ends the record in every state that sends nudges; any other is
// dropped. A claim that a frozen owner began falls back to frozen when it gives up.
//
// `verify` is a nudge at c - 1 with our own clock as TSval: a client that was not fenced by another stores it
// (tcp_replace_ts_recent) and its echo proves that; one that was refuses it (PAWS) and shows the other's. A probe at
// acked - 2 could not tell: it is never stored, and the old echo it brings may be older than the foreign fence.
#pragma once

#include <cstdint>
#include <optional>
#include <utility>

#include <statesync/record.hpp>

#include "proxy/healing/claim_actions.hpp"

namespace suture::healing {

enum class FlowState : std::uint8_t { none, probing, fencing, proven, owner, frozen, released };

class Claim {
 public:
  using Options = ClaimOptions;
  // `record` is the newest known; `self` our id.
  static Claim claimant(NodeId self, const SessionRecord& record, const Options& options);
  static Claim owner(NodeId self, const SessionRecord& record, const Options& options, const ClaimContext& context);

  // Packets of the flow that do not enter a local socket, RSTs included.
  Outcome on_packet(const Segment& segment, const ClaimContext& context);
  // At least at next_tick(); more often does no harm.
  Outcome on_tick(const ClaimContext& context);
  TimePoint next_tick() const { return deadline_; }  // TimePoint::max(): nothing is under way

  Outcome start(const ClaimContext& context);  // none: probe (the owner died)
  // One probe and no claim: whichever PoP its answer reaches begins that. Our own sessions, too (egress rule 4).
  static Outcome probe_of(const SessionRecord& record, const Options& options, const ClaimContext& context);
  Outcome on_record(const SessionRecord& newer, const ClaimContext& context);  // of the same owner
  void on_own_record(const SessionRecord& newer);  // our session goes on: its positions, however far they have moved
  Outcome on_claimed(const SessionRecord& theirs, const ClaimContext& context);
  Outcome on_foreign_echo(std::uint32_t tsecr, const ClaimContext& context);  // the kernel saw "replaced"
  Outcome on_reset_from_client(std::uint32_t seq, const ClaimContext& context);
  Outcome on_rebuilt(const SessionRecord& ours, const ClaimContext& context);
  Outcome on_rebuild_failed(const ClaimContext& context);
  Outcome on_owner_living(const ClaimContext& context);

  // The oldest echo that is believed at once: of what the owner, whose clock is at `clock`, has sent since its fence
  // and since shortly before its record's last state, `since_state` ago (absent: a session of our own). The client has
  // stored nothing newer, and a forger has to guess (docs/security.md).
  static std::uint32_t first_echo(const SessionRecord& record, std::uint32_t clock, std::optional<Millis> since_state);

  FlowState state() const { return state_; }
  NodeId record_owner() const { return facts_.owner; }  // of the record it works with; `former_*` are this node's

  // PROTOCOL.md's constants, in TSval units (ms).
  static constexpr std::uint32_t kFenceLead = 1U << 22;
  static constexpr std::int32_t kReplacedAhead = 1 << 16;
  static constexpr std::uint64_t kAdvanceMax = (1ULL << 31) - (1ULL << 24);
  static constexpr Millis kResetWindow{5000};  // how long a nudge is recent

 private:
  // What the table needs of a record; sequence numbers absolute.
  struct Facts {
    suture_flow_key key{};
    std::uint32_t iss = 0, irs = 0;
    std::uint32_t acked = 0, sent = 0;  // out
    std::uint32_t received = 0;         // L
    std::uint32_t window_max = 65535;   // 65535 scaled as we announced it
    bool timestamps = false;
    bool hint = false;
    bool fenced = false;
    std::uint32_t fence = 0;
    std::uint32_t ts_advance = 0;
    std::uint32_t flow_label = 0;
    Epoch epoch = 0;
    Incarnation incarnation = 0;
    NodeId owner{};
  };
  static Facts facts_of(const SessionRecord& record);
  Claim(NodeId self, const SessionRecord& record, const Options& options, FlowState state)
      : options_(options), self_(self), facts_(facts_of(record)), state_(state) {}

  // claim_claimant.cpp
  Outcome stray(const Segment& segment, const ClaimContext& context);
  Outcome probe_answer(const Segment& segment, const ClaimContext& context);
  bool sends_again(const Segment& segment) const;
  Outcome quiet_answer(const Segment& segment, const ClaimContext& context);
  void note_allowed(const ClaimContext& context);
  Outcome fence_answer(const Segment& segment, const ClaimContext& context);
  Outcome fence_above(const Segment& segment, const ClaimContext& context);
  void again_at_once(Outcome& out, const ClaimContext& context);
  void send_again(Outcome& out, const ClaimContext& context);
  Outcome unechoed_answer(const Segment& segment, const ClaimContext& context);
  Outcome echoed_answer(const Segment& segment, const ClaimContext& context);
  Outcome proven_packet(const Segment& segment, const ClaimContext& context);
  Outcome try_again(const ClaimContext& context);
  void begin_probing(Outcome& out, const ClaimContext& context);
  void begin_fencing(Outcome& out, std::uint32_t cursor, const ClaimContext& context);
  void fence_at(Outcome& out, std::uint32_t cursor, const ClaimContext& context);
  void end_by_reset(Outcome& out, std::uint32_t cursor, const ClaimContext& context);
  void give_up(Outcome& out, GiveUpReason reason, const ClaimContext& context, std::optional<NodeId> served_by = {});
  void prove(Outcome& out, const Segment& answer, const ClaimContext& context);
  bool fenced_for_us(const Segment& segment, const ClaimContext& context) const;
  std::optional<NodeId> rival(const Segment& segment, const ClaimContext& context) const;

  // claim_owner.cpp
  Outcome owner_packet(const Segment& segment, const ClaimContext& context);
  Outcome frozen_packet(const Segment& segment, const ClaimContext& context);
  Outcome owner_tick(const ClaimContext& context);
  Outcome frozen_tick(const ClaimContext& context);
  Outcome owner_claimed(const SessionRecord& theirs, const ClaimContext& context);
  Outcome frozen_claimed(const SessionRecord& theirs);
  void freeze(Outcome& out, const ClaimContext& context);
  void thaw(Outcome& out, const ClaimContext& context);
  void release(Outcome& out);
  void verify(Outcome& out, const ClaimContext& context);
  void rest_as_owner(const ClaimContext& context);
  bool claimant_absent(const ClaimContext& context);
  bool foreign(std::uint32_t echo, const ClaimContext& context) const;

  // claim_segments.cpp: what is sent and what may be believed
  void nudge(Outcome& out, std::uint32_t seq, std::uint32_t ack, std::uint32_t tsval, const ClaimContext& context);
  void note(const Segment& segment);
  bool plausible(const Segment& segment) const;
  bool known_echo(const Segment& segment, const ClaimContext& context) const;
  bool believe(const Segment& segment, const ClaimContext& context);
  bool trusted(const Segment& segment, const ClaimContext& context) const;
  std::uint32_t clock_of_former(const ClaimContext& context) const;
  std::optional<std::uint32_t> choose_fence(const ClaimContext& context);
  bool fenceable() const { return facts_.timestamps && facts_.hint; }
  void arm(unsigned attempt, const ClaimContext& context);

  Options options_;
  NodeId self_{};
  Facts facts_;
  FlowState state_ = FlowState::none;
  TimePoint deadline_ = TimePoint::max();

  // What the client said.
  std::optional<Timestamps> newest_;       // value: its newest TSval; echo: of the newest packet
  std::optional<std::uint32_t> seen_end_;  // SEQ + LEN, largest

  std::optional<std::pair<std::uint32_t, std::uint32_t>> candidate_;  // unknown echo and ACK of one answer
  std::optional<std::uint32_t> believed_echo_;                        // two answers had it

  // The claim.
  unsigned attempt_ = 0;  // nudges at this position
  unsigned rounds_ = 0;   // positions
  std::uint32_t cursor_ = 0;
  std::uint32_t fence_ack_ = 0;
  std::uint32_t fence_ = 0;
  std::uint32_t ts_advance_ = 0;
  bool unknown_owner_ = false;
  bool in_force_ = false;                   // the client echoes an earlier fence of ours
  unsigned unechoed_ = 0;                   // tries answered without our echo at an unmoved ACK
  bool try_answered_ = false;               // this one was counted
  std::optional<TimePoint> quiet_since_;    // no fence: the ACK has not moved
  bool resent_ = false;                     // no fence: the client sent bytes from L on
  std::optional<TimePoint> answered_at_;    // no fence: the newest answer
  std::optional<TimePoint> allowed_since_;  // no fence: a majority, and nobody hears the owner
  TimePoint started_{};
  std::uint32_t nudge_ack_ = 0;
  std::optional<TimePoint> nudged_at_;

  // The owner under suspicion.
  bool was_owner_ = false;  // a frozen owner that claims
  bool claimed_ = false;    // a peer says that it owns the flow
  Epoch claimed_epoch_ = 0;
  std::uint32_t claimed_fence_ = 0;
  std::optional<std::uint32_t> foreign_echo_;
  NodeId foreign_node_{};           // whom it named when it came
  std::uint32_t verify_since_ = 0;  // an echo from here on is of a verification of this suspicion
  bool client_here_ = false;        // its packets reach us though frozen
  TimePoint frozen_at_{};
  std::optional<TimePoint> absent_since_;  // the claimant
  TimePoint reclaim_from_{};
  std::optional<TimePoint> grace_until_;
  Millis grace_{0};
  TimePoint verify_again_{};  // within the grace
};

}  // namespace suture::healing
