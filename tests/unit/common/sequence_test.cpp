#include <suture/sequence.hpp>

#include <algorithm>

#include <gtest/gtest.h>

namespace suture {
namespace {

TEST(Sequence, ComparesAroundTheWrap) {
  EXPECT_TRUE(seq_before(0xfffffff0U, 0x10U));
  EXPECT_FALSE(seq_before(0x10U, 0xfffffff0U));
  EXPECT_TRUE(seq_at_or_before(7U, 7U));
  EXPECT_EQ(seq_max(0xfffffff0U, 0x10U), 0x10U);
  EXPECT_EQ(seq_diff(0x10U, 0xfffffff0U), 0x20);
}

TEST(Sequence, OffsetsSurviveManyWraps) {
  const std::uint32_t isn = 0xfffffffeU;
  for (const std::uint64_t offset : {0ULL, 1ULL, 2ULL, 0x7fffffffULL, 0xffffffffULL, 0x100000000ULL, 0x1234567890ULL}) {
    const std::uint32_t seq = to_seq(isn, offset);
    EXPECT_EQ(to_offset(isn, seq, offset), offset);
    EXPECT_EQ(to_offset(isn, seq, offset + 1'000'000'000), offset);
    EXPECT_EQ(to_offset(isn, seq, offset - std::min<std::uint64_t>(offset, 1'000'000'000)), offset);
  }
  EXPECT_EQ(to_seq(isn, 0), 0xffffffffU);
  EXPECT_EQ(to_seq(isn, 1), 0U);
}

}  // namespace
}  // namespace suture
