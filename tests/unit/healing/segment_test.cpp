#include "proxy/healing/segment.hpp"

#include <random>

#include <gtest/gtest.h>
#include <suture/ids.hpp>

#include "tests/unit/healing/packets.hpp"

namespace suture::healing {
namespace {

using test::build;
using test::PacketSpec;

class BothFamilies : public ::testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(Ip, BothFamilies, ::testing::Values(false, true));

TEST_P(BothFamilies, ReadsEveryField) {
  PacketSpec spec{.v6 = GetParam(), .seq = 0xfffffff0U, .ack = 7, .flags = 0x19, .payload = "hello"};
  spec.options = {1, 1, 8, 10, 0, 0, 0, 5, 0xde, 0xad, 0xbe, 0xef};
  const auto segment = parse_segment(build(spec));
  ASSERT_TRUE(segment) << segment.error().message;
  EXPECT_EQ(to_string(segment->key),
            GetParam() ? "[2001:db8::7]:4242>[2001:db8:113::10]:80" : "192.0.2.7:4242>203.0.113.10:80");
  EXPECT_EQ(segment->seq, 0xfffffff0U);
  EXPECT_EQ(segment->ack, 7U);
  EXPECT_EQ(segment->flags, 0x19);
  EXPECT_EQ(segment->window, 512);
  EXPECT_EQ(segment->payload_bytes, 5U);
  EXPECT_EQ(segment->length(), 6U) << "a FIN takes one sequence number";
  ASSERT_TRUE(segment->timestamps);
  EXPECT_EQ(segment->timestamps->value, 5U);
  EXPECT_EQ(segment->timestamps->echo, 0xdeadbeefU);
  EXPECT_EQ(segment->flow_label, GetParam() ? 0xabcdeU : 0U);
}

TEST_P(BothFamilies, EveryTruncationAndEveryFlippedByteIsRefusedOrHarmless) {
  const auto good = build({.v6 = GetParam(), .payload = "some payload"});
  for (std::size_t size = 0; size < good.size(); ++size) {
    EXPECT_FALSE(parse_segment(std::span(good).first(size))) << "cut at " << size;
  }
  const std::size_t tcp_start = GetParam() ? 40 : 20;
  for (std::size_t i = tcp_start; i < good.size(); ++i) {
    auto bad = good;
    bad[i] ^= 0x40;
    EXPECT_FALSE(parse_segment(bad)) << "byte " << i << " flipped, checksum must notice";
  }
}

TEST_P(BothFamilies, MalformedOptionsNeverHideTheRest) {
  struct Row {
    std::vector<std::uint8_t> options;
    bool found;
  };
  const Row rows[] = {
      {{8, 10, 0, 0, 0, 1, 0, 0, 0, 2}, true},
      {{1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2}, true},
      {{2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 3, 3, 7}, true},
      {{5, 10, 0, 0, 0, 1, 0, 0, 0, 2, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2}, true},
      {{8, 9, 0, 0, 0, 1, 0, 0, 0}, false},
      {{8, 0, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2}, false},
      {{8, 200, 0, 0}, false},
      {{0, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2}, false},
      {{3}, false},
  };
  for (const auto& row : rows) {
    PacketSpec spec{.v6 = GetParam()};
    spec.options = row.options;
    const auto segment = parse_segment(build(spec));
    ASSERT_TRUE(segment);
    EXPECT_EQ(segment->timestamps.has_value(), row.found) << ::testing::PrintToString(row.options);
    if (row.found) {
      EXPECT_EQ(segment->timestamps->echo, 2U);
    }
  }
}

TEST_P(BothFamilies, ResetAnswersWhereTheClientIs) {
  const auto stray = parse_segment(build({.v6 = GetParam(), .seq = 5, .ack = 0x12345678}));
  ASSERT_TRUE(stray);
  const auto packet = build_reset(*stray);
  const auto reset = parse_segment(packet);  // verifies lengths and checksums
  ASSERT_TRUE(reset) << reset.error().message;
  EXPECT_EQ(reset->seq, 0x12345678U);
  EXPECT_EQ(reset->flags, kRst);
  EXPECT_EQ(from_addr(reset->key.client), from_addr(stray->key.vip)) << "it goes the other way";
  EXPECT_EQ(from_addr(reset->key.vip), from_addr(stray->key.client));
  EXPECT_EQ(reset->key.vip_port, stray->key.client_port);
}

TEST_P(BothFamilies, ResetOfASegmentWithoutAckAcknowledgesIt) {
  const auto stray = parse_segment(build({.v6 = GetParam(), .seq = 0xffffffffU, .flags = kFin, .payload = "ab"}));
  ASSERT_TRUE(stray);
  const auto reset = parse_segment(build_reset(*stray));
  ASSERT_TRUE(reset);
  EXPECT_EQ(reset->flags, kRst | kAck);
  EXPECT_EQ(reset->seq, 0U);
  EXPECT_EQ(reset->ack, 2U);
}

TEST(Segment, RefusesFragmentsOtherProtocolsAndJunk) {
  auto packet = build({});
  packet[6] = 0x20;  // more fragments
  EXPECT_EQ(parse_segment(packet).error().message, "fragment");
  packet = build({});
  packet[9] = 17;
  EXPECT_EQ(parse_segment(packet).error().message, "not tcp");
  packet[0] = 0x95;
  EXPECT_EQ(parse_segment(packet).error().message, "ip version");
}

TEST(Segment, SeededJunkNeverReadsOutOfBounds) {
  std::mt19937 random(20260101);
  const std::vector<std::uint8_t> seeds[] = {build({.payload = "x"}), build({.v6 = true, .payload = "x"})};
  for (int round = 0; round < 20000; ++round) {
    auto packet = seeds[round % 2];
    for (int k = 0; k < 3; ++k) packet[random() % packet.size()] = static_cast<std::uint8_t>(random());
    packet.resize(random() % (packet.size() + 1));
    const std::vector<std::uint8_t> exact(packet.begin(), packet.end());  // ASan sees its real end
    (void)parse_segment(exact);
  }
}

}  // namespace
}  // namespace suture::healing
