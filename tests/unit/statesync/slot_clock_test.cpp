#include <statesync/slot_clock.hpp>

#include "support.hpp"

namespace suture::statesync::test {
namespace {

class SlotClockTest : public ::testing::Test {
 protected:
  SlotClock clock;
  SlotClockDiscipline discipline{{.self = kB, .start_offset_ms = 0}, clock};

  void hear(NodeId peer, std::int64_t offset, bool settled = true, std::int64_t ms = 0) {
    discipline.on_sample(peer, monotonic_ms(at(ms)) + static_cast<std::uint64_t>(offset), settled, at(ms));
  }
  std::int64_t offset() const { return static_cast<std::int64_t>(clock.offset_ms()); }
};

TEST_F(SlotClockTest, starts_at_the_median_of_settled_peers) {
  hear(kA, -3'600'000);
  hear(kC, 5000);
  hear(kD, 7000);
  EXPECT_EQ(offset(), 5000);
  hear(NodeId{9}, 90'000'000, false);
  EXPECT_EQ(offset(), 5000) << "an unsettled clock counts only if there is no other";
}

TEST_F(SlotClockTest, nodes_that_start_together_take_the_lowest_ids_clock) {
  hear(kC, 5000, false);
  EXPECT_EQ(offset(), 0) << "we are lower";
  hear(kA, -8000, false);
  EXPECT_EQ(offset(), -8000);
}

TEST_F(SlotClockTest, never_steps_once_settled_and_slews_slowly) {
  hear(kA, 4000);
  discipline.settle(at(0));
  EXPECT_EQ(offset(), 4000);
  hear(kA, 9000);
  hear(kC, 9000);
  EXPECT_EQ(offset(), 4000);
  for (std::int64_t ms = 0; ms <= 10000; ms += 100) discipline.tick(at(ms));
  EXPECT_EQ(offset(), 4100) << "10 ms a second";
  discipline.tick(at(1'000'000));
  EXPECT_EQ(offset(), 4110) << "a stalled loop does not make a step of it";
}

TEST_F(SlotClockTest, follows_only_small_disagreements_and_not_the_paths_delay) {
  discipline.settle(at(0));
  hear(kA, 400);
  discipline.tick(at(1000));
  EXPECT_EQ(offset(), 0);
  hear(kA, 50'000);
  discipline.tick(at(2000));
  EXPECT_EQ(offset(), 0);
}

TEST_F(SlotClockTest, hints_need_clocks_within_a_minute) {
  EXPECT_FALSE(discipline.hint_ok(kA)) << "never heard";
  discipline.settle(at(0));
  hear(kA, 60'000);
  EXPECT_TRUE(discipline.hint_ok(kA));
  hear(kA, 60'001);
  EXPECT_FALSE(discipline.hint_ok(kA));
  hear(kA, -3'600'000);
  EXPECT_FALSE(discipline.hint_ok(kA));
  EXPECT_EQ(discipline.apart_ms(kA), -3'600'000);
  EXPECT_EQ(discipline.apart_total().value(), 1u);
  hear(kA, 100);
  EXPECT_TRUE(discipline.hint_ok(kA));
  discipline.on_peer_lost(kA);
  EXPECT_FALSE(discipline.hint_ok(kA));
}

}  // namespace
}  // namespace suture::statesync::test
