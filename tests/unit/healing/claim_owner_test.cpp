// The owner's rows of the claim table (proxy/healing/claim.hpp): suspicion, verification, silence.
#include "tests/unit/healing/claim_fixture.hpp"

namespace suture::healing::test {
namespace {

// Our own session: node 1, clock kNow at 0 ms.
Claim owner(const SessionRecord& r = record()) {
  return Claim::owner(kOwner, r, {}, at(0));
}

const std::uint32_t kForeign = slot_tsval(kNow + (1U << 22), at(0).slot_now_ms, to_int(kThird), 7);

SessionRecord claim_of(NodeId node, std::uint32_t fence) {
  SessionRecord r = record();
  r.owner = node;
  r.epoch = 4;
  r.fenced = true;
  r.fence = fence;
  return r;
}

TEST(ClaimOwner, AnEchoFarAheadFreezesAnOldOneDoesNot) {
  for (const auto& [echo, frozen] :
       {std::pair(kNow - 500'000, false), std::pair(kNow + 65'536, false), std::pair(kNow + 65'537, true)}) {
    Claim claim = owner();
    const Outcome out = claim.on_foreign_echo(echo, at(0));
    EXPECT_EQ(find<action::Freeze>(out) != nullptr, frozen);
    if (frozen) {
      EXPECT_EQ(sent(out).seq, kAcked - 1);
    }
  }
}

TEST(ClaimFrozen, OnlyAnEchoOfTheVerificationThaws) {
  Claim claim = owner();
  const Nudge nudge = sent(claim.on_foreign_echo(kForeign, at(0)));
  EXPECT_EQ(claim.on_packet(segment(kL, kAcked, kNow - 5), at(5)).packet, PacketVerdict::hold);  // sent before
  EXPECT_EQ(claim.state(), FlowState::frozen);
  const Outcome out = claim.on_packet(segment(kL, kAcked, nudge.timestamps->value), at(10));
  EXPECT_EQ(out.packet, PacketVerdict::deliver);
  ASSERT_NE(find<action::Thaw>(out), nullptr);
  EXPECT_FALSE(find<action::Thaw>(out)->claimed);
}

TEST(ClaimFrozen, VerifiesWhereTheClientIs) {
  Claim claim = owner();
  claim.on_foreign_echo(kForeign, at(0));
  EXPECT_EQ(sent(claim.on_packet(segment(kL, kSent, kNow - 5), at(5))).seq, kSent - 1);
}

TEST(ClaimFrozen, StaysSilentAfterThreeVerifications) {
  Claim claim = owner();
  ClaimContext context = at(0);
  context.living.set(to_int(kThird));
  claim.on_foreign_echo(kForeign, context);
  unsigned nudges = 0;
  for (int ms = 20; ms < 2900; ms += 20) {
    context.now = at(ms).now;
    nudges += find<action::Send>(claim.on_tick(context)) != nullptr;
  }
  EXPECT_EQ(nudges, 2u);
  EXPECT_EQ(claim.state(), FlowState::frozen);
}

TEST(ClaimFrozen, IsReleasedByTheClaimThatTheClientEchoes) {
  Claim claim = owner();
  claim.on_foreign_echo(kForeign, at(0));
  EXPECT_NE(find<action::Release>(claim.on_claimed(claim_of(kThird, kForeign), at(10))), nullptr);
  EXPECT_EQ(claim.state(), FlowState::released);
}

TEST(ClaimFrozen, AFalseClaimIsRefusedWithAHigherEpoch) {
  Claim claim = owner();
  const Nudge nudge = sent(claim.on_claimed(claim_of(kThird, kForeign), at(0)));
  EXPECT_EQ(claim.state(), FlowState::frozen);
  const Outcome out = claim.on_packet(segment(kL, kAcked, nudge.timestamps->value), at(10));
  ASSERT_NE(find<action::Thaw>(out), nullptr);
  EXPECT_TRUE(find<action::Thaw>(out)->claimed);
  EXPECT_EQ(find<action::Thaw>(out)->epoch, 5u);
}

TEST(ClaimFrozen, AClaimThatNobodyContradictsReleases) {
  Claim claim = owner();
  claim.on_claimed(claim_of(kThird, kForeign), at(0));
  Outcome out;
  for (int ms = 20; ms <= 1500 && claim.state() == FlowState::frozen; ms += 20) out = claim.on_tick(at(ms));
  EXPECT_NE(find<action::Release>(out), nullptr);
}

TEST(ClaimFrozen, ForwardsToTheLivingNodeThatIsNamed) {
  Claim claim = owner();
  ClaimContext context = at(0);
  context.living.set(to_int(kThird));
  claim.on_foreign_echo(kForeign, context);
  const Outcome out = claim.on_packet(segment(kL, kSent, kForeign), context);
  EXPECT_EQ(out.packet, PacketVerdict::forward);
  EXPECT_EQ(out.forward_to, kThird);
}

TEST(ClaimFrozen, ClaimsAgainWhenTheClaimantIsDead) {
  Claim claim = owner();
  claim.on_foreign_echo(kForeign, at(0));
  for (int ms = 20; ms < 4000 && claim.state() == FlowState::frozen; ms += 20) claim.on_tick(at(ms));
  EXPECT_EQ(claim.state(), FlowState::probing);
  claim.on_packet(segment(kL, kSent, kForeign), at(4000));
  const std::uint32_t fence = sent(claim.on_packet(segment(kL, kSent, kForeign), at(4010))).timestamps->value;
  EXPECT_GE(static_cast<std::int32_t>(fence - kForeign), static_cast<std::int32_t>(Claim::kFenceLead));
  EXPECT_NE(find<action::Proven>(claim.on_packet(segment(kL, kSent, fence), at(4020))), nullptr);
}

TEST(ClaimFrozen, ASessionTimeoutReleases) {
  ClaimOptions options;
  options.session_timeout = Millis{10'000};
  Claim claim = Claim::owner(kOwner, record(), options, at(0));
  ClaimContext context = at(0);
  claim.on_claimed(claim_of(kThird, kForeign), context);
  EXPECT_NE(find<action::Release>(claim.on_tick(at(10'000))), nullptr);
}

TEST(ClaimOwner, RepeatedForgeriesDoNotFreezeForEver) {
  Claim claim = owner();
  const Nudge nudge = sent(claim.on_foreign_echo(kForeign, at(0)));
  claim.on_packet(segment(kL, kAcked, nudge.timestamps->value), at(10));
  for (int ms = 20; ms < 5000; ms += 20) {
    EXPECT_EQ(find<action::Freeze>(claim.on_foreign_echo(kForeign, at(ms))), nullptr) << ms;
  }
  EXPECT_NE(find<action::Freeze>(claim.on_foreign_echo(kForeign, at(5020))), nullptr);
}

TEST(ClaimOwner, RenewsItsFenceWhileAFormerOwnerMayLive) {
  SessionRecord r = claim_of(kOwner, kNow - 1000);
  Claim claim = owner(r);
  EXPECT_EQ(claim.on_tick(at(239'999)).actions.size(), 0u);
  EXPECT_EQ(sent(claim.on_tick(at(240'000))).seq, kAcked - 1);
  ClaimContext silent = at(480'000);
  silent.former_may_live = false;
  EXPECT_EQ(claim.on_tick(silent).actions.size(), 0u);
}

TEST(ClaimOwner, AnEarlierFenceThanOursIsIgnored) {
  Claim claim = owner(claim_of(kOwner, kNow - 1000));
  SessionRecord earlier = claim_of(kThird, kNow - 2000);
  EXPECT_EQ(claim.on_claimed(earlier, at(0)).actions.size(), 0u);
}

TEST(ClaimOwner, WithoutFenceTheHigherRankStands) {
  SessionRecord mine = record(), theirs = record();
  mine.facts.timestamps = mine.facts.hint = theirs.facts.timestamps = theirs.facts.hint = false;
  mine.epoch = 2;
  theirs.owner = kThird;
  for (const auto& [epoch, released] : {std::pair(1u, false), std::pair(2u, true), std::pair(3u, true)}) {
    Claim claim = owner(mine);
    theirs.epoch = epoch;
    EXPECT_EQ(find<action::Release>(claim.on_claimed(theirs, at(0))) != nullptr, released) << epoch;
  }
}

TEST(ClaimProven, ALaterFenceReleasesSilently) {
  Claim claim = Claim::claimant(kSelf, record(), {});
  claim.start(at(0));
  const std::uint32_t fence = sent(claim.on_packet(segment(kL, kSent, kNow - 5), at(5))).timestamps->value;
  claim.on_packet(segment(kL, kSent, fence), at(10));
  ASSERT_EQ(claim.state(), FlowState::proven);
  EXPECT_NE(find<action::Release>(claim.on_foreign_echo(fence + (1U << 22), at(20))), nullptr);
  EXPECT_NE(find<action::Release>(claim.on_rebuilt(record(), at(30))), nullptr);
}

}  // namespace
}  // namespace suture::healing::test
