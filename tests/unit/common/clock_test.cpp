#include <suture/clock.hpp>

#include <gtest/gtest.h>

namespace suture {
namespace {

TEST(Slot, EveryIdIsReadBackFromEveryClock) {
  for (const std::uint64_t now : {0ULL, 1ULL << 20, 0xfffffff0ULL, (1ULL << 32) + 5, 123456789012ULL}) {
    for (unsigned id = 1; id <= 255; ++id) {
      for (const std::uint32_t random : {0U, 1U, 0xffffU, 0x1234567U}) {
        const std::uint32_t value = slot_tsval(0x80000001U + id * 77, now, id, random);
        EXPECT_EQ(slot_owner(value, now), id);
        EXPECT_EQ(value % 2, 0U) << "odd values mean microseconds to Linux 6.7+";
      }
    }
  }
}

TEST(Slot, MovesForwardByLessThanTheSlotSpace) {
  for (std::uint32_t current = 5; current < 0xf0000000U; current += 0x01234567U) {
    const std::uint32_t value = slot_tsval(current, 99, 7, 0x5a5a);
    EXPECT_LE(value - current, kSlotSpaceMask + 1);
  }
}

TEST(Slot, AnEchoMayBeThirteenMinutesLateAndStillNamesItsOwner) {
  const std::uint64_t now = 1'000'000'000;
  const std::uint32_t value = slot_tsval(42, now, 9, 0xffff);
  EXPECT_EQ(slot_owner(value, now + 13 * 60 * 1000), 9U);
  EXPECT_EQ(slot_owner(value, now + 16 * 60 * 1000), 8U)
      << "later than the slot is wide, it names another: the map serves";
}

TEST(SlotClock, FollowsItsOffset) {
  SlotClock clock;
  const auto t = TimePoint(Millis(5000));
  EXPECT_EQ(clock.now_ms(t), 5000U);
  clock.set_offset_ms(static_cast<std::uint64_t>(-2000));
  EXPECT_EQ(clock.now_ms(t), 3000U);
}

}  // namespace
}  // namespace suture
