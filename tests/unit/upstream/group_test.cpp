#include <deque>

#include <gtest/gtest.h>
#include <proxy/upstream/group.hpp>

namespace suture {
namespace {

class GroupTest : public ::testing::Test {
 protected:
  UpstreamGroup group(std::size_t n) {
    std::vector<UpstreamPool*> all;
    for (std::size_t i = 0; i < n; ++i)
      all.push_back(&pools.emplace_back(loop, config::UnixPath{"/" + std::to_string(i)}, 1, Millis(1), metrics));
    return UpstreamGroup(all);
  }
  static std::string at(const UpstreamTurn& turn) { return config::to_string(turn.pool().address()).substr(6); }
  std::string begin(UpstreamGroup& g) {
    turn.begin(g, now);
    return at(turn);
  }

  EventLoop loop;
  UpstreamMetrics metrics;
  std::deque<UpstreamPool> pools;
  UpstreamTurn turn;
  TimePoint now = Clock::now();
};

TEST_F(GroupTest, InTurn) {
  UpstreamGroup g = group(3);
  std::string order;
  for (int i = 0; i < 7; ++i) order += begin(g);
  EXPECT_EQ(order, "0120120");
}

TEST_F(GroupTest, EachIsTriedOnce) {
  UpstreamGroup g = group(3);
  EXPECT_EQ(begin(g), "0");
  EXPECT_TRUE(turn.refused(now));
  EXPECT_EQ(at(turn), "1");
  EXPECT_TRUE(turn.refused(now));
  EXPECT_EQ(at(turn), "2");
  EXPECT_FALSE(turn.refused(now));
}

TEST_F(GroupTest, WhatFailedIsPassedOverForAWhile) {
  UpstreamGroup g = group(3);
  EXPECT_EQ(begin(g), "0");
  EXPECT_TRUE(turn.refused(now));
  std::string order;
  for (int i = 0; i < 4; ++i) order += begin(g);
  EXPECT_EQ(order, "1212");
  now += limits::upstream_avoided;
  order.clear();
  for (int i = 0; i < 3; ++i) order += begin(g);
  EXPECT_EQ(order, "012");
}

TEST_F(GroupTest, WhereAllFailedAllAreTried) {
  UpstreamGroup g = group(2);
  for (auto& pool : pools) pool.note_refused(now);
  EXPECT_EQ(begin(g), "0");
  EXPECT_EQ(begin(g), "1");
  EXPECT_TRUE(turn.refused(now));
  EXPECT_EQ(at(turn), "0");
  turn.taken();
  EXPECT_EQ(begin(g), "0") << "it is back";
  EXPECT_EQ(begin(g), "0");
}

TEST_F(GroupTest, OneAlone) {
  UpstreamGroup g = group(1);
  EXPECT_EQ(begin(g), "0");
  EXPECT_FALSE(turn.refused(now));
  EXPECT_EQ(begin(g), "0");
}

}  // namespace
}  // namespace suture
