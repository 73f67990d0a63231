#include <statesync/replicator.hpp>

#include <set>

#include "support.hpp"

namespace suture::statesync::test {
namespace {

using Mark = Replicator::Mark;

class ReplicatorTest : public ::testing::Test {
 protected:
  FakeOwnerMap map;
  Directory directory{{.self = kA, .incarnation = 100}, map};
  Replicator replicator{{.peer = kB, .batch_records_max = 3, .batches_in_flight_max = 2, .tombstones_max = 5}};

  void upsert(std::uint16_t port, std::uint64_t in_known = 0, std::int64_t ms = 0) {
    auto r = record(port, kA);
    r.in_known = in_known;
    const bool fresh = directory.upsert_own(r, at(ms)) == Applied::stored_new;
    replicator.mark_upsert(key(port), fresh, at(ms));
  }
  void erase(std::uint16_t port) {
    ASSERT_TRUE(directory.erase_own(key(port), 1));
    replicator.mark_erase(key(port), at(0));
  }
  // "+port" for a state, "-port" for an end.
  static std::multiset<int> changes(const Batch& batch) {
    std::multiset<int> out;
    for (const auto& change : batch.changes) {
      if (const auto* r = std::get_if<SessionRecord>(&change)) out.insert(ntohs(r->facts.key.client_port));
      if (const auto* e = std::get_if<Erase>(&change)) out.insert(-ntohs(e->key.client_port));
    }
    return out;
  }
  std::multiset<int> next() {
    const auto batch = replicator.next_batch(directory);
    return batch ? changes(*batch) : std::multiset<int>{};
  }
  void connect_empty() {
    replicator.on_connect(7, std::nullopt, directory, at(0));
    ASSERT_EQ(replicator.next_mark(), Mark::begin);
    ASSERT_EQ(replicator.next_mark(), Mark::end);
  }
  using Set = std::multiset<int>;
};

// A node cut off that left a session, claimed it again and left it again: the peer still has the first.
TEST_F(ReplicatorTest, ends_that_wait_for_one_flow_erase_whatever_session_of_it_the_peer_has) {
  connect_empty();
  upsert(1);
  ASSERT_EQ(next(), Set{1});
  Directory peer{{.self = kB, .incarnation = 7}, map};
  peer.apply_remote(kA, 100, *directory.find(key(1)), at(0));
  erase(1);
  auto again = record(1, kA, 100, 2);
  again.epoch = 2;
  replicator.mark_upsert(key(1), directory.upsert_own(again, at(1)) == Applied::stored_new, at(1));
  ASSERT_TRUE(directory.erase_own(key(1), 2));
  replicator.mark_erase(key(1), at(2));
  const auto batch = replicator.next_batch(directory);
  ASSERT_TRUE(batch);
  ASSERT_EQ(changes(*batch), Set{-1});
  EXPECT_TRUE(peer.erase_remote(kA, 100, std::get<Erase>(batch->changes[0]).key));
  EXPECT_EQ(peer.size(), 0u);
}

TEST_F(ReplicatorTest, sends_only_the_latest_state_and_never_what_came_and_went) {
  connect_empty();
  upsert(1, 5);
  upsert(1, 6);
  upsert(2);
  erase(2);
  const auto batch = replicator.next_batch(directory);
  ASSERT_TRUE(batch);
  EXPECT_EQ(changes(*batch), Set{1});
  EXPECT_EQ(std::get<SessionRecord>(batch->changes[0]).in_known, 6u);
  EXPECT_EQ(replicator.counters().never_sent.value(), 1u);
  EXPECT_FALSE(replicator.next_batch(directory));
  erase(1);
  EXPECT_EQ(next(), Set{-1}) << "the peer has seen it";
}

TEST_F(ReplicatorTest, snapshot_is_between_marks_and_changes_follow) {
  for (std::uint16_t port = 1; port <= 4; ++port) upsert(port);
  directory.apply_remote(kB, 50, record(9, kB, 50), at(0));
  directory.apply_remote(kC, 50, record(8, kC, 50), at(0));
  replicator.on_connect(50, std::nullopt, directory, at(0));
  EXPECT_FALSE(replicator.next_batch(directory)) << "the mark goes first";
  ASSERT_EQ(replicator.next_mark(), Mark::begin);
  upsert(5);
  Set all = next();
  all.merge(next());
  EXPECT_EQ(all, (Set{1, 2, 3, 4, 8})) << "not the peer's own";
  EXPECT_EQ(replicator.next_mark(), Mark::end);
  EXPECT_EQ(replicator.next_mark(), Mark::none);
  EXPECT_TRUE(replicator.on_ack(2));
  EXPECT_EQ(next(), Set{5});
}

TEST_F(ReplicatorTest, window_bounds_what_is_under_way) {
  connect_empty();
  for (std::uint16_t port = 1; port <= 9; ++port) upsert(port);
  EXPECT_EQ(next().size(), 3u);
  EXPECT_EQ(next().size(), 3u);
  EXPECT_TRUE(next().empty());
  EXPECT_EQ(replicator.in_flight(), 2u);
  EXPECT_TRUE(replicator.on_ack(1));
  EXPECT_EQ(next().size(), 3u);
  EXPECT_FALSE(replicator.on_ack(4)) << "never sent";
}

TEST_F(ReplicatorTest, resumes_after_the_last_applied_batch) {
  connect_empty();
  for (std::uint16_t port = 1; port <= 6; ++port) upsert(port);
  next();  // 1: ports 1 to 3
  next();  // 2: ports 4 to 6
  replicator.on_disconnect();
  erase(5);
  upsert(7);
  replicator.on_connect(7, 1, directory, at(0));
  EXPECT_EQ(replicator.next_mark(), Mark::none);
  const auto batch = replicator.next_batch(directory);
  ASSERT_TRUE(batch);
  EXPECT_EQ(batch->seq, 2u);
  Set all = changes(*batch);
  all.merge(next());
  EXPECT_EQ(all, (Set{4, -5, 6, 7})) << "1 to 3 are known";
  EXPECT_EQ(replicator.counters().resumes.value(), 1u);
}

TEST_F(ReplicatorTest, takes_a_snapshot_when_the_peer_cannot_resume) {
  connect_empty();
  upsert(1);
  next();
  const auto reconnect = [&](Incarnation incarnation, std::optional<std::uint64_t> resume) {
    replicator.on_disconnect();
    replicator.on_connect(incarnation, resume, directory, at(0));
    const bool snapshot = replicator.next_mark() == Mark::begin;
    while (replicator.next_batch(directory)) {
    }
    replicator.next_mark();
    return snapshot;
  };
  EXPECT_FALSE(reconnect(7, 1));
  EXPECT_TRUE(reconnect(8, 1)) << "another process";
  EXPECT_TRUE(reconnect(8, 99)) << "more than was sent";
  EXPECT_TRUE(reconnect(8, std::nullopt));
  replicator.on_disconnect();
  replicator.on_connect(8, std::nullopt, directory, at(0));
  EXPECT_EQ(replicator.next_mark(), Mark::begin);
  EXPECT_TRUE(reconnect(8, 1)) << "cut in the middle of the snapshot";
}

TEST_F(ReplicatorTest, tombstones_are_bounded_by_falling_back_to_a_snapshot) {
  connect_empty();
  for (std::uint16_t port = 1; port <= 6; ++port) upsert(port);
  next(), next();
  replicator.on_ack(2);
  replicator.on_disconnect();
  for (std::uint16_t port = 1; port <= 5; ++port) erase(port);
  EXPECT_EQ(replicator.tombstones(), 5u);
  EXPECT_FALSE(replicator.needs_snapshot());
  erase(6);
  EXPECT_TRUE(replicator.needs_snapshot());
  EXPECT_EQ(replicator.queue(), 0u);
  replicator.on_connect(7, 2, directory, at(0));
  EXPECT_EQ(replicator.next_mark(), Mark::begin);
}

TEST_F(ReplicatorTest, churn_without_a_stream_does_not_grow) {
  connect_empty();
  replicator.on_disconnect();
  for (int i = 0; i < 20000; ++i) {
    upsert(1);
    erase(1);
  }
  EXPECT_EQ(replicator.queue(), 0u);
  EXPECT_FALSE(replicator.oldest());
  EXPECT_EQ(replicator.counters().never_sent.value(), 20000u);
}

TEST_F(ReplicatorTest, lag_is_the_age_of_the_oldest_unacknowledged_change) {
  connect_empty();
  upsert(1, 0, 10);
  upsert(1, 1, 20);
  EXPECT_EQ(replicator.oldest(), at(10));
  next();
  upsert(2, 0, 30);
  EXPECT_EQ(replicator.oldest(), at(10));
  replicator.on_ack(1);
  EXPECT_EQ(replicator.oldest(), at(30));
}

TEST_F(ReplicatorTest, delivered_covers_what_waits_and_what_is_under_way) {
  EXPECT_FALSE(replicator.delivered_until(7, at(0))) << "never connected";
  upsert(9);
  replicator.on_connect(7, std::nullopt, directory, at(0));
  EXPECT_FALSE(replicator.delivered_until(7, at(1))) << "in a snapshot";
  ASSERT_EQ(replicator.next_mark(), Mark::begin);
  next();
  ASSERT_EQ(replicator.next_mark(), Mark::end);
  EXPECT_FALSE(replicator.delivered_until(7, at(2))) << "the snapshot is under way";
  replicator.on_ack(1);
  EXPECT_EQ(replicator.delivered_until(7, at(3)), at(3));
  EXPECT_FALSE(replicator.delivered_until(8, at(3))) << "another incarnation has nothing";
  upsert(1, 0, 10);
  EXPECT_EQ(replicator.delivered_until(7, at(20)), at(10));
  next();
  upsert(2, 0, 15);
  EXPECT_EQ(replicator.delivered_until(7, at(20)), at(10)) << "not acknowledged";
  replicator.on_ack(2);
  EXPECT_EQ(replicator.delivered_until(7, at(20)), at(15)) << "waits without a batch number";
}

// What was under way and changed again is not younger than it was.
TEST_F(ReplicatorTest, delivered_does_not_advance_by_a_lost_batch) {
  connect_empty();
  upsert(1, 0, 10);
  next();
  upsert(2, 0, 20);
  upsert(1, 1, 30);
  replicator.on_disconnect();
  replicator.on_connect(7, 0, directory, at(40));
  EXPECT_EQ(replicator.delivered_until(7, at(50)), at(10));
  EXPECT_EQ(next(), (Set{1, 2}));
  EXPECT_EQ(replicator.delivered_until(7, at(50)), at(10));
  replicator.on_ack(1);
  EXPECT_EQ(replicator.delivered_until(7, at(50)), at(50));
}

}  // namespace
}  // namespace suture::statesync::test
