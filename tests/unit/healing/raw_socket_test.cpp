// What the raw socket is given leaves as it was built, marked as it was opened.
#include "proxy/healing/raw_socket.hpp"

#include <gtest/gtest.h>

#include "tests/unit/healing/connection.hpp"

namespace suture::healing {
namespace {

class RawSend : public ::testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(Ip, RawSend, ::testing::Values(false, true));

TEST_P(RawSend, ANudgeIsAnsweredByTheClientsKernel) {
  test::Connection it(GetParam());
  it.establish();
  if (HasFatalFailure()) return;
  it.send(it.owner, it.client, "response");
  if (HasFatalFailure()) return;
  std::optional<RawSocket> raw;
  {
    const test::InNamespace in(it.wire.pop_ns());
    auto opened = RawSocket::open(0);
    ASSERT_TRUE(opened) << opened.error().message;
    raw.emplace(std::move(*opened));
  }
  const Nudge nudge{it.facts.key, it.facts.iss + 8, it.facts.irs + 1, Timestamps{1, 2}, it.facts.flow_label};
  const auto sent = raw->send(build_nudge(nudge));
  ASSERT_TRUE(sent) << sent.error().message;
  const auto out = it.wire.take(1);
  ASSERT_EQ(out.size(), 1U);
  ASSERT_FALSE(out[0].from_client);
  EXPECT_EQ(out[0].segment.seq, nudge.seq);
  EXPECT_EQ(out[0].segment.payload_bytes, 1U);
  EXPECT_EQ(out[0].segment.timestamps->echo, 2U);
  EXPECT_EQ(out[0].segment.flow_label, nudge.flow_label);
  ASSERT_TRUE(it.wire.client().write(out[0].packet));
  const auto answer = it.wire.take(1);
  ASSERT_EQ(answer.size(), 1U);
  EXPECT_TRUE(answer[0].from_client);
  EXPECT_EQ(answer[0].segment.ack, it.facts.iss + 9) << "the cursor";
}

TEST_P(RawSend, ASessionResetEndsTheClientsConnection) {
  test::Connection it(GetParam());
  it.establish();
  if (HasFatalFailure()) return;
  it.send(it.owner, it.client, "response");
  if (HasFatalFailure()) return;
  // One byte off draws a challenge ACK and changes nothing (RFC 5961 section 3.2).
  for (const std::uint32_t off : {1U, 0U}) {
    const auto packet = build_session_reset(it.facts.key, it.facts.iss + 9 + off, it.facts.irs + 1, std::nullopt, 0);
    ASSERT_TRUE(it.wire.client().write(packet));
    const int error = test::get_int(it.client, SOL_SOCKET, SO_ERROR);
    EXPECT_EQ(error, off == 0 ? ECONNRESET : 0);
  }
}

}  // namespace
}  // namespace suture::healing
