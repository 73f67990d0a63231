#include "proxy/healing/healer.hpp"

#include <map>

#include <gtest/gtest.h>
#include <suture/sequence.hpp>

#include "tests/unit/healing/packets.hpp"

namespace suture::healing {
namespace {

using test::append;
using test::append32;
using test::build;
using test::PacketSpec;

constexpr std::uint32_t kIss = 1000, kIrs = 5000;
constexpr std::uint32_t kFormerClock = 900'000;

// Node 1 with the record of a session of node 2, which is dead.
struct FakeWorld final : HealWorld {
  std::optional<SessionRecord> theirs, own;
  bool owner_living = false, adopts = true, map_full = false;
  Millis dead_for = Millis::max();
  int rebuild_errno = 0;
  TimePoint now{Millis{1'000'000}};
  std::uint32_t clock = kFormerClock;

  std::vector<Segment> sent;
  std::vector<std::string> log;  // what was done, in order
  std::vector<RebuildSpec> rebuilt;
  std::vector<Adoption> adopted;

  ClaimContext situation(const SessionRecord&, TimePoint at) const override {
    ClaimContext out;
    out.slot_now_ms = 77'000'000 + static_cast<std::uint64_t>((at - TimePoint{Millis{1'000'000}}) / Millis{1});
    out.former_clock = clock;
    out.former_first = clock - 100'000;
    out.former_clock_known = true;
    out.owner_living = owner_living;
    out.majority = true;
    return out;
  }
  const SessionRecord* record(const suture_flow_key&) const override {
    return own ? &*own : theirs ? &*theirs : nullptr;
  }
  const SessionRecord* own_record(const suture_flow_key&) const override { return own ? &*own : nullptr; }
  bool is_own(const SessionRecord& record) const override { return record.owner == NodeId{1}; }
  Epoch claim_epoch(const suture_flow_key&) const override { return 8; }
  std::optional<Millis> owner_dead_for(const SessionRecord&, TimePoint) const override {
    return owner_living ? std::nullopt : std::optional(dead_for);
  }
  std::uint32_t random() override { return 42; }

  void send(std::span<const std::uint8_t> packet) override { sent.push_back(*parse_segment(packet)); }
  void forward(NodeId peer, std::span<const std::uint8_t>) override {
    log.push_back("forward " + std::to_string(to_int(peer)));
  }
  void inject(std::span<const std::uint8_t>) override { log.push_back("inject"); }
  bool set_flow_state(const suture_flow_key&, suture_flow_phase phase) override {
    if (!map_full) log.push_back(phase == SUTURE_FLOW_CLAIMING ? "claiming" : "frozen");
    return !map_full;
  }
  void clear_flow_state(const suture_flow_key&) override { log.push_back("clear"); }
  Result<Rebuilt> rebuild(const RebuildSpec& spec) override {
    rebuilt.push_back(spec);
    if (rebuild_errno != 0) return Error{"bind", rebuild_errno};
    log.push_back("rebuild");
    return Rebuilt{77, spec.facts};
  }
  bool adopt(Adoption adoption) override {
    log.push_back("adopt");
    if (adopts) adopted.push_back(adoption);
    return adopts;
  }
  void discard(int) override { log.push_back("discard"); }
  void freeze(const suture_flow_key&) override { log.push_back("freeze"); }
  void thaw(const suture_flow_key&, std::optional<Epoch>) override { log.push_back("thaw"); }
  void release(const suture_flow_key&, bool erase) override { log.push_back(erase ? "release and erase" : "release"); }
  void forget_own(const suture_flow_key&) override { log.push_back("forget"); }
  void end_record(const suture_flow_key&) override { log.push_back("end_record"); }

  bool did(const std::string& what) const { return std::find(log.begin(), log.end(), what) != log.end(); }
};

class HealerTest : public ::testing::Test {
 protected:
  FakeWorld world;
  Healer healer{Healer::Options{.self = NodeId{1}, .incarnation = 3, .claim = {}}, world};

  void SetUp() override {
    SessionRecord record;
    record.facts.key = parse_segment(packet({}))->key;
    record.facts.iss = kIss;
    record.facts.irs = kIrs;
    record.facts.mss = 1400;
    record.facts.timestamps = record.facts.hint = record.facts.sack_ok = record.facts.wscale_ok = true;
    record.facts.snd_wscale = record.facts.rcv_wscale = 7;
    record.owner = NodeId{2};
    record.incarnation = 9;
    record.epoch = 7;
    record.session_id = 5;
    record.mode = SessionMode::http;
    record.in_known = 100;
    record.out_sent = record.out_acked = 300;
    record.http.emplace();
    record.http->response_end = 300;
    record.http->exchanges = 1;
    world.theirs = record;
  }

  struct Said {
    std::uint64_t in = 100, out = 300;
    std::uint32_t echo = kFormerClock - 10;
    std::uint8_t flags = kAck;
    std::string payload{};
  };
  static std::vector<std::uint8_t> packet(const Said& said) {
    PacketSpec spec;
    spec.seq = to_seq(kIrs, said.in);
    spec.ack = to_seq(kIss, said.out);
    spec.flags = said.flags;
    spec.payload = said.payload;
    append(spec.options, {1, 1, 8, 10});
    append32(spec.options, 4711);
    append32(spec.options, said.echo);
    return build(spec);
  }
  void hear(const Said& said) {
    const auto bytes = packet(said);
    healer.on_packet(*parse_segment(bytes), bytes, world.now);
  }
  suture_flow_key key() const { return world.theirs->facts.key; }
  std::uint32_t fence() const { return world.sent.back().timestamps->value; }
};

TEST_F(HealerTest, AStrayIsFencedAndTheAnswerMakesASocketBeforeTheSessionMayWrite) {
  hear({.payload = "GET"});
  ASSERT_EQ(world.sent.size(), 1U);
  EXPECT_EQ(world.sent[0].seq, to_seq(kIss, 300) - 1) << "one byte below the cursor";
  EXPECT_EQ(world.sent[0].ack, to_seq(kIrs, 100)) << "never more than the record knows";
  EXPECT_TRUE(world.did("claiming")) << "the answer may come back through another PoP";
  world.log.clear();

  hear({.in = 103, .echo = fence()});
  EXPECT_EQ(world.log, (std::vector<std::string>{"rebuild", "clear", "inject", "inject", "adopt"}))
      << "the stray and the answer (window, timestamp) are in the socket before the session is";
  ASSERT_EQ(world.adopted.size(), 1U);
  const auto& ours = world.adopted[0].record;
  EXPECT_EQ(ours.owner, NodeId{1});
  EXPECT_EQ(ours.incarnation, 3U);
  EXPECT_EQ(ours.epoch, 8U);
  EXPECT_TRUE(ours.fenced);
  EXPECT_EQ(ours.fence, fence());
  EXPECT_EQ(world.adopted[0].resume.rung, ResumeRung::idle);
  EXPECT_EQ(world.adopted[0].from, NodeId{2});
  EXPECT_EQ(world.adopted[0].resume.client_sent, 103U) << "S";
  EXPECT_EQ(world.rebuilt[0].out_seq, to_seq(kIss, 300));
  EXPECT_EQ(world.rebuilt[0].in_seq, to_seq(kIrs, 100));
  EXPECT_GT(seq_diff(world.rebuilt[0].tsval, fence()), 0);
  EXPECT_EQ(world.rebuilt[0].tsval % 2, 0U);
}

TEST_F(HealerTest, WhatCanOnlyBeEndedWaitsUntilItsOwnerIsDeadForCertain) {
  world.theirs->mode = SessionMode::tcp;
  world.theirs->http.reset();
  world.dead_for = Millis{999};
  hear({.payload = "bytes"});
  const auto probed = healer.probe(world.theirs->facts.key, world.now);
  EXPECT_EQ(probed.what, Healer::Probed::too_soon);
  EXPECT_EQ(probed.again, world.now + Millis{1});
  EXPECT_TRUE(world.sent.empty());
  EXPECT_FALSE(healer.has_claim(world.theirs->facts.key)) << "if the owner is back, its packets are forwarded";
  EXPECT_EQ(healer.metrics().ends_put_off.value(), 2U);
  world.dead_for = Millis{1000};
  hear({.payload = "bytes"});
  EXPECT_TRUE(healer.has_claim(world.theirs->facts.key));
}

TEST_F(HealerTest, WhatCanGoOnDoesNotWait) {
  world.dead_for = Millis{0};
  hear({.payload = "GET"});
  EXPECT_TRUE(healer.has_claim(world.theirs->facts.key));
}

TEST_F(HealerTest, AnAnswerWithoutOurEchoProvesNothing) {
  hear({});
  hear({});
  EXPECT_TRUE(world.adopted.empty());
}

TEST_F(HealerTest, AClientWithAClosedWindowIsAskedAgainSoon) {
  world.theirs->facts.snd_wscale = 0;  // 512 bytes
  hear({});
  const auto echo = fence();
  hear({.echo = echo});
  ASSERT_EQ(world.adopted.size(), 1U);
  world.own = world.adopted[0].record;
  const auto before = world.sent.size();
  for (int i = 0; i < 500; ++i) {
    world.now += Millis{10};
    healer.on_tick(world.now);
  }
  EXPECT_EQ(world.sent.size() - before, 6U) << "50 ms, doubling, for three seconds";
  EXPECT_EQ(world.sent.back().seq, to_seq(kIss, 300) - 1) << "below what it has: the byte reaches nobody";
}

TEST_F(HealerTest, AFailedRebuildLeavesTheSessionClaimable) {
  world.rebuild_errno = EADDRINUSE;
  hear({});
  hear({.echo = fence()});
  EXPECT_TRUE(world.adopted.empty());
  EXPECT_EQ(healer.metrics().rebuild_errors.value(), 1U);
  world.rebuild_errno = 0;
  for (int i = 0; i < 10 && world.adopted.empty(); ++i) {
    world.now += Millis{100};
    hear({.echo = fence()});
    healer.on_tick(world.now);
    hear({.echo = fence()});
  }
  EXPECT_EQ(world.adopted.size(), 1U);
}

TEST_F(HealerTest, ASocketThatNoWorkerTakesIsClosedSilently) {
  world.adopts = false;
  hear({});
  hear({.echo = fence()});
  EXPECT_TRUE(world.did("discard"));
  EXPECT_EQ(healer.metrics().adoption_refused.value(), 1U);
}

TEST_F(HealerTest, AClientThatAnswersNobodyEndsTheClaimAndLeavesNothing) {
  hear({.payload = "GET"});
  for (int i = 0; i < 500 && healer.size() != 0; ++i) {
    world.now += Millis{20};
    healer.on_tick(world.now);
  }
  EXPECT_EQ(healer.size(), 0U);
  EXPECT_TRUE(world.did("clear")) << "no entry stays in the kernel";
  EXPECT_EQ(world.sent.size(), 3U);
  EXPECT_EQ(healer.metrics().give_ups[static_cast<std::size_t>(GiveUpReason::no_answer)].value(), 1U);
}

TEST_F(HealerTest, WhatWasHeldGoesToAnOwnerThatTurnsOutToLive) {
  world.theirs->out_acked = 200;  // the stray's echo is not trusted below: probe first
  hear({.echo = kFormerClock + 5000});
  world.owner_living = true;
  healer.on_owner_living(NodeId{2}, world.now);
  EXPECT_TRUE(world.did("forward 2"));
  EXPECT_EQ(healer.size(), 0U);
}

TEST_F(HealerTest, ARecordThatEndsEndsTheClaim) {
  hear({});
  world.theirs.reset();
  world.now += Millis{300};
  healer.on_tick(world.now);
  EXPECT_EQ(healer.size(), 0U);
}

TEST_F(HealerTest, AnRstThatAnswersOurNudgeEndsTheRecord) {
  hear({});
  hear({.in = 90, .flags = kRst});
  EXPECT_FALSE(world.did("end_record")) << "SEQ is not the ACK of our nudge";
  PacketSpec spec;
  spec.seq = world.sent.back().ack;
  spec.flags = kRst;
  const auto bytes = build(spec);
  healer.on_packet(*parse_segment(bytes), bytes, world.now);
  EXPECT_TRUE(world.did("end_record"));
  EXPECT_EQ(healer.size(), 0U);
}

TEST_F(HealerTest, ClaimsAreBounded) {
  Healer small{Healer::Options{.self = NodeId{1}, .incarnation = 3, .claim = {}, .claims_max = 0}, world};
  const auto bytes = packet({});
  small.on_packet(*parse_segment(bytes), bytes, world.now);
  EXPECT_EQ(small.size(), 0U);
  EXPECT_EQ(small.metrics().claims_full.value(), 1U);
}

TEST_F(HealerTest, AProbeIsOneSegmentAndNoClaim) {
  EXPECT_EQ(healer.probe(key(), world.now).what, Healer::Probed::sent);
  EXPECT_EQ(world.sent.size(), 1U);
  EXPECT_EQ(world.sent[0].seq, to_seq(kIss, 300) - 2);
  EXPECT_EQ(healer.size(), 0U);
  world.owner_living = true;
  EXPECT_EQ(healer.probe(key(), world.now).what, Healer::Probed::over);
}

TEST_F(HealerTest, AHealedSessionIsAskedWhereItIsNow) {
  hear({});
  hear({.echo = fence()});
  ASSERT_TRUE(world.did("adopt"));
  world.clock = fence() + 1000;
  world.own = world.adopted.at(0).record;
  world.own->owner = NodeId{1};
  world.own->out_sent = world.own->out_acked = 300 + (3ULL << 29);  // as much later as no lagging record could be
  world.owner_living = true;
  world.sent.clear();
  healer.on_replaced(key(), world.clock + (1 << 20), world.now);
  ASSERT_TRUE(world.did("freeze"));
  ASSERT_FALSE(world.sent.empty());
  EXPECT_EQ(world.sent[0].seq, to_seq(kIss, 300 + (3ULL << 29)) - 1);
  hear({.out = 300 + (3ULL << 29), .echo = world.clock + 5});
  EXPECT_TRUE(world.did("thaw"));
}

TEST_F(HealerTest, AGatedSessionAsksItsClientOnce) {
  world.own = world.theirs;
  world.own->owner = NodeId{1};
  world.owner_living = true;  // it is ours
  healer.on_gated(key(), world.now);
  ASSERT_EQ(world.sent.size(), 1U);
  EXPECT_EQ(world.sent[0].seq, to_seq(kIss, 300) - 2);
  EXPECT_EQ(healer.size(), 0U);
}

TEST_F(HealerTest, AForeignEchoFreezesOurSessionAndOurOwnThawsIt) {
  world.own = world.theirs;
  world.own->owner = NodeId{1};
  world.owner_living = true;
  healer.on_replaced(key(), kFormerClock + (1 << 20), world.now);
  EXPECT_TRUE(world.did("frozen"));
  EXPECT_TRUE(world.did("freeze"));
  ASSERT_FALSE(world.sent.empty()) << "it asks the client";
  hear({.echo = fence()});
  EXPECT_TRUE(world.did("thaw"));
  EXPECT_TRUE(world.did("clear"));
}

// The client is asked each time, and says that it is ours; between two freezes there is a growing time without.
TEST_F(HealerTest, AForgerWhoGoesOnDoesNotFreezeASessionThatNobodyEverHealed) {
  world.own = world.theirs;
  world.own->owner = NodeId{1};
  world.owner_living = true;
  for (int i = 0; i < 400; ++i) {  // eight seconds
    world.now += Millis{20};
    world.clock += 20;
    healer.on_replaced(key(), world.clock + (1 << 20), world.now);
    hear({.echo = fence()});
    healer.on_tick(world.now);
  }
  EXPECT_EQ(std::count(world.log.begin(), world.log.end(), "freeze"), 2) << "at once, and after five seconds";
  EXPECT_EQ(std::count(world.log.begin(), world.log.end(), "thaw"), 2);
  for (int i = 0; i < 2000; ++i) healer.on_tick(world.now += Millis{100});
  EXPECT_EQ(healer.size(), 0U) << "forgotten in the end";
}

TEST_F(HealerTest, TheResetOfAClientThatIsGoneEndsTheRecord) {
  hear({.in = 99, .flags = kRst});
  hear({.in = 101, .flags = kRst | kAck});
  EXPECT_TRUE(world.log.empty()) << "not what a probe's answer has";
  hear({.flags = kRst});
  EXPECT_TRUE(world.did("end_record"));
  world.log.clear();
  world.owner_living = true;
  hear({.flags = kRst});
  EXPECT_TRUE(world.log.empty()) << "its owner decides";
}

TEST_F(HealerTest, WithoutAPlaceInTheKernelsMapNoClaimBegins) {
  world.map_full = true;
  hear({.payload = "GET"});
  EXPECT_TRUE(world.sent.empty());
  EXPECT_EQ(healer.size(), 0U);
  EXPECT_EQ(healer.metrics().flow_map_full.value(), 1U);
  world.map_full = false;
  hear({.payload = "GET"});
  EXPECT_EQ(world.sent.size(), 1U) << "its retransmission";
}

TEST_F(HealerTest, ASessionInDoubtThatTheKernelCannotGateIsReleased) {
  world.own = world.theirs;
  world.own->owner = NodeId{1};
  world.owner_living = world.map_full = true;
  healer.on_replaced(key(), kFormerClock + (1 << 20), world.now);
  EXPECT_TRUE(world.did("release and erase"));
  EXPECT_FALSE(world.did("freeze"));
}

TEST_F(HealerTest, AnotherNodesEchoReleasesOurSessionInSilence) {
  world.own = world.theirs;
  world.own->owner = NodeId{1};
  world.owner_living = true;
  const std::uint32_t foreign = kFormerClock + (1 << 23);
  healer.on_replaced(key(), foreign, world.now);
  SessionRecord claim = *world.own;
  claim.owner = NodeId{3};
  claim.epoch = 9;
  claim.fenced = true;
  claim.fence = foreign;
  healer.on_claimed(claim, world.now);
  for (int i = 0; i < 500 && !world.did("release and erase"); ++i) {
    hear({.echo = foreign + 1});
    world.now += Millis{20};
    healer.on_tick(world.now);
  }
  EXPECT_TRUE(world.did("release and erase"));
  EXPECT_FALSE(world.did("thaw"));
  EXPECT_EQ(healer.size(), 0U);
}

TEST_F(HealerTest, TheStoryIsToldWhenTheSessionGoesOn) {
  hear({});
  hear({.echo = fence()});
  healer.on_adopted(key(), ResumeRung::idle, "", world.now + Millis{3});
  EXPECT_EQ(healer.metrics().heal_seconds.count(), 1U);
  healer.on_adopted(key(), ResumeRung::idle, "", world.now);
  EXPECT_EQ(healer.metrics().heal_seconds.count(), 1U) << "once";
}

}  // namespace
}  // namespace suture::healing
