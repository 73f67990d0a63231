// The claimant's rows of the claim table (proxy/healing/claim.hpp, PROTOCOL.md "Probe, fence, claim").
#include "tests/unit/healing/claim_fixture.hpp"

#include <suture/sequence.hpp>

namespace suture::healing::test {
namespace {

Claim claimant(const SessionRecord& r = record(), const ClaimOptions& options = {}) {
  return Claim::claimant(kSelf, r, options);
}

// Probe, answered at `c`: the claim now fences there. Returns F.
std::uint32_t begin_fence(Claim& claim, std::uint32_t c = kSent) {
  claim.start(at(0));
  const Outcome out = claim.on_packet(segment(kL, c, kNow - 5), at(10));
  EXPECT_EQ(claim.state(), FlowState::fencing);
  return sent(out).timestamps->value;
}

TEST(ClaimProbe, IsBelowWhatIsAcknowledged) {
  Claim claim = claimant();
  const Nudge nudge = sent(claim.start(at(0)));
  EXPECT_EQ(nudge.seq, kAcked - 2);
  EXPECT_EQ(nudge.ack, kL);
  EXPECT_EQ(nudge.timestamps->value, kNow);
}

TEST(ClaimProbe, BeforeAnythingIsAcknowledgedIsBelowTheIss) {
  SessionRecord r = record();
  r.out_acked = 0;  // 500 were sent: a position among them would reach the application
  Claim claim = claimant(r);
  EXPECT_EQ(sent(claim.start(at(0))).seq, r.facts.iss - 1);
}

TEST(ClaimProbe, ThreeTriesWithBackOffThenNone) {
  Claim claim = claimant();
  claim.start(at(0));
  EXPECT_EQ(claim.on_tick(at(199)).actions.size(), 0u);
  EXPECT_EQ(sent(claim.on_tick(at(200))).seq, kAcked - 2);
  EXPECT_EQ(claim.on_tick(at(599)).actions.size(), 0u);
  EXPECT_EQ(sent(claim.on_tick(at(600))).seq, kAcked - 2);
  const Outcome out = claim.on_tick(at(1400));
  ASSERT_NE(find<action::GiveUp>(out), nullptr);
  EXPECT_EQ(find<action::GiveUp>(out)->reason, GiveUpReason::no_answer);
  EXPECT_EQ(claim.state(), FlowState::none);
  EXPECT_EQ(claim.next_tick(), TimePoint::max());
}

TEST(ClaimStray, FencesAtOnceOnlyWithALiveEchoAndAKnownPosition) {
  struct Row {
    const char* what;
    Segment stray;
    FlowState then;
  };
  const Row rows[] = {
      {"echo between the owner's first TSval and its clock", segment(kL, kSent, kNow - 5), FlowState::fencing},
      {"echo before the owner's first", segment(kL, kSent, kFirst - 1), FlowState::probing},
      {"echo ahead of the owner's clock", segment(kL, kSent, kNow + 5), FlowState::probing},
      {"ACK below acked", segment(kL, kAcked - 1, kNow - 5), FlowState::probing},
      {"ACK beyond what the record says was sent", segment(kL, kSent + 1, kNow - 5), FlowState::probing},
  };
  for (const Row& row : rows) {
    Claim claim = claimant();
    claim.on_packet(row.stray, at(0));
    EXPECT_EQ(claim.state(), row.then) << row.what;
  }
}

TEST(ClaimStray, OfALivingOwnerIsForwarded) {
  Claim claim = claimant();
  ClaimContext context = at(0);
  context.owner_living = true;
  const Outcome out = claim.on_packet(segment(kL, kSent, kNow - 5), context);
  EXPECT_EQ(out.packet, PacketVerdict::forward);
  EXPECT_EQ(out.forward_to, kOwner);
  EXPECT_EQ(claim.state(), FlowState::none);
}

TEST(ClaimStray, WaitsWhileTheClocksAreApart) {
  Claim claim = claimant();
  ClaimContext context = at(0);
  context.clocks_apart = true;
  const Outcome out = claim.on_packet(segment(kL, kSent, kNow - 5), context);
  EXPECT_EQ(find<action::GiveUp>(out)->reason, GiveUpReason::clocks_apart);
  EXPECT_EQ(find<action::Send>(out), nullptr);
}

TEST(ClaimProbe, AnUnknownEchoIsBelievedWhenASecondAnswerBringsIt) {
  Claim claim = claimant();
  claim.start(at(0));
  const Segment forged = segment(kL, kSent + 4000, kNow + (1U << 30));
  EXPECT_EQ(sent(claim.on_packet(forged, at(1))).seq, kAcked - 2);  // asks again, does not fence
  EXPECT_EQ(claim.state(), FlowState::probing);
  claim.on_packet(segment(kL, kSent, kNow - 5), at(2));  // the client's own answer
  EXPECT_EQ(claim.state(), FlowState::fencing);
}

TEST(ClaimFence, IsInOurSlotAboveEchoAndClockAndEven) {
  Claim claim = claimant();
  claim.start(at(0));
  const Nudge nudge = sent(claim.on_packet(segment(kL, kSent, kNow - 5), at(10)));
  EXPECT_EQ(nudge.seq, kSent - 1);
  EXPECT_EQ(nudge.ack, kL);
  const std::uint32_t fence = nudge.timestamps->value;
  EXPECT_EQ(fence % 2, 0u);
  EXPECT_GE(fence - (kNow + 10), Claim::kFenceLead);
  EXPECT_EQ(slot_owner(fence, at(0).slot_now_ms), to_int(kSelf));
}

TEST(ClaimFence, IsAboveTheOwnersClockThoughTheEchoIsOld) {
  Claim claim = claimant();
  ClaimContext context = at(10);
  context.former_clock = kFirst + (1U << 29);  // the client was idle for days
  claim.start(context);
  const Nudge nudge = sent(claim.on_packet(segment(kL, kSent, kFirst + 5), context));
  EXPECT_GE(seq_diff(nudge.timestamps->value, context.former_clock), static_cast<std::int32_t>(Claim::kFenceLead));
}

TEST(ClaimFence, OnlyOurEchoProves) {
  Claim claim = claimant();
  const std::uint32_t fence = begin_fence(claim);
  EXPECT_EQ(find<action::Proven>(claim.on_packet(segment(kL, kSent, kNow - 5), at(20))), nullptr);
  EXPECT_EQ(find<action::Proven>(claim.on_packet(segment(kL, kSent, fence - 2), at(21))), nullptr);
  const Outcome out = claim.on_packet(segment(kL + 30, kSent, fence), at(22));
  ASSERT_NE(find<action::Proven>(out), nullptr);
  const Proof& proof = find<action::Proven>(out)->proof;
  EXPECT_EQ(proof.ack, kSent);
  EXPECT_EQ(proof.received, kL);
  EXPECT_EQ(proof.seq, kL + 30);
  EXPECT_EQ(proof.fence, fence);
  EXPECT_TRUE(proof.fenced);
  EXPECT_FALSE(proof.lost_bytes || proof.sack_above || proof.unknown_owner || proof.seq_clipped);
  EXPECT_EQ(proof.ts_advance, fence - (kNow + 10));
  EXPECT_EQ(claim.state(), FlowState::proven);
}

TEST(ClaimFence, CIsTheAnswersAckNotTheStrays) {
  Claim claim = claimant();
  const std::uint32_t fence = begin_fence(claim, kAcked);
  EXPECT_EQ(sent(claim.on_packet(segment(kL, kSent, kNow - 5), at(20))).seq, kSent - 1);  // ACK moved: again there
  const Outcome out = claim.on_packet(segment(kL, kSent, fence), at(30));
  EXPECT_EQ(find<action::Proven>(out)->proof.ack, kSent);
}

TEST(ClaimFence, ADataSegmentWithOurEchoIsNotTheEndOfS) {
  Claim claim = claimant();
  const std::uint32_t fence = begin_fence(claim);
  const Outcome data = claim.on_packet(segment(kL, kSent, fence, 10), at(20));  // a retransmission
  EXPECT_EQ(find<action::Proven>(data), nullptr);
  EXPECT_EQ(sent(data).seq, kSent - 1);
  EXPECT_EQ(find<action::Proven>(claim.on_packet(segment(kL + 900, kSent, fence), at(30)))->proof.seq, kL + 900);
}

TEST(ClaimFence, SIsNotBelowAnyPacketSeen) {
  Claim claim = claimant();
  claim.start(at(0));
  claim.on_packet(segment(kL + 100, kSent, kNow - 5, 200), at(5));
  const std::uint32_t fence = sent(claim.on_packet(segment(kL, kSent, kNow - 5), at(10))).timestamps->value;
  EXPECT_EQ(find<action::Proven>(claim.on_packet(segment(kL, kSent, fence), at(20)))->proof.seq, kL + 300);
}

TEST(ClaimFence, ASeqAtTheEdgeOfOurWindowIsMarkedAndKept) {
  Claim claim = claimant();
  const std::uint32_t fence = begin_fence(claim);
  const Proof proof = find<action::Proven>(claim.on_packet(segment(kL + 65535, kSent, fence), at(20)))->proof;
  EXPECT_TRUE(proof.seq_clipped);
  EXPECT_EQ(proof.seq, kL + 65535);  // leaving it out would make S too small
}

TEST(ClaimFence, LostBytesNeedTwoTriesAndBytesAboveL) {
  Claim claim = claimant();
  begin_fence(claim);
  const Segment same = segment(kL + 40, kSent, kNow - 5);
  EXPECT_EQ(claim.on_packet(same, at(20)).actions.size(), 0u);
  EXPECT_EQ(claim.on_packet(same, at(21)).actions.size(), 0u);  // the same try
  const std::uint32_t fence = sent(claim.on_tick(at(210))).timestamps->value;
  const Nudge nudge = sent(claim.on_packet(same, at(220)));
  EXPECT_EQ(nudge.ack, kL + 40);
  EXPECT_EQ(nudge.timestamps->value, fence);
  const Proof proof = find<action::Proven>(claim.on_packet(segment(kL + 60, kSent, fence), at(230)))->proof;
  EXPECT_TRUE(proof.lost_bytes);
  EXPECT_EQ(proof.received, kL + 40);
  EXPECT_EQ(proof.seq, kL + 60);
}

TEST(ClaimFence, NothingIsLostWhereTheClientHasSentNothingAboveL) {
  Claim claim = claimant();
  begin_fence(claim);
  claim.on_packet(segment(kL, kSent, kNow - 5), at(20));
  claim.on_tick(at(210));
  EXPECT_EQ(claim.on_packet(segment(kL, kSent, kNow - 5), at(220)).actions.size(), 0u);
}

TEST(ClaimFence, SackAboveTheCursorIsReportedADuplicateReportIsNot) {
  for (const auto& [block, above] :
       {std::pair(SackBlock{kSent - 1, kSent}, false), std::pair(SackBlock{kSent + 100, kSent + 200}, true)}) {
    Claim claim = claimant();
    const std::uint32_t fence = begin_fence(claim);
    Segment answer = segment(kL, kSent, fence);
    answer.sacks.push_back(block);
    EXPECT_EQ(find<action::Proven>(claim.on_packet(answer, at(20)))->proof.sack_above, above);
  }
}

TEST(ClaimFence, YieldsToALaterFenceOfALivingNode) {
  Claim claim = claimant();
  const std::uint32_t fence = begin_fence(claim);
  ClaimContext context = at(20);
  context.living.set(to_int(kThird));
  const std::uint32_t theirs = slot_tsval(fence, context.slot_now_ms, to_int(kThird), 1);
  const Outcome out = claim.on_packet(segment(kL, kSent, theirs), context);
  EXPECT_EQ(out.packet, PacketVerdict::forward);
  EXPECT_EQ(out.forward_to, kThird);
  EXPECT_EQ(find<action::GiveUp>(out)->reason, GiveUpReason::superseded);
  EXPECT_EQ(find<action::GiveUp>(out)->served_by, out.forward_to) << "what is held goes where this packet goes";
}

TEST(ClaimFence, FencesOverALaterFenceOfADeadNode) {
  Claim claim = claimant();
  const std::uint32_t fence = begin_fence(claim);
  const std::uint32_t theirs = slot_tsval(fence, at(0).slot_now_ms, to_int(kThird), 1);
  claim.on_packet(segment(kL, kSent, theirs), at(20));
  const std::uint32_t above = sent(claim.on_packet(segment(kL, kSent, theirs), at(30))).timestamps->value;
  EXPECT_GE(seq_diff(above, theirs), static_cast<std::int32_t>(Claim::kFenceLead));
  EXPECT_TRUE(find<action::Proven>(claim.on_packet(segment(kL, kSent, above), at(40)))->proof.unknown_owner);
}

TEST(ClaimProbe, WhichEchoesAreBelievedAtOnce) {
  SessionRecord r = record();
  const auto minute = std::uint32_t{60'000};
  EXPECT_EQ(Claim::first_echo(r, kNow, Millis{5}), kNow - minute - 5);
  EXPECT_EQ(Claim::first_echo(r, kNow, std::nullopt), kNow - (1U << 30));
  EXPECT_EQ(Claim::first_echo(r, kNow, std::chrono::hours(24 * 90)), kNow - (1U << 30));
  r.fenced = true;
  r.fence = kNow - 1000;
  EXPECT_EQ(Claim::first_echo(r, kNow, Millis{5}), r.fence) << "nothing older is accepted";
  r.fence = kNow - 86'400'000;
  EXPECT_EQ(Claim::first_echo(r, kNow, Millis{5}), kNow - minute - 5) << "healed a day ago";
  r.fence = kNow - (1U << 31) - 1;
  EXPECT_EQ(Claim::first_echo(r, kNow, Millis{5}), kNow - minute - 5) << "25 days ago";
}

TEST(ClaimFence, StopsBeforePawsTurnsAround) {
  SessionRecord r = record();
  r.ts_advance = static_cast<std::uint32_t>(Claim::kAdvanceMax - 1000);
  Claim claim = claimant(r);
  claim.start(at(0));
  const Outcome out = claim.on_packet(segment(kL, kSent, kNow - 5), at(10));
  EXPECT_EQ(find<action::GiveUp>(out)->reason, GiveUpReason::ts_advance);
  EXPECT_EQ(find<action::Send>(out), nullptr);
  ASSERT_NE(find<action::Reset>(out), nullptr) << "nobody can serve it any more: it hears of it now, not by a timeout";
  EXPECT_EQ(find<action::Reset>(out)->seq, segment(kL, kSent, kNow - 5).ack);
  EXPECT_NE(find<action::EndRecord>(out), nullptr);
  EXPECT_EQ(claim.state(), FlowState::released);
}

TEST(ClaimFence, AClientThatMovesOnForEverIsServedBySomebody) {
  Claim claim = claimant();
  begin_fence(claim);
  Outcome out;
  for (unsigned i = 1; i <= ClaimOptions{}.rounds_max; ++i) {
    out = claim.on_packet(segment(kL, kSent + i, kNow - 5), at(10 + static_cast<int>(i)));
  }
  ASSERT_NE(find<action::GiveUp>(out), nullptr);
  EXPECT_EQ(find<action::GiveUp>(out)->reason, GiveUpReason::moving);
}

TEST(ClaimReset, EndsTheRecordOnlyWhereItAnswersOurNudge) {
  for (const auto& [seq, when, ends] :
       {std::tuple(kL, 50, true), std::tuple(kL + 1, 50, false), std::tuple(kL, 6000, false)}) {
    Claim claim = claimant();
    claim.start(at(0));
    Segment reset = segment(seq, 0, 0);
    reset.flags = kRst;
    EXPECT_EQ(find<action::EndRecord>(claim.on_packet(reset, at(when))) != nullptr, ends);
  }
}

TEST(ClaimProven, EndsWithoutARebuiltSocket) {
  Claim claim = claimant();
  const std::uint32_t fence = begin_fence(claim);
  claim.on_packet(segment(kL, kSent, fence), at(20));
  EXPECT_EQ(find<action::GiveUp>(claim.on_tick(at(5020)))->reason, GiveUpReason::rebuild_failed);
  EXPECT_NE(find<action::Release>(claim.on_rebuilt(record(), at(5030))), nullptr);  // too late
}

SessionRecord unfenced(bool timestamps) {
  SessionRecord r = record();
  r.facts.timestamps = timestamps;
  r.facts.hint = false;
  return r;
}

// Probes every half lease, answered each time; true: proven by `until_ms`.
bool answered_until(Claim& claim, int until_ms, ClaimContext base, bool moves = false) {
  Segment answer = segment(kL, kSent, 0);
  answer.timestamps.reset();
  for (int ms = 20; ms <= until_ms; ms += 20) {
    ClaimContext context = base;
    context.now = at(ms).now;
    if (find<action::Send>(claim.on_tick(context)) == nullptr) continue;
    if (moves) answer.ack += 10;
    const Outcome out = claim.on_packet(answer, context);
    if (find<action::Proven>(out) != nullptr) return !find<action::Proven>(out)->proof.fenced;
  }
  return false;
}

TEST(ClaimUnfenced, NeedsTwoQuietLeasesAndAMajority) {
  ClaimContext minority = at(0), heard = at(0);
  minority.majority = false;
  heard.owner_heard_by_any = true;
  struct Row {
    const char* what;
    int until;
    ClaimContext context;
    bool moves, proven;
  };
  const Row rows[] = {{"quiet", 3500, at(0), false, true},
                      {"too early", 1900, at(0), false, false},
                      {"no majority", 8000, minority, false, false},
                      {"a peer hears the owner", 8000, heard, false, false},
                      {"the ACK moves", 8000, at(0), true, false}};
  for (const Row& row : rows) {
    Claim claim = claimant(unfenced(false));
    EXPECT_FALSE(sent(claim.start(at(0))).timestamps) << row.what;
    EXPECT_EQ(answered_until(claim, row.until, row.context, row.moves), row.proven) << row.what;
  }
}

// The client has sent something that the record does not know: S = L + 100.
Segment beyond(std::uint32_t seq, std::uint32_t bytes) {
  Segment s = segment(seq, kSent, 0);
  s.timestamps.reset();
  s.payload_bytes = bytes;
  return s;
}

// Answers every probe; `again_at` ms: the client's retransmission. The proof, and when.
std::pair<std::optional<Proof>, int> proof_in_doubt(Claim& claim, int again_at = -1) {
  for (int ms = 20; ms <= 6000; ms += 20) {
    if (ms == again_at) claim.on_packet(beyond(kL, 100), at(ms));
    if (find<action::Send>(claim.on_tick(at(ms))) == nullptr) continue;
    const Outcome out = claim.on_packet(beyond(kL + 100, 0), at(ms));
    if (const auto* proven = find<action::Proven>(out)) return {proven->proof, ms};
  }
  return {std::nullopt, 0};
}

TEST(ClaimUnfenced, WhatTheClientDoesNotSendAgainWasAcknowledged) {
  Claim silent = claimant(unfenced(false));
  silent.start(at(0));
  const auto [lost, late] = proof_in_doubt(silent);
  ASSERT_TRUE(lost);
  EXPECT_TRUE(lost->lost_bytes);
  EXPECT_EQ(lost->received, kL + 100);
  EXPECT_GE(late, 3000) << "time to send it again";

  Claim resending = claimant(unfenced(false));
  resending.start(at(0));
  const auto [kept, soon] = proof_in_doubt(resending, 2400);
  ASSERT_TRUE(kept);
  EXPECT_FALSE(kept->lost_bytes);
  EXPECT_EQ(kept->received, kL);
  EXPECT_LT(soon, 3000);
}

TEST(ClaimUnfenced, ARetransmissionLongAfterTheDeathIsProofAtOnce) {
  for (const bool long_dead : {false, true}) {
    Claim claim = claimant(unfenced(false));
    ClaimContext opening = at(0);
    opening.owner_dead_for = long_dead ? 2 * ClaimOptions{}.lease : Millis{500};
    claim.on_packet(beyond(kL, 100), opening);
    ASSERT_EQ(claim.state(), FlowState::probing);
    const auto [proof, when] = proof_in_doubt(claim);
    ASSERT_TRUE(proof);
    EXPECT_EQ(proof->lost_bytes, !long_dead) << "an acknowledgement may have been under way";
  }
}

TEST(ClaimUnfenced, ATimestampRewritingBoxGetsNoFence) {
  Claim claim = claimant(unfenced(true));
  claim.on_packet(segment(kL, kSent, kNow - 5), at(0));
  EXPECT_EQ(claim.state(), FlowState::probing);
  claim.on_packet(segment(kL, kSent, kNow - 5), at(10));
  EXPECT_EQ(claim.state(), FlowState::probing);
}

}  // namespace
}  // namespace suture::healing::test
