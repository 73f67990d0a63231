#include "proxy/heartbeat.hpp"

#include <gtest/gtest.h>

namespace suture {
namespace {

TEST(Heartbeat, AStuckWorkerWithholdsTheBeatForAll) {
  std::uint64_t a = 1, b = 1;
  Heartbeat heart({[&] { return a; }, [&] { return b; }}, Millis{150});
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
  Heartbeat heart({[] { return std::uint64_t{0}; }}, Millis{150});
  const TimePoint start{Millis{1'000'000}};
  EXPECT_FALSE(heart.due(start));
  EXPECT_FALSE(heart.due(start + Millis{150}));
  EXPECT_EQ(heart.withheld(), 0U) << "it may still be starting";
  EXPECT_FALSE(heart.due(start + Millis{151}));
  EXPECT_EQ(heart.withheld(), 1U);
}

}  // namespace
}  // namespace suture
