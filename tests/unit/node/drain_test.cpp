#include "proxy/drain.hpp"

#include <gtest/gtest.h>

namespace suture {
namespace {

using State = Drain::State;
constexpr TimePoint t0{Millis{1'000'000}};

TEST(Drain, WithdrawsThenRefusesThenWaitsForSessions) {
  Drain drain(Millis{500}, Millis{60'000});
  EXPECT_EQ(drain.tick(t0, 5), State::serving);
  drain.begin(t0, true);
  EXPECT_EQ(drain.tick(t0, 5), State::withdrawn);
  EXPECT_EQ(drain.tick(t0 + Millis{499}, 0), State::withdrawn) << "SYNs under way are still served";
  EXPECT_EQ(drain.tick(t0 + Millis{500}, 5), State::refusing);
  EXPECT_EQ(drain.tick(t0 + Millis{59'999}, 5), State::refusing);
  EXPECT_EQ(drain.tick(t0 + Millis{59'999}, 0), State::done);
}

TEST(Drain, EndsAtTheTimeoutWithSessionsLeft) {
  Drain drain(Millis{0}, Millis{1000});
  drain.begin(t0, true);
  EXPECT_EQ(drain.tick(t0 + Millis{999}, 1), State::refusing);
  EXPECT_EQ(drain.tick(t0 + Millis{1000}, 1), State::done);
}

TEST(Drain, AnOperatorsDrainNeverEndsTheProcessAndCanBeUndone) {
  Drain drain(Millis{10}, Millis{1000});
  drain.begin(t0, false);
  EXPECT_EQ(drain.tick(t0 + Millis{100'000}, 0), State::refusing);
  EXPECT_TRUE(drain.undrain());
  EXPECT_EQ(drain.tick(t0 + Millis{100'000}, 0), State::serving);
}

TEST(Drain, SigtermDuringADrainCountsItsTimeoutFromThenAndCannotBeUndone) {
  Drain drain(Millis{10}, Millis{1000});
  drain.begin(t0, false);
  drain.tick(t0 + Millis{50'000}, 3);
  drain.begin(t0 + Millis{50'000}, true);
  EXPECT_FALSE(drain.undrain());
  EXPECT_EQ(drain.tick(t0 + Millis{50'999}, 3), State::refusing);
  EXPECT_EQ(drain.tick(t0 + Millis{51'000}, 3), State::done);
}

}  // namespace
}  // namespace suture
