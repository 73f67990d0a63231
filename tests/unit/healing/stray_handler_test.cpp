#include "proxy/healing/stray_handler.hpp"

#include <gtest/gtest.h>

#include "tests/unit/healing/packets.hpp"

namespace suture::healing {
namespace {

using test::build;

constexpr Millis kEndGrace{1000};

struct FakeWorld final : FlowKnowledge, StrayOutlet {
  Owner owner;
  std::vector<NodeId> living{NodeId{2}, NodeId{3}};
  bool complete = true, complete_but_for_dead_ = false;
  bool claimed = false;

  struct Sent {
    char kind;
    unsigned peer;
    std::vector<std::uint8_t> packet;
  };
  std::vector<Sent> sent;

  Owner owner_of(const suture_flow_key&) const override { return owner; }
  bool has_claim(const suture_flow_key&) const override { return claimed; }
  std::vector<NodeId> living_peers() const override { return living; }
  bool peers_complete() const override { return complete; }
  bool complete_but_for_dead(Millis dead_for) const override {
    EXPECT_EQ(dead_for, kEndGrace);
    return complete_but_for_dead_;
  }
  void forward(NodeId peer, std::span<const std::uint8_t> p) override { record('F', to_int(peer), p); }
  void ask(NodeId peer, std::span<const std::uint8_t> p) override { record('A', to_int(peer), p); }
  void deliver(std::span<const std::uint8_t> p) override { record('D', 0, p); }
  void claim(const Segment&, std::span<const std::uint8_t> p, TimePoint) override { record('C', 0, p); }
  void reset(std::span<const std::uint8_t> p) override { record('R', 0, p); }
  void record(char kind, unsigned peer, std::span<const std::uint8_t> p) {
    sent.push_back({kind, peer, {p.begin(), p.end()}});
  }
  std::string kinds() const {
    std::string out;
    for (const auto& s : sent) out += std::string(1, s.kind) + std::to_string(s.peer) + ' ';
    return out;
  }
};

class Handler : public ::testing::Test {
 protected:
  FakeWorld world;
  StrayHandler handler{world, world, kEndGrace};
  TimePoint t0{Millis{1'000'000}};
  std::vector<std::uint8_t> first = build({.seq = 1, .payload = "one"});
  std::vector<std::uint8_t> second = build({.seq = 4, .payload = "two"});
  std::vector<std::uint8_t> third = build({.seq = 7, .payload = "three"});
  suture_flow_key key = parse_segment(first)->key;
};

TEST_F(Handler, AsksOnceHoldsWhatFollowsAndForwardsItInOrderWhenAPeerSaysMine) {
  handler.on_packet(first, t0);
  handler.on_packet(second, t0);
  handler.on_packet(third, t0);
  EXPECT_EQ(world.kinds(), "A2 A3 ");
  EXPECT_EQ(world.sent[0].packet, first) << "the question carries the packet: it must not be sent again later";
  handler.on_mine(NodeId{3}, key, t0);
  EXPECT_EQ(world.kinds(), "A2 A3 F3 F3 ");
  EXPECT_EQ(world.sent[2].packet, second);
  EXPECT_EQ(world.sent[3].packet, third);
  handler.on_packet(second, t0);
  EXPECT_EQ(world.kinds(), "A2 A3 F3 F3 F3 ") << "the record is still under way: the answer serves";
}

TEST_F(Handler, ARecordThatOvertakesTheAnswerReleasesWhatIsHeld) {
  handler.on_packet(first, t0);
  handler.on_packet(second, t0);
  world.owner = {KnownOwner::living, NodeId{2}};
  handler.on_packet(third, t0);
  EXPECT_EQ(world.kinds(), "A2 A3 F2 F2 ");
  EXPECT_EQ(world.sent[2].packet, second);
}

TEST_F(Handler, UnknownToAllIsResetAfterOneRetransmissionTimeAndNotBefore) {
  handler.on_packet(first, t0);
  handler.on_unknown(NodeId{2}, key);
  handler.on_unknown(NodeId{3}, key);
  handler.on_tick(t0 + StrayHandler::question_timeout - Millis{1});
  EXPECT_EQ(world.kinds(), "A2 A3 ");
  handler.on_tick(t0 + StrayHandler::question_timeout);
  EXPECT_EQ(world.kinds(), "A2 A3 R0 ");
  const auto reset = parse_segment(world.sent.back().packet);
  ASSERT_TRUE(reset);
  EXPECT_EQ(reset->seq, 2000U);
  handler.on_tick(t0 + 10 * StrayHandler::question_timeout);
  EXPECT_EQ(world.sent.size(), 3U) << "one reset a question";
}

TEST_F(Handler, NoResetWhileAPeerThatMayHaveTheFlowIsNotInSync) {
  world.complete = false;
  handler.on_packet(first, t0);
  handler.on_unknown(NodeId{2}, key);
  handler.on_unknown(NodeId{3}, key);
  handler.on_tick(t0 + StrayHandler::question_timeout);
  EXPECT_EQ(world.kinds(), "A2 A3 ");
  EXPECT_EQ(handler.verdicts(StrayVerdict::drop_unproven), 1U);
}

TEST_F(Handler, NoResetWhileAPeerThatWasAskedIsSilentAndTheNextPacketAsksAgain) {
  handler.on_packet(first, t0);
  handler.on_unknown(NodeId{2}, key);
  handler.on_tick(t0 + StrayHandler::question_timeout);
  EXPECT_EQ(world.kinds(), "A2 A3 ");
  EXPECT_EQ(handler.verdicts(StrayVerdict::drop_unproven), 1U);
  handler.on_packet(first, t0 + StrayHandler::question_timeout);
  EXPECT_EQ(world.kinds(), "A2 A3 A2 A3 ");
}

TEST_F(Handler, AClientThatKeepsComingIsResetWhenOnlyTheDeadCouldKnowIt) {
  world.complete = false;
  world.complete_but_for_dead_ = true;
  const auto ask = [this](TimePoint at) {
    handler.on_packet(first, at);
    handler.on_unknown(NodeId{2}, key);
    handler.on_unknown(NodeId{3}, key);
    handler.on_tick(at + StrayHandler::question_timeout);
  };
  for (const int ms : {0, 200, 600}) ask(t0 + Millis{ms});
  EXPECT_EQ(handler.verdicts(StrayVerdict::drop_unproven), 3U);
  world.complete_but_for_dead_ = false;
  ask(t0 + Millis{1400});
  EXPECT_EQ(handler.verdicts(StrayVerdict::drop_unproven), 4U) << "somebody still hears it";
  world.complete_but_for_dead_ = true;
  handler.on_packet(first, t0 + Millis{3000});
  handler.on_unknown(NodeId{2}, key);
  handler.on_tick(t0 + Millis{3200});
  EXPECT_EQ(handler.verdicts(StrayVerdict::drop_unproven), 5U) << "a living peer has not answered";
  EXPECT_EQ(world.kinds().find('R'), std::string::npos);
  ask(t0 + Millis{6200});
  EXPECT_EQ(handler.verdicts(StrayVerdict::reset_unrecorded), 1U);
  EXPECT_EQ(world.sent.back().kind, 'R');
  ask(t0 + Millis{7400});
  EXPECT_EQ(handler.verdicts(StrayVerdict::reset_unrecorded), 1U) << "another connection's time begins anew";
}

TEST_F(Handler, AClientThatWasAwayMeanwhileStartsAnew) {
  world.complete = false;
  world.complete_but_for_dead_ = true;
  for (const auto at : {t0, t0 + StrayHandler::unproven_lifetime + Millis{300}}) {
    handler.on_packet(first, at);
    handler.on_unknown(NodeId{2}, key);
    handler.on_unknown(NodeId{3}, key);
    handler.on_tick(at + StrayHandler::question_timeout);
    handler.on_tick(at + StrayHandler::unproven_lifetime + StrayHandler::question_timeout + Millis{1});
  }
  EXPECT_EQ(handler.verdicts(StrayVerdict::drop_unproven), 2U);
  EXPECT_EQ(world.kinds().find('R'), std::string::npos);
}

TEST_F(Handler, AloneANodeResetsAfterTheSameTime) {
  world.living.clear();
  handler.on_packet(first, t0);
  EXPECT_TRUE(world.sent.empty());
  handler.on_tick(t0 + StrayHandler::question_timeout);
  EXPECT_EQ(world.kinds(), "R0 ");
}

TEST_F(Handler, ADeadOwnersStraysGoToTheHealerInOrderWithWhatWasHeld) {
  world.owner = {KnownOwner::dead, NodeId{2}};
  handler.on_packet(first, t0);
  handler.on_tick(t0 + Millis{10'000});
  EXPECT_EQ(world.kinds(), "C0 ");
  EXPECT_EQ(handler.verdicts(StrayVerdict::claim), 1U);
}

TEST_F(Handler, OurOwnSessionsPacketsGoToItsSocketAndAreNeverReset) {
  world.owner = {KnownOwner::own, NodeId{1}};
  handler.on_packet(first, t0);
  EXPECT_EQ(world.kinds(), "D0 ");
  handler.on_tick(t0 + 10 * StrayHandler::question_timeout);
  EXPECT_EQ(world.kinds(), "D0 ");
}

TEST_F(Handler, AQuestionAboutASessionThatTurnsOutToBeOursIsNoReset) {
  handler.on_packet(first, t0);
  handler.on_packet(second, t0);
  handler.on_unknown(NodeId{2}, key);
  handler.on_unknown(NodeId{3}, key);
  world.owner = {KnownOwner::own, NodeId{1}};
  handler.on_tick(t0 + StrayHandler::question_timeout);
  EXPECT_EQ(world.kinds(), "A2 A3 D0 ");
}

TEST_F(Handler, AClaimTakesEveryPacketOfItsFlow) {
  world.claimed = true;
  world.owner = {KnownOwner::living, NodeId{2}};
  handler.on_packet(first, t0);
  handler.on_packet(build({.seq = 1, .flags = kRst}), t0);
  EXPECT_EQ(world.kinds(), "C0 C0 ");
}

TEST_F(Handler, AnOwnerThatDiesWhileItIsAskedForLeavesWhatIsHeldToTheHealer) {
  handler.on_packet(first, t0);
  handler.on_packet(second, t0);
  world.owner = {KnownOwner::dead, NodeId{2}};
  handler.on_packet(third, t0);
  EXPECT_EQ(world.kinds(), "A2 A3 C0 C0 ");
  EXPECT_EQ(world.sent[2].packet, second);
  EXPECT_EQ(world.sent[3].packet, third);
}

TEST_F(Handler, AnUnansweredQuestionWhoseOwnerTurnsOutDeadGoesToTheHealer) {
  handler.on_packet(first, t0);
  handler.on_packet(second, t0);
  world.owner = {KnownOwner::dead, NodeId{2}};
  handler.on_tick(t0 + StrayHandler::question_timeout);
  EXPECT_EQ(world.kinds(), "A2 A3 C0 ");
}

TEST_F(Handler, NotMineEndsAnAnswer) {
  handler.on_packet(first, t0);
  handler.on_mine(NodeId{3}, key, t0);
  handler.on_not_mine(NodeId{2}, key);
  handler.on_packet(second, t0);
  EXPECT_EQ(world.kinds(), "A2 A3 F3 ") << "another peer's word does not matter";
  handler.on_not_mine(NodeId{3}, key);
  handler.on_packet(third, t0);
  EXPECT_EQ(world.kinds(), "A2 A3 F3 A2 A3 ");
}

TEST_F(Handler, AnUninvitedMineDoesNothing) {
  handler.on_mine(NodeId{3}, key, t0);
  handler.on_packet(first, t0);
  EXPECT_EQ(world.kinds(), "A2 A3 ");
}

TEST_F(Handler, AnAnswerIsBelievedForALimitedTime) {
  handler.on_packet(first, t0);
  handler.on_mine(NodeId{3}, key, t0);
  handler.on_tick(t0 + StrayHandler::answer_lifetime);
  handler.on_packet(second, t0 + StrayHandler::answer_lifetime);
  EXPECT_EQ(world.kinds(), "A2 A3 A2 A3 ");
}

TEST_F(Handler, HoldingAndQuestionsAreBounded) {
  handler.on_packet(first, t0);
  for (std::size_t i = 0; i < 3 * limits::held_packets_per_flow; ++i) handler.on_packet(second, t0);
  handler.on_mine(NodeId{2}, key, t0);
  EXPECT_EQ(world.sent.size(), 2 + limits::held_packets_per_flow);

  world.sent.clear();
  for (unsigned i = 0; i < StrayHandler::questions_max + 100; ++i) {
    handler.on_packet(build({.client_port = static_cast<std::uint16_t>(10000 + i)}), t0);
  }
  EXPECT_LE(world.sent.size(), 2 * StrayHandler::questions_max);
}

TEST_F(Handler, ResetsAreNeverAnswered) {
  handler.on_packet(build({.flags = kRst}), t0);
  handler.on_tick(t0 + Millis{10'000});
  EXPECT_TRUE(world.sent.empty());
}

}  // namespace
}  // namespace suture::healing
