#include <statesync/peer_clocks.hpp>

#include <suture/limits.hpp>

#include "support.hpp"

namespace suture::statesync::test {
namespace {

class PeerClocksTest : public ::testing::Test {
 protected:
  PeerClocks clocks{Millis{600000}};
  void hear(std::int64_t ms, std::uint64_t monotonic, std::uint64_t slot = 0, Incarnation incarnation = 100) {
    Datagram d{.sender = kB, .receiver = kA, .incarnation = incarnation};
    d.monotonic_ms = monotonic;
    d.slot_ms = slot;
    clocks.on_heard(d, at(ms));
  }
  static SessionRecord of(Incarnation incarnation, std::uint32_t offset) {
    auto r = record(1, kB, incarnation);
    r.facts.ts_offset = offset;
    return r;
  }
};

TEST_F(PeerClocksTest, the_owners_clock_goes_on_after_its_death) {
  hear(0, 5000);
  const auto clock = clocks.former_clock(of(100, 70), at(2500), 2500);
  ASSERT_TRUE(clock);
  EXPECT_EQ(clock->tsval, 5000u + 2500u + 70u);
  EXPECT_FALSE(clocks.former_clock(of(99, 70), at(2500), 0)) << "never heard";
  EXPECT_FALSE(clocks.former_clock(record(1, kC), at(2500), 0));
  EXPECT_EQ(clocks.former_clock(of(100, 0xffffffff), at(0), 0)->tsval, 4999u) << "modulo 2^32";
}

TEST_F(PeerClocksTest, a_late_sample_does_not_turn_the_clock_back) {
  hear(0, 5000);
  hear(100, 5020);
  EXPECT_EQ(clocks.former_clock(of(100, 0), at(100), 0)->tsval, 5100u) << "it was 80 ms under way";
  hear(200, 5230);
  EXPECT_EQ(clocks.former_clock(of(100, 0), at(200), 0)->tsval, 5230u);
  hear(6000, 11000);
  EXPECT_EQ(clocks.former_clock(of(100, 0), at(6000), 0)->tsval, 11000u) << "after some seconds: the clock itself";
}

TEST_F(PeerClocksTest, incarnations_are_kept_for_forget_after) {
  hear(0, 5000);
  hear(1000, 9000, 0, 101);
  EXPECT_TRUE(clocks.former_clock(of(100, 0), at(599999), 0));
  EXPECT_FALSE(clocks.former_clock(of(100, 0), at(600000), 0));
  clocks.forget(at(600000));
  EXPECT_EQ(clocks.size(), 1u);
  EXPECT_TRUE(clocks.former_clock(of(101, 0), at(600000), 0));
}

TEST_F(PeerClocksTest, clocks_apart_forbid_hints_and_then_claims) {
  const std::int64_t hint = Millis{limits::clock_hint_apart_max}.count();
  const auto claim = static_cast<std::int64_t>(limits::clock_claim_apart_max_ms);
  struct Row {
    std::int64_t apart;
    bool hint_ok, claim_ok;
  };
  for (const Row& row : {Row{0, true, true}, Row{hint, true, true}, Row{hint + 1, false, true}, Row{claim, false, true},
                         Row{claim + 1, false, false}}) {
    for (const int sign : {1, -1}) {
      PeerClocks fresh(Millis{600000});
      Datagram d{.sender = kB, .receiver = kA, .incarnation = 100};
      d.slot_ms = 10000000 + static_cast<std::uint64_t>(sign * row.apart);
      fresh.on_heard(d, at(0));
      const auto clock = fresh.former_clock(of(100, 0), at(1000), 10001000);
      ASSERT_TRUE(clock);
      EXPECT_EQ(clock->hint_ok, row.hint_ok) << sign * row.apart;
      EXPECT_EQ(clock->claim_ok, row.claim_ok) << sign * row.apart;
    }
  }
}

}  // namespace
}  // namespace suture::statesync::test
