// rebuild_socket's failures, one system call at a time, and what it costs.
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <iostream>
#include <vector>

#include <gtest/gtest.h>

#include "proxy/healing/rebuild.hpp"
#include "tests/unit/healing/connection.hpp"

namespace suture::healing {
namespace {

using test::Connection;
using test::InNamespace;
using test::pattern;
using test::Wire;

// Calls in order, by what they do; the call number fail_at (from 1) fails with fail_with. close() always works.
struct Calls {
  int count = 0;
  int fail_at = 0;
  int fail_with = 0;
  std::string failed{};  // the name of the call that failed

  bool fails(const char* name) {
    if (++count != fail_at) return false;
    failed = name;
    errno = fail_with;
    return true;
  }
};
Calls calls;

Syscalls counted() {
  return {
      .socket = [](int a, int b, int c) { return calls.fails("socket") ? -1 : ::socket(a, b, c); },
      .setsockopt =
          [](int fd, int level, int name, const void* value, socklen_t size) {
            return calls.fails(level == IPPROTO_IPV6 ? "label" : "setsockopt")
                       ? -1
                       : ::setsockopt(fd, level, name, value, size);
          },
      .getsockopt =
          [](int fd, int level, int name, void* value, socklen_t* size) {
            return calls.fails("getsockopt") ? -1 : ::getsockopt(fd, level, name, value, size);
          },
      .bind = [](int fd, const sockaddr* a, socklen_t n) { return calls.fails("bind") ? -1 : ::bind(fd, a, n); },
      .connect = [](int fd, const sockaddr* a,
                    socklen_t n) { return calls.fails("connect") ? -1 : ::connect(fd, a, n); },
      .close = ::close,
  };
}

std::size_t open_descriptors() {
  const std::filesystem::directory_iterator all("/proc/self/fd");
  return static_cast<std::size_t>(std::distance(begin(all), end(all)));
}

struct Orphaned : Connection {
  using Connection::Connection;
  RebuildSpec spec;

  void make() {
    establish();
    if (::testing::Test::HasFatalFailure()) return;
    send(client, owner, pattern(100));
    send(owner, client, pattern(100));
    if (::testing::Test::HasFatalFailure()) return;
    const auto clock_now = facts.ts_offset + static_cast<std::uint32_t>(monotonic_ms());
    spec = {.facts = facts,
            .out_seq = facts.iss + 101,
            .in_seq = facts.irs + 101,
            .tsval = (clock_now + (1U << 22)) & ~1U,
            .window = 500};
  }
};

class RebuildSteps : public ::testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(Ip, RebuildSteps, ::testing::Values(false, true));

TEST_P(RebuildSteps, WhateverFailsNothingLeaksAndNothingIsSaid) {
  Orphaned it(GetParam());
  it.make();
  if (HasFatalFailure()) return;
  it.owner_dies();
  calls = {};
  {
    auto whole = it.rebuild(it.spec, counted());
    ASSERT_TRUE(whole) << whole.error().message;
    Connection::silence(whole->fd);
  }
  const int total = calls.count;
  ASSERT_GT(total, 12);
  const auto descriptors = open_descriptors();
  const auto sent = it.wire.pop_segments_sent();
  std::vector<std::string> messages;
  for (const int error : {EPERM, EADDRINUSE, ENOMEM}) {
    for (int n = 1; n <= total; ++n) {
      SCOPED_TRACE("call " + std::to_string(n) + " fails with " + std::strerror(error));
      calls = {.fail_at = n, .fail_with = error};
      auto result = it.rebuild(it.spec, counted());
      if (calls.failed == "label") {
        ASSERT_TRUE(result) << "the label is worth trying, not a session";
        Connection::silence(result->fd);
      } else {
        ASSERT_FALSE(result);
        EXPECT_EQ(result.error().errno_value, error);
        messages.push_back(result.error().message);
      }
      ASSERT_EQ(open_descriptors(), descriptors);
      ASSERT_EQ(it.wire.pop_segments_sent(), sent);
    }
  }
  EXPECT_TRUE(it.wire.take().empty());
  for (const auto& message : messages) {
    const auto step = message.rfind(": ", message.rfind(": ") - 1);
    EXPECT_EQ(message.rfind("rebuild " + to_string(it.facts.key) + ": ", 0), 0U) << message;
    EXPECT_GT(message.rfind(": ") - step, 4U) << "names its step: " << message;
  }

  // None of it has left a socket behind, and the client has noticed nothing.
  auto at_last = it.rebuild(it.spec);
  ASSERT_TRUE(at_last) << at_last.error().message;
  it.owner = at_last->fd;
  it.send(it.owner, it.client, pattern(1000, 1));
  it.send(it.client, it.owner, pattern(1000, 2));
}

TEST_P(RebuildSteps, RepairModeIsEnteredAgainBeforeALateClose) {
  // The last call of all fails: by then the socket is an ordinary one, which would say FIN.
  Orphaned it(GetParam());
  it.make();
  if (HasFatalFailure()) return;
  it.owner_dies();
  calls = {};
  auto whole = it.rebuild(it.spec, counted());
  ASSERT_TRUE(whole);
  Connection::silence(whole->fd);
  const auto sent = it.wire.pop_segments_sent();
  calls = {.fail_at = calls.count, .fail_with = EPERM};
  const auto result = it.rebuild(it.spec, counted());
  ASSERT_FALSE(result);
  EXPECT_NE(result.error().message.find("SO_REUSEPORT"), std::string::npos) << result.error().message;
  EXPECT_EQ(it.wire.pop_segments_sent(), sent);
  EXPECT_EQ(test::info_of(it.client).tcpi_state, TCP_ESTABLISHED);
}

TEST_P(RebuildSteps, AnExistingSocketOfTheConnectionIsItsOwnError) {
  Orphaned it(GetParam());
  it.make();
  if (HasFatalFailure()) return;
  const auto descriptors = open_descriptors();
  const auto result = it.rebuild(it.spec);  // its owner lives
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().errno_value, EADDRINUSE) << result.error().message;
  EXPECT_EQ(open_descriptors(), descriptors);
  it.send(it.owner, it.client, pattern(1000, 1));  // and is not disturbed
  it.send(it.client, it.owner, pattern(1000, 2));
}

TEST_P(RebuildSteps, SaysWhatIsWrongWithTheHostOrTheSpec) {
  Orphaned it(GetParam());
  it.make();
  if (HasFatalFailure()) return;
  it.owner_dies();
  const auto error_of = [&it](const RebuildSpec& spec) {
    const auto result = it.rebuild(spec);
    EXPECT_FALSE(result);
    return result ? 0 : result.error().errno_value;
  };
  RebuildSpec spec = it.spec;
  spec.facts.key.vip.b[15] ^= 0x40;
  EXPECT_EQ(error_of(spec), EADDRNOTAVAIL) << "the VIP is not here";
  spec = it.spec;
  spec.tsval |= 1;
  EXPECT_EQ(error_of(spec), EINVAL) << "microseconds";
  spec = it.spec;
  spec.facts.mss = 40;
  EXPECT_EQ(error_of(spec), EINVAL);
  spec = it.spec;
  spec.facts.snd_wscale = 15;
  EXPECT_EQ(error_of(spec), EFBIG);
}

TEST_P(RebuildSteps, TheClampHolds) {
  Orphaned it(GetParam());
  it.make();
  if (HasFatalFailure()) return;
  it.owner_dies();
  it.spec.mss_max = 1000;
  it.spec.window = 65535;
  const auto result = it.rebuild(it.spec);
  ASSERT_TRUE(result) << result.error().message;
  it.owner = result->fd;
  EXPECT_EQ(result->facts.mss, 1000);
  std::uint32_t largest = 0;
  it.send(it.owner, it.client, pattern(50000), [&](const test::Passing& one) {
    if (!one.from_client) largest = std::max(largest, one.segment.payload_bytes);
    return true;
  });
  EXPECT_EQ(largest, 988U) << "less the timestamps option";
}

TEST_P(RebuildSteps, AClosedWindowIsRespectedUntilTheNextSegmentOpensIt) {
  Orphaned it(GetParam());
  it.make();
  if (HasFatalFailure()) return;
  it.owner_dies();
  const auto answer = it.fence(it.spec.out_seq, it.spec.in_seq, it.spec.tsval);
  it.spec.window = 0;
  const auto result = it.rebuild(it.spec);
  ASSERT_TRUE(result) << result.error().message;
  it.owner = result->fd;
  tcp_repair_window window{};
  socklen_t size = sizeof window;
  ASSERT_TRUE(test::set_int(it.owner, IPPROTO_TCP, TCP_REPAIR, TCP_REPAIR_ON));
  EXPECT_EQ(::getsockopt(it.owner, IPPROTO_TCP, TCP_REPAIR_WINDOW, &window, &size), 0);
  ASSERT_TRUE(test::set_int(it.owner, IPPROTO_TCP, TCP_REPAIR, TCP_REPAIR_OFF_NO_WP));
  EXPECT_EQ(window.max_window, 65535U) << "the kernel bounds the segment size to its half";
  const auto sent = it.wire.pop_segments_sent();
  ASSERT_EQ(::send(it.owner, "data", 4, 0), 4);
  EXPECT_EQ(it.wire.pop_segments_sent(), sent) << "not a byte into a closed window";
  ASSERT_GT(answer.segment.window, 0);
  ASSERT_TRUE(it.wire.pop().write(answer.packet));
  const auto moved = it.wire.take(1);
  ASSERT_EQ(moved.size(), 1U);
  EXPECT_EQ(moved[0].segment.payload_bytes, 4U);
}

// Not a test of speed: prints what it costs (KERNEL.md: 11 µs), sanitizers included.
TEST_P(RebuildSteps, Cost) {
  Orphaned it(GetParam());
  it.make();
  if (HasFatalFailure()) return;
  constexpr int kSockets = 5000;
  std::vector<int> sockets;
  sockets.reserve(kSockets);
  const InNamespace in(it.wire.pop_ns());
  const auto begin = std::chrono::steady_clock::now();
  for (int n = 0; n < kSockets; ++n) {
    RebuildSpec spec = it.spec;
    spec.facts.key.client_port = htons(static_cast<std::uint16_t>(1024 + n));
    const auto result = rebuild_socket(spec);
    if (!result && result.error().errno_value == EADDRINUSE) continue;  // the connection's own port
    ASSERT_TRUE(result) << result.error().message;
    sockets.push_back(result->fd);
  }
  const auto rebuilt = std::chrono::steady_clock::now();
  for (int fd : sockets) Connection::silence(fd);
  const auto closed = std::chrono::steady_clock::now();
  const auto each = [&](auto d) { return std::chrono::duration<double, std::micro>(d).count() / kSockets; };
  std::cout << (GetParam() ? "IPv6" : "IPv4") << ": " << each(rebuilt - begin) << " µs per rebuilt socket, "
            << each(closed - rebuilt) << " µs per silent close\n";
}

}  // namespace
}  // namespace suture::healing
