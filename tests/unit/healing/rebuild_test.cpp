// Rebuilt sockets on the real kernel: the owner falls silent, another socket goes on at the client's cursor.
#include "proxy/healing/rebuild.hpp"

#include <fcntl.h>

#include <chrono>
#include <iostream>
#include <tuple>

#include <gtest/gtest.h>
#include <suture/sequence.hpp>

#include "tests/unit/healing/connection.hpp"

namespace suture::healing {
namespace {

using test::Connection;
using test::get_int;
using test::InNamespace;
using test::Passing;
using test::pattern;
using test::Wire;

constexpr std::uint32_t kFenceAhead = 1U << 22;

struct Negotiated {
  bool v6, timestamps, sack, wscale;
};
std::ostream& operator<<(std::ostream& out, const Negotiated& n) {
  return out << (n.v6 ? "v6" : "v4") << (n.timestamps ? " timestamps" : "") << (n.sack ? " sack" : "")
             << (n.wscale ? " wscale" : "");
}

class Rebuild : public ::testing::TestWithParam<Negotiated> {
 protected:
  void SetUp() override {
    auto& wire = Wire::instance();
    wire.client_sysctl("tcp_timestamps", GetParam().timestamps);
    wire.client_sysctl("tcp_sack", GetParam().sack);
    wire.client_sysctl("tcp_window_scaling", GetParam().wscale);
  }
  void TearDown() override {
    for (const char* name : {"tcp_timestamps", "tcp_sack", "tcp_window_scaling"})
      Wire::instance().client_sysctl(name, 1);
  }
};
INSTANTIATE_TEST_SUITE_P(Kernel, Rebuild,
                         ::testing::Values(Negotiated{false, true, true, true}, Negotiated{true, true, true, true},
                                           Negotiated{false, false, true, true}, Negotiated{true, false, false, false},
                                           Negotiated{false, true, false, true}, Negotiated{false, true, true, false},
                                           Negotiated{true, true, true, false},
                                           Negotiated{false, false, false, false}));

// A connection with a history, whose owner has died with bytes in flight, and a socket in its place.
struct Healed : Connection {
  using Connection::Connection;
  Passing answer;
  RebuildSpec spec;
  Rebuilt rebuilt;
  std::string lost = pattern(5000, 2);

  void heal() {
    establish();
    if (::testing::Test::HasFatalFailure()) return;
    send(client, owner, pattern(300, 0));
    send(owner, client, pattern(3000, 1));
    if (::testing::Test::HasFatalFailure()) return;
    ASSERT_EQ(::send(owner, lost.data(), lost.size(), 0), static_cast<ssize_t>(lost.size()));
    owner_dies();

    const std::uint32_t c = to_seq(facts.iss, 3000);
    const std::uint32_t l = to_seq(facts.irs, 300);
    const auto clock_now = facts.ts_offset + static_cast<std::uint32_t>(monotonic_ms());
    const std::uint32_t fence_tsval = (clock_now + kFenceAhead) & ~1U;
    answer = fence(c, l, fence_tsval);
    ASSERT_EQ(answer.segment.ack, c);
    ASSERT_EQ(answer.segment.seq, l);
    ASSERT_EQ(answer.segment.timestamps.has_value(), facts.timestamps);
    if (facts.timestamps) {
      ASSERT_EQ(answer.segment.timestamps->echo, fence_tsval);
    }
    spec = {.facts = facts, .out_seq = c, .in_seq = l, .tsval = fence_tsval + 2, .window = answer.segment.window};

    const auto sent_before = wire.pop_segments_sent();
    auto result = rebuild(spec);
    ASSERT_TRUE(result) << result.error().message;
    rebuilt = *result;
    owner = rebuilt.fd;
    EXPECT_EQ(wire.pop_segments_sent(), sent_before) << "a rebuild sends nothing by itself";
  }
};

TEST_P(Rebuild, GoesOnAtTheCursorInBothDirections) {
  Healed it(GetParam().v6);
  it.heal();
  if (HasFatalFailure()) return;
  ASSERT_TRUE(it.wire.pop().write(it.answer.packet)) << "the answer, as the driver injects it";

  // The application's bytes again from the cursor on, then more than one window each way.
  std::size_t segments = 0;
  it.send(it.owner, it.client, it.lost + pattern(200000, 3), [&](const Passing& one) {
    if (one.from_client) return true;
    const auto& s = one.segment;
    if (segments++ == 0) {
      EXPECT_EQ(s.seq, it.spec.out_seq);
      EXPECT_EQ(s.ack, it.spec.in_seq);
      EXPECT_EQ(s.payload_bytes, it.facts.mss - (it.facts.timestamps ? 12U : 0U)) << "full segments at once";
      const auto scale = it.facts.wscale_ok ? it.facts.rcv_wscale : 0;
      EXPECT_GT(static_cast<std::uint32_t>(s.window) << scale, 30000U) << "a window in the client's scale";
    }
    EXPECT_EQ(s.timestamps.has_value(), it.facts.timestamps);
    EXPECT_EQ(s.flow_label, it.facts.flow_label);
    return true;
  });
  if (HasFatalFailure()) return;
  EXPECT_GT(segments, 100U);
  it.send(it.client, it.owner, pattern(200000, 4));
}

TEST_P(Rebuild, TheKernelAgreesWithTheFacts) {
  Healed it(GetParam().v6);
  it.heal();
  if (HasFatalFailure()) return;
  const auto info = test::info_of(it.owner);
  EXPECT_EQ(info.tcpi_state, TCP_ESTABLISHED);
  EXPECT_EQ((info.tcpi_options & TCPI_OPT_TIMESTAMPS) != 0, GetParam().timestamps);
  EXPECT_EQ((info.tcpi_options & TCPI_OPT_SACK) != 0, GetParam().sack);
  EXPECT_EQ(info.tcpi_snd_wscale, it.facts.snd_wscale);
  EXPECT_EQ(info.tcpi_rcv_wscale, it.facts.rcv_wscale);
  EXPECT_EQ(get_int(it.owner, IPPROTO_TCP, TCP_REPAIR), 0);
  EXPECT_EQ(get_int(it.owner, IPPROTO_TCP, TCP_NODELAY), 1);
  EXPECT_EQ(get_int(it.owner, SOL_SOCKET, SO_REUSEADDR), 1);
  EXPECT_EQ(get_int(it.owner, SOL_SOCKET, SO_REUSEPORT), 1);
  EXPECT_NE(::fcntl(it.owner, F_GETFL) & O_NONBLOCK, 0);
  EXPECT_NE(::fcntl(it.owner, F_GETFD) & FD_CLOEXEC, 0);
  EXPECT_TRUE(it.rebuilt.facts.key == it.facts.key);
  EXPECT_EQ(it.rebuilt.facts.iss, it.facts.iss);
  EXPECT_EQ(it.rebuilt.facts.mss, it.facts.mss);

  // Repair mode shows the windows, and is left again without a probe; it takes the reuse options with it.
  tcp_repair_window window{};
  socklen_t size = sizeof window;
  ASSERT_TRUE(test::set_int(it.owner, IPPROTO_TCP, TCP_REPAIR, TCP_REPAIR_ON));
  EXPECT_EQ(::getsockopt(it.owner, IPPROTO_TCP, TCP_REPAIR_WINDOW, &window, &size), 0);
  ASSERT_TRUE(test::set_int(it.owner, IPPROTO_TCP, TCP_REPAIR, TCP_REPAIR_OFF_NO_WP));
  ASSERT_TRUE(test::set_int(it.owner, SOL_SOCKET, SO_REUSEADDR, 1));
  EXPECT_EQ(window.snd_wnd, static_cast<std::uint32_t>(it.spec.window)
                                << (it.facts.wscale_ok ? it.facts.snd_wscale : 0));
  EXPECT_EQ(window.rcv_wup, it.spec.in_seq);

  // A restarted process listens beside it.
  Connection::silence(it.listener);
  it.listener = it.new_listener();
}

TEST_P(Rebuild, EchoesNothingUntilTheFirstPacketAndOurClockRunsOn) {
  if (!GetParam().timestamps) GTEST_SKIP() << "no timestamps";
  Healed it(GetParam().v6);
  it.heal();
  if (HasFatalFailure()) return;
  const auto first_of = [&](const char* byte) {
    Segment seen;
    const auto before = monotonic_ms();
    it.send(it.owner, it.client, byte, [&](const Passing& one) {
      if (!one.from_client && one.segment.payload_bytes != 0) seen = one.segment;
      return true;
    });
    // The record's clock: TSval = ts_offset + CLOCK_MONOTONIC ms; 2 ms for its roundings.
    const auto at = seen.timestamps->value - it.rebuilt.facts.ts_offset;
    EXPECT_GE(seq_diff(at, static_cast<std::uint32_t>(before)), -2);
    EXPECT_LE(seq_diff(at, static_cast<std::uint32_t>(monotonic_ms())), 2);
    EXPECT_TRUE(seq_at_or_before(it.spec.tsval, seen.timestamps->value));
    return seen.timestamps->echo;
  };
  EXPECT_EQ(first_of("a"), 0U) << "ts_recent cannot be set by TCP_REPAIR";
  EXPECT_NE(first_of("b"), 0U) << "the client's acknowledgement has set it";
}

TEST_P(Rebuild, TheInjectedAnswerSetsTheEcho) {
  if (!GetParam().timestamps) GTEST_SKIP() << "no timestamps";
  Healed it(GetParam().v6);
  it.heal();
  if (HasFatalFailure()) return;
  ASSERT_TRUE(it.wire.pop().write(it.answer.packet));
  std::optional<Timestamps> first;
  it.send(it.owner, it.client, "a", [&](const Passing& one) {
    if (!one.from_client && !first) first = one.segment.timestamps;
    return true;
  });
  ASSERT_TRUE(first);
  EXPECT_EQ(first->echo, it.answer.segment.timestamps->value);
}

TEST_P(Rebuild, HeldStraysArriveOnce) {
  Connection it(GetParam().v6);
  it.establish();
  if (HasFatalFailure()) return;
  it.send(it.client, it.owner, pattern(100, 0));
  it.send(it.owner, it.client, pattern(100, 1));
  if (HasFatalFailure()) return;
  it.owner_dies();
  // Two packets that nobody takes, held by the driver.
  const std::string one = "first held;", two = "second held;";
  ASSERT_EQ(::send(it.client, one.data(), one.size(), 0), static_cast<ssize_t>(one.size()));
  auto held = it.wire.take(1);
  ASSERT_TRUE(test::set_int(it.client, IPPROTO_TCP, TCP_NODELAY, 1));
  ASSERT_EQ(::send(it.client, two.data(), two.size(), 0), static_cast<ssize_t>(two.size()));
  for (auto& packet : it.wire.take(1)) held.push_back(std::move(packet));
  ASSERT_EQ(held.size(), 2U);

  const auto result =
      it.rebuild({.facts = it.facts,
                  .out_seq = held[0].segment.ack,
                  .in_seq = held[0].segment.seq,
                  .tsval = (it.facts.ts_offset + static_cast<std::uint32_t>(monotonic_ms()) + kFenceAhead) & ~1U,
                  .window = held[0].segment.window});
  ASSERT_TRUE(result) << result.error().message;
  it.owner = result->fd;
  char buffer[256];
  EXPECT_EQ(::recv(it.owner, buffer, sizeof buffer, 0), -1) << "nothing is there before";
  // In the wrong order, and twice: TCP sorts it out.
  for (const int n : {1, 0, 0, 1}) ASSERT_TRUE(it.wire.pop().write(held[static_cast<std::size_t>(n)].packet));
  std::string got;
  ASSERT_TRUE(it.wire.pump([&] {
    const ssize_t size = ::recv(it.owner, buffer, sizeof buffer, 0);
    if (size > 0) got.append(buffer, static_cast<std::size_t>(size));
    return got.size() >= one.size() + two.size();
  }));
  EXPECT_EQ(got, one + two);
  ASSERT_TRUE(it.wire.pop().write(held[0].packet)) << "below rcv_nxt now";
  EXPECT_EQ(::recv(it.owner, buffer, sizeof buffer, 0), -1);
  EXPECT_EQ(errno, EAGAIN);
  it.send(it.client, it.owner, pattern(3000, 2));
  it.send(it.owner, it.client, pattern(3000, 3));
}

// A stray that was under way when the client had not yet acknowledged up to c.
TEST_P(Rebuild, AHeldStrayWithAnOldAckIsLeftToTheClientsRetransmission) {
  Connection it(GetParam().v6);
  it.establish();
  if (HasFatalFailure()) return;
  const std::string held_bytes = "held";
  ASSERT_EQ(::send(it.client, held_bytes.data(), held_bytes.size(), 0), 4);
  const auto held = it.wire.take(1);
  ASSERT_EQ(::send(it.owner, "response", 8, 0), 8);
  std::string got;
  ASSERT_TRUE(it.wire.pump(
      [&] {
        char buffer[16];
        const auto n = ::recv(it.client, buffer, sizeof buffer, 0);
        if (n > 0) got.append(buffer, static_cast<std::size_t>(n));
        return got == "response";
      },
      [](const Passing& one) { return !one.from_client; }));
  it.owner_dies();
  const std::uint32_t c = to_seq(it.facts.iss, 8), l = to_seq(it.facts.irs, 0);
  const auto tsval = (it.facts.ts_offset + static_cast<std::uint32_t>(monotonic_ms()) + kFenceAhead) & ~1U;
  const auto answer = it.fence(c, l, tsval);
  ASSERT_EQ(answer.segment.ack, c);
  ASSERT_TRUE(seq_before(held.at(0).segment.ack, c));
  const auto result =
      it.rebuild({.facts = it.facts, .out_seq = c, .in_seq = l, .tsval = tsval + 2, .window = answer.segment.window});
  ASSERT_TRUE(result) << result.error().message;
  it.owner = result->fd;
  ASSERT_TRUE(it.wire.pop().write(held[0].packet));
  const auto challenge = it.wire.take(1);
  ASSERT_FALSE(challenge.empty());
  EXPECT_EQ(challenge[0].segment.ack, l) << "not taken";
  got.clear();
  ASSERT_TRUE(it.wire.pump([&] {
    char buffer[16];
    const auto n = ::recv(it.owner, buffer, sizeof buffer, 0);
    if (n > 0) got.append(buffer, static_cast<std::size_t>(n));
    return got.size() >= 4;
  }));
  EXPECT_EQ(got, held_bytes) << "and not lost";
}

// The former owner acknowledged bytes that the record does not know: the client will not send them again.
TEST_P(Rebuild, LostBytesRungGoesOnAtS) {
  Connection it(GetParam().v6);
  it.establish();
  if (HasFatalFailure()) return;
  it.send(it.client, it.owner, pattern(100, 0));
  it.send(it.owner, it.client, pattern(100, 1));
  it.send(it.client, it.owner, "acknowledged by the dead");
  if (HasFatalFailure()) return;
  it.owner_dies();
  const std::uint32_t c = to_seq(it.facts.iss, 100), l = to_seq(it.facts.irs, 100);
  const auto tsval = (it.facts.ts_offset + static_cast<std::uint32_t>(monotonic_ms()) + kFenceAhead) & ~1U;
  const auto first = it.fence(c, l, tsval);
  EXPECT_EQ(first.segment.seq, l + 24);
  if (it.facts.timestamps) {
    EXPECT_NE(first.segment.timestamps->echo, tsval) << "an old ACK: answered, not remembered";
  }
  const auto second = it.fence(c, first.segment.seq, tsval);
  if (it.facts.timestamps) {
    EXPECT_EQ(second.segment.timestamps->echo, tsval);
  }
  const auto result = it.rebuild({.facts = it.facts,
                                  .out_seq = second.segment.ack,
                                  .in_seq = second.segment.seq,
                                  .tsval = tsval + 2,
                                  .window = second.segment.window});
  ASSERT_TRUE(result) << result.error().message;
  it.owner = result->fd;
  it.send(it.owner, it.client, pattern(5000, 2));
  it.send(it.client, it.owner, pattern(5000, 3));
}

// Both ends made by a rebuild, just before both sequence spaces wrap.
TEST_P(Rebuild, SequenceNumbersWrap) {
  Healed it(GetParam().v6);
  it.heal();
  if (HasFatalFailure()) return;
  Connection::silence(it.client);
  Connection::silence(it.owner);
  constexpr std::uint32_t kOut = 0xffffff00U, kIn = 0xfffffe00U;
  RebuildSpec spec{.facts = it.rebuilt.facts, .out_seq = kOut, .in_seq = kIn, .tsval = 0xfffffff0U, .window = 0};
  spec.facts.iss = kOut - 1;
  spec.facts.irs = kIn - 1;
  spec.window = 60000;
  auto pop = it.rebuild(spec);
  ASSERT_TRUE(pop) << pop.error().message;
  it.owner = pop->fd;
  RebuildSpec mirror = spec;
  std::swap(mirror.facts.key.client, mirror.facts.key.vip);
  std::swap(mirror.facts.key.client_port, mirror.facts.key.vip_port);
  std::swap(mirror.facts.snd_wscale, mirror.facts.rcv_wscale);
  std::swap(mirror.out_seq, mirror.in_seq);
  {
    const InNamespace in(it.wire.client_ns());
    auto client = rebuild_socket(mirror);
    ASSERT_TRUE(client) << client.error().message;
    it.client = client->fd;
  }
  it.send(it.owner, it.client, pattern(100, 1));  // still below the wrap
  it.send(it.client, it.owner, pattern(100000, 2));
  it.send(it.owner, it.client, pattern(100000, 3));
  if (HasFatalFailure()) return;

  // Again, at a cursor beyond it.
  it.owner_dies();
  const auto tsval = (pop->facts.ts_offset + static_cast<std::uint32_t>(monotonic_ms()) + kFenceAhead) & ~1U;
  const auto answer = it.fence(kOut + 100100, kIn + 100000, tsval);
  ASSERT_EQ(answer.segment.ack, kOut + 100100);
  ASSERT_EQ(answer.segment.seq, kIn + 100000);
  spec.out_seq = answer.segment.ack;
  spec.in_seq = answer.segment.seq;
  spec.window = answer.segment.window;
  spec.tsval = tsval + 2;
  pop = it.rebuild(spec);
  ASSERT_TRUE(pop) << pop.error().message;
  it.owner = pop->fd;
  it.send(it.owner, it.client, pattern(50000, 4));
  it.send(it.client, it.owner, pattern(50000, 5));
}

}  // namespace
}  // namespace suture::healing
