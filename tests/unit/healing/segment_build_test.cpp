// SACK options, and the segments of our own making.
#include <random>

#include <gtest/gtest.h>
#include <suture/ids.hpp>

#include "proxy/healing/nudge.hpp"
#include "proxy/healing/segment.hpp"
#include "tests/unit/healing/packets.hpp"

namespace suture::healing {
namespace {

using test::build;
using test::PacketSpec;
using Options = std::vector<std::uint8_t>;
using Blocks = std::vector<std::pair<std::uint32_t, std::uint32_t>>;

Segment parsed(const PacketSpec& spec) {
  const auto segment = parse_segment(build(spec));
  EXPECT_TRUE(segment) << ::testing::PrintToString(spec.options);
  return segment ? *segment : Segment{};
}
Blocks blocks_of(const Segment& segment) {
  Blocks out;
  for (const auto& block : segment.sacks) out.emplace_back(block.left, block.right);
  return out;
}
// Kind, length, and for each block {0, 0, 1, n} to {0, 0, 2, n}.
Options sack(std::size_t length, std::size_t blocks) {
  Options out{5, static_cast<std::uint8_t>(length)};
  for (std::uint8_t n = 0; n < blocks; ++n) out.insert(out.end(), {0, 0, 1, n, 0, 0, 2, n});
  return out;
}
Options operator+(Options a, const Options& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

const Options kTimestamps = {8, 10, 0, 0, 0, 1, 0, 0, 0, 2};

class Built : public ::testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(Ip, Built, ::testing::Values(false, true));

TEST_P(Built, SackOptionsAreReadOrLeft) {
  const std::pair<std::uint32_t, std::uint32_t> b0{0x100, 0x200}, b1{0x101, 0x201}, b2{0x102, 0x202}, b3{0x103, 0x203};
  struct Row {
    const char* name;
    Options options;
    Blocks blocks;
    bool timestamps;
  };
  const Row rows[] = {
      {"none", {}, {}, false},
      {"one", sack(10, 1), {b0}, false},
      {"two", Options{1, 1} + sack(18, 2), {b0, b1}, false},
      {"three beside timestamps, as Linux sends them", kTimestamps + Options{1, 1} + sack(26, 3), {b0, b1, b2}, true},
      {"four", Options{1, 1} + sack(34, 4), {b0, b1, b2, b3}, false},
      {"in front of timestamps", sack(10, 1) + kTimestamps, {b0}, true},
      {"two options", sack(10, 1) + sack(18, 2), {b0, b0, b1}, false},
      {"more options than can be meant",
       sack(10, 1) + sack(10, 1) + sack(10, 1) + sack(10, 1),
       {b0, b0, b0, b0},
       false},
      {"no block at all", Options{5, 2} + kTimestamps, {}, true},
      {"half a block", Options{5, 6, 0, 0, 1, 0} + kTimestamps, {}, true},
      {"a block and a half", Options{5, 14, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 1, 1} + kTimestamps, {}, true},
      {"length 0", Options{5, 0} + kTimestamps, {}, false},
      {"length 1", Options{5, 1} + kTimestamps, {}, false},
      {"longer than the options", sack(34, 3), {}, false},
      {"no length", Options{1, 1, 1, 5}, {}, false},
      {"SACK permitted is another option", Options{4, 2} + sack(10, 1), {b0}, false},
      {"after the end", Options{0} + sack(10, 1), {}, false},
  };
  for (const auto& row : rows) {
    PacketSpec spec{.v6 = GetParam()};
    spec.options = row.options;
    const auto segment = parsed(spec);
    EXPECT_EQ(blocks_of(segment), row.blocks) << row.name;
    EXPECT_EQ(segment.timestamps.has_value(), row.timestamps) << row.name;
  }
}

// What must hold of a packet of ours besides its fields; they go the other way, so client and VIP are swapped.
Segment round_trip(const std::vector<std::uint8_t>& packet, const suture_flow_key& key) {
  const auto segment = parse_segment(packet);  // verifies lengths and checksums
  EXPECT_TRUE(segment) << (segment ? "" : segment.error().message);
  if (!segment) return {};
  EXPECT_TRUE(segment->key.client == key.vip && segment->key.vip == key.client);
  EXPECT_EQ(segment->key.client_port, key.vip_port);
  EXPECT_EQ(segment->key.vip_port, key.client_port);
  const bool v4 = packet[0] >> 4 == 4;
  EXPECT_EQ(packet[v4 ? 8 : 7], 64) << "TTL";
  if (v4) {
    EXPECT_EQ(packet[6] & 0xe0, 0x40) << "don't fragment";
  }
  return *segment;
}

TEST_P(Built, NudgeIsOneGarbageByte) {
  const auto key = parsed({.v6 = GetParam(), .client_port = 65535, .vip_port = 1}).key;
  for (const bool timestamps : {false, true}) {
    Nudge nudge{key, 0xffffffffU, 0x80000000U, std::nullopt, 0xfedcbU};
    if (timestamps) nudge.timestamps = Timestamps{0xfffffffeU, 3};
    const auto packet = build_nudge(nudge);
    const auto segment = round_trip(packet, key);
    EXPECT_EQ(packet.size(), (GetParam() ? 40U : 20U) + 20 + (timestamps ? 12 : 0) + 1);
    EXPECT_EQ(segment.payload_bytes, 1U);
    EXPECT_EQ(segment.flags, kAck);
    EXPECT_EQ(segment.window, 65535);
    EXPECT_EQ(segment.seq, 0xffffffffU);
    EXPECT_EQ(segment.ack, 0x80000000U);
    EXPECT_EQ(segment.flow_label, GetParam() ? 0xfedcbU : 0U);
    ASSERT_EQ(segment.timestamps.has_value(), timestamps);
    if (timestamps) {
      EXPECT_EQ(segment.timestamps->value, 0xfffffffeU);
      EXPECT_EQ(segment.timestamps->echo, 3U);
    }
  }
}

TEST_P(Built, AFlowLabelNeverReachesTheVersion) {
  const auto key = parsed({.v6 = GetParam()}).key;
  EXPECT_EQ(build_nudge({key, 1, 2, std::nullopt, 0xffffffffU})[0], GetParam() ? 0x60 : 0x45);
}

TEST_P(Built, SessionResetIsExactAndEmpty) {
  const auto key = parsed({.v6 = GetParam()}).key;
  const auto segment = round_trip(build_session_reset(key, 0xfffffffeU, 7, Timestamps{8, 9}, 0x12345), key);
  EXPECT_EQ(segment.flags, kRst | kAck);
  EXPECT_EQ(segment.seq, 0xfffffffeU);
  EXPECT_EQ(segment.ack, 7U);
  EXPECT_EQ(segment.payload_bytes, 0U);
  EXPECT_EQ(segment.flow_label, GetParam() ? 0x12345U : 0U);
  ASSERT_TRUE(segment.timestamps);
  EXPECT_EQ(segment.timestamps->value, 8U);
  EXPECT_FALSE(round_trip(build_session_reset(key, 1, 2, std::nullopt, 0), key).timestamps);
}

// Whatever is built comes back as it was.
TEST(BuiltSegments, SeededRoundTrips) {
  std::mt19937 random(20260102);
  for (int round = 0; round < 5000; ++round) {
    const auto key = parsed({.v6 = random() % 2 == 0,
                             .client_port = static_cast<std::uint16_t>(random()),
                             .vip_port = static_cast<std::uint16_t>(random())})
                         .key;
    Nudge nudge{key, static_cast<std::uint32_t>(random()), static_cast<std::uint32_t>(random()), std::nullopt,
                static_cast<std::uint32_t>(random()) & 0xfffffU};
    if (random() % 2 == 0)
      nudge.timestamps = Timestamps{static_cast<std::uint32_t>(random()), static_cast<std::uint32_t>(random())};
    const auto back = round_trip(build_nudge(nudge), key);
    ASSERT_EQ(back.seq, nudge.seq);
    ASSERT_EQ(back.ack, nudge.ack);
    ASSERT_EQ(back.timestamps.has_value(), nudge.timestamps.has_value());
    if (nudge.timestamps) {
      ASSERT_EQ(back.timestamps->value, nudge.timestamps->value);
      ASSERT_EQ(back.timestamps->echo, nudge.timestamps->echo);
    }
  }
}

// Option lists of bytes that look like kinds and lengths, under a good checksum, so that they reach the walk. Its
// result depends on nothing but the list: a NOP in front changes nothing, and bytes after the end neither.
TEST(Mutation, OptionWalksAgreeWithThemselves) {
  std::mt19937 random(20260103);
  const std::uint8_t alphabet[] = {0, 1, 2, 4, 5, 5, 8, 8, 10, 10, 18, 26, 34, 40, 255};
  const auto options_of = [&] {
    Options out = random() % 2 == 0 ? kTimestamps : sack(8 * (random() % 4) + 2, 3);
    while (out.size() < 36 && random() % 8 != 0) out.push_back(alphabet[random() % std::size(alphabet)]);
    for (unsigned n = random() % 4; n-- > 0;) out[random() % out.size()] = alphabet[random() % std::size(alphabet)];
    out.resize(std::min<std::size_t>(out.size(), 36));
    return out;
  };
  for (int round = 0; round < 20000; ++round) {
    PacketSpec spec{.v6 = random() % 2 == 0};
    spec.options = options_of();
    while (spec.options.size() % 4 != 0) spec.options.push_back(0);
    SCOPED_TRACE(::testing::PrintToString(spec.options));
    const auto plain = parsed(spec);
    PacketSpec shifted = spec;
    shifted.options.insert(shifted.options.begin(), {1, 1, 1, 1});
    const auto other = parsed(shifted);
    ASSERT_EQ(blocks_of(plain), blocks_of(other));
    ASSERT_EQ(plain.timestamps.has_value(), other.timestamps.has_value());
    if (plain.timestamps) {
      ASSERT_EQ(plain.timestamps->echo, other.timestamps->echo);
    }
    ASSERT_LE(plain.sacks.size() * 8 + (plain.timestamps ? 10 : 0), spec.options.size()) << "no byte read twice";
  }
}

}  // namespace
}  // namespace suture::healing
