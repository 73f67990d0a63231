#include <statesync/directory.hpp>

#include "support.hpp"

namespace suture::statesync::test {
namespace {

class DirectoryTest : public ::testing::Test {
 protected:
  FakeOwnerMap map;
  Directory directory{{.self = kA, .incarnation = 100, .records_max = 4}, map};
  DirectoryTest() {
    directory.node_living(kB, 100, at(0));
    directory.node_living(kC, 100, at(0));
  }
  Applied remote(NodeId peer, const SessionRecord& r) { return directory.apply_remote(peer, 100, r, at(0)); }
  std::optional<unsigned> owner(std::uint16_t port) const {
    const auto* r = directory.find(key(port));
    if (!r) return std::nullopt;
    return to_int(r->owner);
  }
};

TEST_F(DirectoryTest, foreign_records_are_in_the_owner_map_and_own_ones_are_not) {
  EXPECT_EQ(remote(kB, record(1, kB)), Applied::stored_new);
  EXPECT_EQ(remote(kB, record(1, kB)), Applied::stored);
  EXPECT_EQ(map.sets, 1) << "an unchanged owner is not written again";
  EXPECT_EQ(directory.upsert_own(record(2, kA), at(0)), Applied::stored_new);
  EXPECT_EQ(map.at(1), std::pair(2u, 100u));
  EXPECT_FALSE(map.at(2));
  EXPECT_EQ(directory.size_of(kB), 1u);
  EXPECT_TRUE(directory.erase_remote(kB, 100, key(1)));
  EXPECT_FALSE(map.at(1));
  EXPECT_EQ(directory.size_of(kB), 0u);
}

TEST_F(DirectoryTest, own_record_replaces_a_foreign_one_which_returns_when_ours_ends) {
  remote(kB, record(1, kB));
  auto own = record(1, kA);
  own.facts.irs += 1;
  EXPECT_EQ(directory.upsert_own(own, at(0)), Applied::stored_new);
  EXPECT_FALSE(map.at(1));
  EXPECT_EQ(remote(kB, record(1, kB, 100, 1, 9)), Applied::older) << "another connection, no claim: our socket is here";
  EXPECT_TRUE(directory.erase_own(key(1), 1));
  EXPECT_EQ(map.at(1), std::pair(2u, 100u));
}

TEST_F(DirectoryTest, conflict_rule) {
  struct Row {
    const char* name;
    SessionRecord a;
    bool a_living;
    SessionRecord b;
    bool b_living;
    bool a_stands;
  };
  auto other_connection = record(1, kB, 100, 1, 3);
  other_connection.facts.irs += 5;
  const Row rows[] = {
      {"higher epoch", record(1, kB, 1, 1, 2), false, record(1, kC, 1, 1, 1), true, true},
      {"living before dead, other connection, whatever the epoch", record(1, kC), true, other_connection, false, true},
      {"then the id", record(1, kC, 1), false, record(1, kB, 9), true, true},
      {"then the incarnation", record(1, kC, 9), false, record(1, kC, 1), false, true},
  };
  for (const auto& row : rows) {
    EXPECT_EQ(supersedes(row.a, row.a_living, row.b, row.b_living), row.a_stands) << row.name;
    EXPECT_EQ(supersedes(row.b, row.b_living, row.a, row.a_living), !row.a_stands) << row.name << ", mirrored";
  }
}

TEST_F(DirectoryTest, order_of_arrival_does_not_matter) {
  remote(kB, record(1, kB));
  remote(kC, record(1, kC));
  EXPECT_EQ(owner(1), 3u);
  remote(kC, record(2, kC));
  remote(kB, record(2, kB));
  EXPECT_EQ(owner(2), 3u);
  directory.erase_remote(kC, 100, key(1));
  EXPECT_EQ(owner(1), 2u) << "the loser comes back";
  EXPECT_EQ(map.at(1), std::pair(2u, 100u));
}

TEST_F(DirectoryTest, a_node_speaks_for_itself_only_but_in_a_snapshot_for_the_dead) {
  EXPECT_EQ(remote(kB, record(1, kD)), Applied::not_owner);
  directory.snapshot_begin(kB);
  EXPECT_EQ(remote(kB, record(1, kD)), Applied::stored_new) << "node 4 is not living";
  EXPECT_EQ(remote(kB, record(2, kC)), Applied::older) << "node 3 is living and speaks for itself";
  EXPECT_EQ(remote(kB, record(2, kA)), Applied::not_owner) << "so do we";
  EXPECT_EQ(remote(kB, record(2, kA, 99)), Applied::stored_new) << "our former life";
  EXPECT_EQ(map.at(2), std::pair(1u, 99u));
  auto newer = record(1, kD);
  newer.in_known = 10;
  EXPECT_EQ(remote(kB, newer), Applied::stored);
  EXPECT_EQ(remote(kB, record(1, kD)), Applied::older);
  EXPECT_EQ(directory.find(key(1))->in_known, 10u);
  directory.snapshot_end(kB, 100);
  EXPECT_EQ(remote(kB, record(1, kD)), Applied::not_owner);
}

// D only seemed dead to us, and had told us the end of session 2 before B's snapshot spoke of it. It will not tell it
// again.
TEST_F(DirectoryTest, what_others_said_of_an_owner_that_lives_after_all_is_left_to_the_owner) {
  directory.node_living(kD, 100, at(0));
  EXPECT_EQ(remote(kD, record(1, kD)), Applied::stored_new);
  EXPECT_EQ(remote(kD, record(3, kD)), Applied::stored_new);
  directory.node_not_living(kD, at(1));
  directory.snapshot_begin(kB);
  EXPECT_EQ(remote(kB, record(2, kD)), Applied::stored_new);
  auto newer = record(3, kD);
  newer.in_known = 10;
  EXPECT_EQ(remote(kB, newer), Applied::stored);
  directory.snapshot_end(kB, 100);
  newer.in_known = 11;
  EXPECT_EQ(remote(kD, newer), Applied::stored) << "its own word";
  directory.node_living(kD, 100, at(2));
  EXPECT_NE(directory.find(key(1)), nullptr);
  EXPECT_EQ(directory.find(key(2)), nullptr);
  EXPECT_NE(directory.find(key(3)), nullptr);
  EXPECT_FALSE(map.at(2));
}

TEST_F(DirectoryTest, of_a_dead_owners_states_the_one_that_is_further_on_stays) {
  directory.snapshot_begin(kB);
  auto asked = record(1, kC, 9);
  asked.http.emplace().phase = HttpPhase::waiting;
  asked.in_known = 100;
  remote(kB, asked);
  auto answering = asked;
  answering.http->phase = HttpPhase::response;  // no byte more either way
  remote(kB, answering);
  EXPECT_EQ(directory.find(key(1))->http->phase, HttpPhase::response);
  EXPECT_EQ(remote(kB, asked), Applied::older);
  auto answered = answering;
  answered.http->phase = HttpPhase::idle;
  answered.http->exchanges = 1;
  remote(kB, answered);
  EXPECT_EQ(remote(kB, answering), Applied::older);
  EXPECT_EQ(directory.find(key(1))->http->exchanges, 1u);
}

TEST_F(DirectoryTest, snapshot_removes_what_it_does_not_name) {
  for (std::uint16_t port = 1; port <= 3; ++port) remote(kB, record(port, kB));
  remote(kC, record(4, kC));
  directory.snapshot_begin(kB);
  remote(kB, record(2, kB));
  directory.snapshot_abort(kB);
  EXPECT_EQ(directory.size(), 4u) << "half a snapshot removes nothing";
  directory.snapshot_begin(kB);
  remote(kB, record(3, kB));
  EXPECT_EQ(directory.snapshot_end(kB, 100), 2u);
  EXPECT_EQ(owner(3), 2u);
  EXPECT_EQ(owner(4), 3u);
  EXPECT_EQ(directory.size(), 2u);
  EXPECT_EQ(map.entries.size(), 2u);
}

TEST_F(DirectoryTest, records_of_a_former_incarnation_stay_until_they_are_forgotten) {
  remote(kB, record(1, kB));
  directory.node_living(kB, 101, at(1000));
  EXPECT_FALSE(directory.living(kB, 100));
  EXPECT_EQ(map.at(1), std::pair(2u, 100u)) << "the map's reader sees that this incarnation is not the living one";
  EXPECT_EQ(directory.apply_remote(kB, 101, record(2, kB, 101), at(1000)), Applied::stored_new);
  EXPECT_EQ(directory.forget_dead(at(1999), Millis{1000}), 0u);
  EXPECT_EQ(directory.forget_dead(at(2000), Millis{1000}), 1u);
  EXPECT_FALSE(owner(1));
  EXPECT_EQ(owner(2), 2u);
}

TEST_F(DirectoryTest, a_node_that_comes_back_is_not_forgotten) {
  remote(kB, record(1, kB));
  directory.node_not_living(kB, at(0));
  directory.node_living(kB, 100, at(500));
  EXPECT_EQ(directory.forget_dead(at(5000), Millis{1000}), 0u);
  EXPECT_EQ(owner(1), 2u);
}

TEST_F(DirectoryTest, is_bounded_and_survives_a_full_map) {
  map.capacity = 1;
  for (std::uint16_t port = 1; port <= 4; ++port) EXPECT_EQ(remote(kB, record(port, kB)), Applied::stored_new);
  EXPECT_EQ(remote(kB, record(5, kB)), Applied::full);
  EXPECT_EQ(directory.upsert_own(record(6, kA), at(0)), Applied::full);
  EXPECT_EQ(directory.applied(Applied::full).value(), 2u);
  EXPECT_EQ(map.sets, 4);
  EXPECT_EQ(map.entries.size(), 1u) << "the map, which counts what it refuses, was asked for each";
  map.capacity = 10;
  remote(kB, record(2, kB));
  EXPECT_TRUE(map.at(2)) << "tried again at the next state";
}

TEST_F(DirectoryTest, says_for_how_long_an_owner_has_been_dead) {
  directory.node_living(kB, 100, at(0));
  EXPECT_FALSE(directory.dead_for(kB, 100, at(1)));
  directory.node_not_living(kB, at(10));
  EXPECT_EQ(directory.dead_for(kB, 100, at(30)), Millis{20});
  directory.node_living(kB, 100, at(40));
  EXPECT_FALSE(directory.dead_for(kB, 100, at(40)));
  directory.node_not_living(kB, at(50));
  EXPECT_EQ(directory.dead_for(kB, 100, at(60)), Millis{10}) << "of this death";
  directory.node_living(kB, 101, at(70));
  EXPECT_EQ(directory.dead_for(kB, 100, at(70)), Millis::max()) << "it does not come back";
}

TEST_F(DirectoryTest, only_the_owner_erases_and_of_our_own_only_the_session_that_is_meant) {
  remote(kB, record(1, kB, 100, 8));
  EXPECT_FALSE(directory.erase_remote(kB, 99, key(1)));
  EXPECT_FALSE(directory.erase_remote(kC, 100, key(1)));
  EXPECT_FALSE(directory.erase_own(key(1), 8));
  EXPECT_EQ(owner(1), 2u);
  EXPECT_TRUE(directory.erase_remote(kB, 100, key(1)));
  EXPECT_FALSE(directory.find(key(1)));
  directory.upsert_own(record(2, kA, 100, 9), at(0));
  EXPECT_FALSE(directory.erase_own(key(2), 8)) << "two workers' queues: the end of the former session comes last";
  EXPECT_TRUE(directory.erase_own(key(2), 9));
}

}  // namespace
}  // namespace suture::statesync::test
