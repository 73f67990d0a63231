// Claims in the directory (PROTOCOL.md, "Probe, fence, claim"): which ownership of one connection stands, and who is
// told.
#include <statesync/directory.hpp>

#include <algorithm>
#include <array>

#include "support.hpp"

namespace suture::statesync::test {
namespace {

SessionRecord claim(std::uint16_t port, NodeId owner, Epoch epoch, std::optional<std::uint32_t> fence = std::nullopt,
                    std::uint64_t session_id = 1) {
  SessionRecord r = record(port, owner, 100, session_id, epoch);
  r.facts.timestamps = true;
  r.fenced = fence.has_value();
  r.fence = fence.value_or(0);
  return r;
}

// Node A's directory; B and C are living.
class ClaimsTest : public ::testing::Test {
 protected:
  FakeOwnerMap map;
  std::vector<std::pair<unsigned, Epoch>> told;                       // claimant, epoch
  std::vector<unsigned> restored;                                     // client port
  std::vector<std::pair<unsigned, std::optional<unsigned>>> changed;  // client port, owner now
  std::vector<std::pair<unsigned, unsigned>> orphans;                 // client port, owner
  Directory directory{
      {.self = kA, .incarnation = 100},
      map,
      {.on_claimed = [this](const SessionRecord& r) { told.emplace_back(to_int(r.owner), r.epoch); },
       .on_own_restored = [this](const suture_flow_key& k) { restored.push_back(ntohs(k.client_port)); },
       .on_owner_changed =
           [this](const suture_flow_key& k, const SessionRecord* r) {
             changed.emplace_back(ntohs(k.client_port), r ? std::optional(to_int(r->owner)) : std::nullopt);
           },
       .on_orphan = [this](const SessionRecord& r,
                           TimePoint) { orphans.emplace_back(ntohs(r.facts.key.client_port), to_int(r.owner)); }}};
  ClaimsTest() {
    directory.node_living(kB, 100, at(0));
    directory.node_living(kC, 100, at(0));
  }
  Applied remote(const SessionRecord& r, std::int64_t ms = 0) {
    return directory.apply_remote(r.owner, r.incarnation, r, at(ms));
  }
  Applied own(const SessionRecord& r, std::int64_t ms = 0) { return directory.upsert_own(r, at(ms)); }
  std::optional<unsigned> owner(std::uint16_t port) const {
    const auto* r = directory.find(key(port));
    return r ? std::optional(to_int(r->owner)) : std::nullopt;
  }
};

TEST_F(ClaimsTest, which_record_of_one_connection_stands) {
  struct Row {
    const char* name;
    SessionRecord winner, loser;
  };
  auto no_numbers_living = claim(1, kB, 0), no_numbers_dead = claim(1, kC, 1);
  for (auto* r : {&no_numbers_living, &no_numbers_dead}) r->facts.iss = r->facts.irs = 0;
  auto other_iss_living = claim(1, kB, 0);
  other_iss_living.facts.iss += 1;
  const Row rows[] = {
      {"fenced before unfenced of the same epoch", claim(1, kB, 1, 10), claim(1, kC, 1)},
      {"fenced before unfenced of a lower epoch", claim(1, kB, 2, 10), claim(1, kC, 1)},
      {"not before an owner that came through with a higher epoch", claim(1, kC, 2), claim(1, kB, 1, 10)},
      {"the later fence, whatever the epochs", claim(1, kB, 1, 12), claim(1, kC, 7, 10)},
      {"later in serial order", claim(1, kB, 1, 5), claim(1, kC, 1, 0xfffffff0)},
      {"equal fences: the epoch", claim(1, kB, 2, 10), claim(1, kC, 1, 10)},
      {"without fence: the epoch, although its owner is dead", claim(1, kC, 2), claim(1, kB, 1)},
      {"then the id, although its owner is dead", claim(1, kC, 1), claim(1, kB, 1)},
  };
  for (const auto& row : rows) {
    // Liveness changes nothing: every node must come to the same verdict.
    for (const bool winner_living : {true, false}) {
      EXPECT_TRUE(supersedes(row.winner, winner_living, row.loser, !winner_living)) << row.name;
      EXPECT_FALSE(supersedes(row.loser, !winner_living, row.winner, winner_living)) << row.name << ", mirrored";
    }
  }
  EXPECT_TRUE(supersedes(no_numbers_living, true, no_numbers_dead, false)) << "unknown numbers: the living owner";
  EXPECT_TRUE(supersedes(other_iss_living, true, claim(1, kC, 3, 9), false)) << "another connection: no claim to it";
}

TEST_F(ClaimsTest, every_order_of_arrival_ends_the_same) {
  std::array<SessionRecord, 3> records{claim(1, kB, 0), claim(1, kC, 1, 10), claim(1, kD, 1, 20)};
  std::array<int, 3> order{0, 1, 2};
  do {
    Directory fresh({.self = kA, .incarnation = 100}, map);
    for (const int i : order) fresh.apply_remote(records[i].owner, 100, records[i], at(0));
    EXPECT_EQ(fresh.find(key(1))->owner, kD);
    EXPECT_EQ(fresh.claim_epoch(key(1)), 2u);
  } while (std::next_permutation(order.begin(), order.end()));
}

TEST_F(ClaimsTest, an_adopted_session_replaces_the_dead_owners_record_and_stays_when_it_returns) {
  remote(claim(1, kB, 0, std::nullopt, 7));
  directory.node_not_living(kB, at(10));
  ASSERT_EQ(directory.claim_epoch(key(1)), 1u);
  EXPECT_EQ(own(claim(1, kA, 1, 100, 1)), Applied::stored_new) << "new to the peers";
  EXPECT_EQ(changed, (decltype(changed){{1, 1}})) << "the prober is told";
  EXPECT_FALSE(map.at(1)) << "our socket decides";
  // The owner was only cut off: it comes back with what it had.
  directory.node_living(kB, 100, at(20));
  auto late = claim(1, kB, 0, std::nullopt, 7);
  late.in_known = 50;
  EXPECT_EQ(remote(late), Applied::lower_claim);
  EXPECT_EQ(owner(1), 1u);
  EXPECT_TRUE(told.empty()) << "not worth a freeze";
  EXPECT_EQ(own(claim(1, kA, 1, 100, 1)), Applied::stored);
  // It releases the session: the end of its session is not the end of ours.
  directory.erase_remote(kB, 100, key(1));
  EXPECT_EQ(owner(1), 1u);
  EXPECT_EQ(directory.applied(Applied::lower_claim).value(), 1u);
}

TEST_F(ClaimsTest, a_claimed_session_takes_the_dead_owners_record_with_it) {
  remote(claim(1, kB, 0));
  directory.node_not_living(kB, at(10));
  own(claim(1, kA, 1, 100));
  EXPECT_TRUE(directory.erase_own(key(1), 1));
  EXPECT_FALSE(owner(1)) << "nobody may claim an ended session";
  EXPECT_EQ(directory.size_of(kB), 0u);
  // But the record of an owner that lives stays: it knows better whether its session is over.
  remote(claim(2, kB, 0));
  remote(claim(2, kC, 1, 50));
  directory.node_living(kB, 100, at(20));
  directory.erase_remote(kC, 100, key(2));
  EXPECT_EQ(owner(2), 2u);
}

// Each of them has to be probed by somebody, although no death is told of them.
TEST_F(ClaimsTest, dead_owners_records_that_come_after_the_death_are_orphans) {
  using Orphans = std::vector<std::pair<unsigned, unsigned>>;
  remote(claim(1, kB, 0));
  directory.node_not_living(kB, at(10));
  EXPECT_TRUE(orphans.empty()) << "the death itself is told";
  EXPECT_EQ(directory.dead_owners(), (std::vector{std::pair(kB, Incarnation{100})}));
  directory.snapshot_begin(kC);
  auto third = claim(2, kB, 0);
  auto former = claim(3, kA, 0);
  former.incarnation = 99;
  directory.apply_remote(kC, 100, third, at(20));
  directory.apply_remote(kC, 100, former, at(20));
  EXPECT_EQ(orphans, (Orphans{{2, 2}, {3, 1}})) << "our own former life as well";
  EXPECT_EQ(directory.dead_owners().size(), 2u);
}

TEST_F(ClaimsTest, the_owner_is_told_of_a_claim_once_and_again_when_it_changes) {
  own(claim(1, kA, 0));
  remote(claim(1, kB, 1, 50));
  EXPECT_EQ(told, (decltype(told){{2, 1}}));
  EXPECT_EQ(owner(1), 2u);
  EXPECT_TRUE(directory.find_own(key(1))) << "waits behind it";
  EXPECT_EQ(own(claim(1, kA, 0)), Applied::older) << "a frozen session's record does not take it back";
  auto again = claim(1, kB, 1, 50);
  again.in_known = 99;
  remote(again);
  EXPECT_EQ(told.size(), 1u);
  again.fence = 60;
  remote(again);
  EXPECT_EQ(told.size(), 2u) << "fence renewed";
  remote(claim(1, kC, 2, 70));
  EXPECT_EQ(told.back(), std::pair(3u, 2u)) << "a second heir";
  EXPECT_TRUE(directory.find_own(key(1))) << "ours is still the one that waits";
  EXPECT_TRUE(directory.erase_own(key(1), 1)) << "released";
  EXPECT_EQ(owner(1), 3u);
  own(claim(1, kA, 1, 60, 2));
  EXPECT_EQ(told.size(), 4u) << "to another session of ours it is new";
}

TEST_F(ClaimsTest, an_owner_that_saw_its_own_echo_takes_the_flow_back) {
  own(claim(1, kA, 0));
  remote(claim(1, kB, 1, 50));
  ASSERT_EQ(directory.claim_epoch(key(1)), 2u);
  EXPECT_EQ(own(claim(1, kA, 2)), Applied::stored) << "known to the peers: not a new session for them";
  EXPECT_EQ(owner(1), 1u);
  EXPECT_FALSE(map.at(1));
  EXPECT_EQ(remote(claim(1, kB, 1, 50)), Applied::lower_claim);
  EXPECT_EQ(told.size(), 1u);
  EXPECT_TRUE(restored.empty()) << "the upsert itself tells the peers";
}

TEST_F(ClaimsTest, our_own_stands_again_when_the_claimant_gives_up) {
  own(claim(1, kA, 0));
  remote(claim(1, kB, 1, 50));
  directory.erase_remote(kB, 100, key(1));
  EXPECT_EQ(owner(1), 1u);
  EXPECT_EQ(restored, std::vector{1u}) << "peers get the present state";
  remote(claim(1, kB, 1, 50));
  EXPECT_EQ(told.size(), 2u) << "a new claim, told anew";
}

TEST_F(ClaimsTest, a_claim_that_was_here_before_our_own_record_is_told) {
  remote(claim(1, kB, 2, 500));
  EXPECT_EQ(own(claim(1, kA, 1, 100)), Applied::older) << "two heirs; the client accepts the later fence";
  EXPECT_EQ(told, (decltype(told){{2, 2}}));
  EXPECT_TRUE(directory.erase_own(key(1), 1));
  EXPECT_EQ(owner(1), 2u);
}

TEST_F(ClaimsTest, a_contender_of_our_epoch_is_told_and_does_not_stand) {
  own(claim(1, kA, 1, 100));
  EXPECT_EQ(remote(claim(1, kB, 2, 90)), Applied::older);
  EXPECT_EQ(owner(1), 1u);
  EXPECT_EQ(told, (decltype(told){{2, 2}}));
  remote(claim(1, kB, 2, 90));
  EXPECT_EQ(told.size(), 1u);
  EXPECT_EQ(directory.claim_epoch(key(1)), 3u) << "above the contender's as well";
}

TEST_F(ClaimsTest, another_connection_of_the_client_is_no_claim) {
  own(claim(1, kA, 0));
  auto other = claim(1, kB, 5, 90);
  other.facts.iss += 1;
  EXPECT_EQ(remote(other), Applied::older);
  EXPECT_TRUE(told.empty());
  EXPECT_EQ(directory.claim_epoch(key(1)), 1u);
  EXPECT_TRUE(directory.erase_own(key(1), 1));
  EXPECT_EQ(owner(1), 2u);
}

TEST_F(ClaimsTest, an_owner_that_contradicts_itself_is_not_healed_from) {
  auto told_first = claim(1, kB, 0);
  told_first.in_known = 500;
  told_first.out_acked = 900;
  told_first.mode = SessionMode::http;
  told_first.http.emplace();
  struct Row {
    const char* what;
    std::function<void(SessionRecord&)> change;
  };
  const Row rows[] = {{"it knew more of the client", [](SessionRecord& r) { r.in_known = 497; }},
                      {"the client had acknowledged more", [](SessionRecord& r) { r.out_acked = 898; }},
                      {"another connection", [](SessionRecord& r) { r.facts.iss += 1; }},
                      {"another mode", [](SessionRecord& r) { r.mode = SessionMode::tcp; }}};
  std::uint64_t session = 1, counted = 0;
  for (const Row& row : rows) {
    told_first.session_id = ++session;
    EXPECT_NE(remote(told_first), Applied::contradictory) << row.what;
    ASSERT_TRUE(directory.find(key(1))->http);
    auto later = told_first;
    later.in_known = 499;  // a FIN that was counted
    EXPECT_EQ(remote(later), Applied::stored) << row.what;
    later = told_first;
    row.change(later);
    EXPECT_EQ(remote(later), Applied::contradictory) << row.what;
    EXPECT_FALSE(directory.find(key(1))->http) << row.what << ": nothing to go on from";
    EXPECT_EQ(directory.find(key(1))->in_known, 499u);
    EXPECT_EQ(remote(told_first), Applied::contradictory) << row.what << ": the first story again is no better";
    counted += 2;
    EXPECT_EQ(directory.applied(Applied::contradictory).value(), counted);
  }
  auto claimed = claim(1, kC, 1);
  claimed.http.emplace();
  remote(claimed);
  EXPECT_TRUE(directory.find(key(1))->http) << "another owner's word";
}

TEST_F(ClaimsTest, epochs_from_the_future_are_refused) {
  remote(claim(1, kB, 3));
  EXPECT_EQ(remote(claim(1, kC, 3 + kEpochJumpMax + 1)), Applied::epoch_jump);
  EXPECT_EQ(owner(1), 2u);
  EXPECT_EQ(remote(claim(1, kC, 3 + kEpochJumpMax)), Applied::stored_new);
  EXPECT_EQ(remote(claim(2, kC, kEpochJumpMax + 1)), Applied::epoch_jump) << "of a flow that we do not know";
  EXPECT_EQ(remote(claim(3, kC, 0xffffffff, 8)), Applied::epoch_jump);
  EXPECT_EQ(directory.applied(Applied::epoch_jump).value(), 3u);
}

TEST_F(ClaimsTest, only_flows_of_the_dead_are_told_to_change_owner) {
  remote(claim(1, kB, 0)), remote(claim(2, kB, 0)), remote(claim(3, kC, 0));
  directory.erase_remote(kC, 100, key(3));
  EXPECT_TRUE(changed.empty()) << "an everyday end";
  directory.node_not_living(kB, at(10));
  remote(claim(1, kC, 1, 50));
  directory.erase_remote(kB, 100, key(2));
  EXPECT_EQ(changed, (decltype(changed){{1, 3}, {2, std::nullopt}}));
}

TEST_F(ClaimsTest, candidates_are_of_one_incarnation_and_say_when_they_were_active) {
  remote(claim(1, kB, 0), 5), remote(claim(2, kB, 0), 6), remote(claim(2, kB, 0), 9);
  directory.node_living(kB, 101, at(20));
  directory.apply_remote(kB, 101, record(3, kB, 101), at(30));
  std::map<unsigned, TimePoint> seen;
  directory.for_each_of(
      kB, 100, [&](const SessionRecord& r, TimePoint updated) { seen[ntohs(r.facts.key.client_port)] = updated; });
  EXPECT_EQ(seen, (std::map<unsigned, TimePoint>{{1, at(5)}, {2, at(9)}}));
}

}  // namespace
}  // namespace suture::statesync::test
