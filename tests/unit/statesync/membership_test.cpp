#include <statesync/membership.hpp>

#include "support.hpp"

namespace suture::statesync::test {
namespace {

// Node A's view of B, C, D and E.
class MembershipTest : public ::testing::Test {
 protected:
  static constexpr NodeId kE{5};
  Membership membership{{.self = kA, .peers = {kB, kC, kD, kE}}};
  std::map<NodeId, std::uint64_t> seq;

  // The peer's clock stands at `clock` ms; its records up to `delivered` ms are acknowledged by us.
  void hear(NodeId from, std::uint64_t echo, std::uint64_t clock, std::uint64_t delivered,
            std::initializer_list<NodeId> hears = {kA}, Incarnation incarnation = 10) {
    Datagram d{.sender = from, .receiver = kA, .incarnation = incarnation, .seq = ++seq[from], .echo = echo};
    d.monotonic_ms = clock;
    d.delivered_ms = delivered;
    for (const NodeId id : hears) d.hears.set(to_int(id));
    membership.on_heard(d);
  }
  void catch_up(NodeId peer) {
    membership.on_up(peer);
    hear(peer, 1, 1000, 0);
    hear(peer, 2, 1200, 1199);
    ASSERT_TRUE(membership.caught_up(peer));
  }
};

TEST_F(MembershipTest, majority_counts_ourselves_and_all_configured_nodes) {
  EXPECT_FALSE(membership.majority());
  membership.on_up(kB);
  EXPECT_FALSE(membership.majority()) << "2 of 5";
  membership.on_up(kC);
  EXPECT_TRUE(membership.majority());
  membership.on_down(kB, 9);
  EXPECT_FALSE(membership.majority());
  EXPECT_TRUE(Membership({.self = kA, .peers = {}}).majority());
}

TEST_F(MembershipTest, an_even_half_is_no_majority_and_two_nodes_are_configured) {
  Membership four({.self = kA, .peers = {kB, kC, kD}});
  four.on_up(kB);
  EXPECT_FALSE(four.majority());
  EXPECT_TRUE(Membership({.self = kA, .peers = {kB}}).majority());
  EXPECT_FALSE(Membership({.self = kA, .peers = {kB}}).cut_off());
  Membership safe({.self = kA, .peers = {kB}, .two_node_available = false});
  EXPECT_FALSE(safe.majority());
  EXPECT_TRUE(safe.cut_off());
  safe.on_up(kB);
  EXPECT_TRUE(safe.majority());
}

TEST_F(MembershipTest, a_peer_is_caught_up_when_what_it_claimed_without_us_is_applied) {
  membership.on_up(kB);
  hear(kB, 1, 1000, 999, {});
  EXPECT_FALSE(membership.caught_up(kB)) << "it does not hear us yet: it may be claiming from us right now";
  hear(kB, 2, 1050, 1049);
  EXPECT_FALSE(membership.caught_up(kB)) << "what it claimed a moment ago may wait in a worker's queue";
  hear(kB, 3, 1140, 1139);
  EXPECT_FALSE(membership.caught_up(kB));
  hear(kB, 4, 1500, 1149);
  EXPECT_FALSE(membership.caught_up(kB)) << "a claim waits to be sent";
  hear(kB, 5, 1550, 1150);
  EXPECT_TRUE(membership.caught_up(kB));
  hear(kB, 6, 9000, 0);
  EXPECT_TRUE(membership.caught_up(kB)) << "what comes later is everyday life";
}

TEST_F(MembershipTest, cut_off_ends_with_a_majority_that_is_alive_and_caught_up) {
  EXPECT_TRUE(membership.cut_off());
  catch_up(kB);
  membership.on_up(kC);
  EXPECT_TRUE(membership.majority());
  EXPECT_TRUE(membership.cut_off()) << "C's claims are not known";
  catch_up(kC);
  EXPECT_FALSE(membership.cut_off());
  membership.on_down(kC, 50);
  EXPECT_TRUE(membership.cut_off());
  membership.on_up(kC);
  hear(kC, 50, 5000, 4999);
  hear(kC, 50, 6000, 5999);
  EXPECT_TRUE(membership.cut_off()) << "it echoes what we sent before";
  hear(kC, 51, 7000, 6999);
  hear(kC, 51, 7100, 7100);
  EXPECT_FALSE(membership.cut_off());
}

TEST_F(MembershipTest, after_a_stall_everybody_has_to_be_heard_again) {
  catch_up(kB), catch_up(kC);
  EXPECT_TRUE(membership.caught_up_all_alive()) << "D and E are not alive";
  for (const NodeId id : {kB, kC, kD, kE}) membership.on_stall(id, 20);
  EXPECT_FALSE(membership.caught_up_all_alive());
  EXPECT_TRUE(membership.cut_off());
  // What waited in the socket was sent during the stall.
  hear(kB, 20, 3000, 2999), hear(kB, 20, 3200, 3199);
  EXPECT_FALSE(membership.caught_up(kB));
  hear(kB, 21, 3300, 3299), hear(kB, 23, 3400, 3400);
  EXPECT_TRUE(membership.caught_up(kB));
  EXPECT_FALSE(membership.caught_up_all_alive());
  membership.on_down(kC, 25);
  EXPECT_TRUE(membership.caught_up_all_alive()) << "who died meanwhile is not waited for";
}

TEST_F(MembershipTest, a_new_incarnation_starts_from_nothing) {
  catch_up(kB);
  seq[kB] = 0;
  hear(kB, 1, 10, 0, {}, 11);
  EXPECT_FALSE(membership.caught_up(kB));
  hear(kB, 1, 20, 19, {kA}, 11), hear(kB, 2, 130, 129, {kA}, 11);
  EXPECT_TRUE(membership.caught_up(kB)) << "by its own clock and numbers";
}

TEST_F(MembershipTest, a_witness_lives_and_is_a_third) {
  hear(kB, 1, 0, 0, {kA, kE});
  EXPECT_FALSE(membership.heard_by_any(kE)) << "B is not alive";
  membership.on_up(kB);
  EXPECT_TRUE(membership.heard_by_any(kE));
  EXPECT_FALSE(membership.heard_by_any(kD));
  membership.on_up(kE);
  hear(kE, 1, 0, 0, {kE});
  hear(kB, 1, 0, 0, {kA});
  EXPECT_FALSE(membership.heard_by_any(kE)) << "its own word is none";
  --seq[kB];
  --seq[kB];
  hear(kB, 1, 0, 0, {kE});
  EXPECT_FALSE(membership.heard_by_any(kE)) << "a datagram that was overtaken";
}

}  // namespace
}  // namespace suture::statesync::test
