#include "proxy/heartbeat.hpp"

#include <gtest/gtest.h>

namespace suture {
namespace {

TEST(Heartbeat, AStuckWorkerWithholdsTheBeatForAll) {
  std::uint64_t a = 1, b = 1;
  Heartbeat heart({[&] { return a; }, [&] { return b; }}, [] { return true; }, {});
  TimePoint now{Millis{1'000'000}};
  EXPECT_TRUE(heart.due(now));
  now += Millis{100};
  ++a;
  EXPECT_TRUE(heart.due(now));
  now += Millis{51};
  ++a;
  EXPECT_FALSE(heart.due(now)) << "b has not moved for 151 ms";
  ++b;
  EXPECT_TRUE(heart.due(now));
}

TEST(Heartbeat, AWorkerThatNeverTickedIsNotAlive) {
  Heartbeat heart({[] { return std::uint64_t{0}; }}, [] { return true; }, {});
  const TimePoint start{Millis{1'000'000}};
  EXPECT_FALSE(heart.due(start));
  EXPECT_FALSE(heart.due(start + Millis{150}));
  EXPECT_EQ(heart.withheld(), 0U) << "it may still be starting";
  EXPECT_FALSE(heart.due(start + Millis{151}));
  EXPECT_EQ(heart.withheld(), 1U);
}

TEST(Heartbeat, AfterAStallTheClaimsOfThePeersComeBeforeTheBeat) {
  std::uint64_t ticks = 1;
  bool known = true;
  Heartbeat heart({[&] { return ++ticks; }}, [&] { return known; }, {});
  TimePoint now{Millis{1'000'000}};
  EXPECT_TRUE(heart.due(now));
  known = false;
  EXPECT_TRUE(heart.due(now += Millis{150})) << "nobody has taken anything in so short a time";
  EXPECT_FALSE(heart.due(now += Millis{151}));
  EXPECT_FALSE(heart.due(now += Millis{30}));
  known = true;
  EXPECT_TRUE(heart.due(now += Millis{30}));
  known = false;
  EXPECT_TRUE(heart.due(now += Millis{30})) << "until the next stall";

  EXPECT_FALSE(heart.due(now += Millis{500}));
  for (int i = 0; i < 9; ++i) EXPECT_FALSE(heart.due(now += Millis{100}));
  EXPECT_TRUE(heart.due(now += Millis{100})) << "a peer that says nothing is not waited for for ever";
  EXPECT_EQ(heart.withheld(), 0U) << "of workers";
}

}  // namespace
}  // namespace suture
