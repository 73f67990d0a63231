// On real sockets of the kernel that the tests run on (loopback). Needs CAP_NET_ADMIN, as suture itself does.
#include "proxy/healing/tcp_repair.hpp"

#include <cstring>

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <suture/ids.hpp>
#include <suture/sequence.hpp>

namespace suture::healing {
namespace {

struct Pair {
  int listener = -1, client = -1, server = -1;
  ~Pair() {
    for (const int fd : {listener, client, server}) {
      if (fd >= 0) ::close(fd);
    }
  }
};

template <class Address>
void connect_pair(Pair& pair, Address address, bool save_syn, const std::string& early) {
  const int family = reinterpret_cast<sockaddr*>(&address)->sa_family;
  pair.listener = ::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int on = save_syn ? 1 : 0;
  ASSERT_EQ(::setsockopt(pair.listener, IPPROTO_TCP, TCP_SAVE_SYN, &on, sizeof on), 0);
  ASSERT_EQ(::bind(pair.listener, reinterpret_cast<sockaddr*>(&address), sizeof address), 0) << std::strerror(errno);
  ASSERT_EQ(::listen(pair.listener, 1), 0);
  socklen_t size = sizeof address;
  ASSERT_EQ(::getsockname(pair.listener, reinterpret_cast<sockaddr*>(&address), &size), 0);
  pair.client = ::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  ASSERT_EQ(::connect(pair.client, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(::send(pair.client, early.data(), early.size(), 0), static_cast<ssize_t>(early.size()));
  pair.server = ::accept4(pair.listener, nullptr, nullptr, SOCK_CLOEXEC);
  ASSERT_GE(pair.server, 0);
}

sockaddr_in loopback4() {
  sockaddr_in a{};
  a.sin_family = AF_INET;
  a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return a;
}
sockaddr_in6 loopback6() {
  sockaddr_in6 a{};
  a.sin6_family = AF_INET6;
  a.sin6_addr = in6addr_loopback;
  return a;
}

std::uint32_t tsval(int fd) {
  std::uint32_t value = 0;
  socklen_t size = sizeof value;
  EXPECT_EQ(::getsockopt(fd, IPPROTO_TCP, TCP_TIMESTAMP, &value, &size), 0);
  return value;
}

class AcceptFacts : public ::testing::TestWithParam<std::tuple<bool, bool, std::string>> {};
INSTANTIATE_TEST_SUITE_P(Kernel, AcceptFacts,
                         ::testing::Combine(::testing::Bool(), ::testing::Bool(),
                                            ::testing::Values("", "early bytes")));

TEST_P(AcceptFacts, AreTrueAndTheTimestampIsInTheSlot) {
  const auto& [v6, save_syn, early] = GetParam();
  Pair pair;
  if (v6) {
    connect_pair(pair, loopback6(), save_syn, early);
  } else {
    connect_pair(pair, loopback4(), save_syn, early);
  }
  if (HasFatalFailure()) return;

  SlotClock clock;
  clock.set_offset_ms(123456789);
  SlotAcceptHook hook(NodeId{200}, clock);
  const std::uint32_t before = tsval(pair.server);
  const auto facts = hook.on_accept(pair.server);
  ASSERT_TRUE(facts) << facts.error().message << " (these tests need root)";
  EXPECT_TRUE(facts->timestamps);
  EXPECT_TRUE(facts->hint);
  EXPECT_TRUE(facts->sack_ok);
  EXPECT_TRUE(facts->wscale_ok);
  EXPECT_GT(facts->mss, 1000);

  const std::uint32_t after = tsval(pair.server);
  EXPECT_TRUE(seq_before(before, after)) << "never back: that kills the session";
  EXPECT_EQ(slot_owner(after, clock.now_ms()), 200U);
  EXPECT_NEAR(static_cast<double>(after - facts->ts_offset),
              static_cast<double>(static_cast<std::uint32_t>(monotonic_ms())), 1000.0);

  // Data still flows both ways, and the sequence numbers that the hook read explain the kernel's own.
  ASSERT_EQ(::send(pair.server, "answer", 6, 0), 6);
  char buffer[64] = {};
  ASSERT_EQ(::recv(pair.client, buffer, sizeof buffer, 0), 6);
  if (!early.empty()) {
    ASSERT_EQ(::recv(pair.server, buffer, sizeof buffer, 0), static_cast<ssize_t>(early.size()));
  }
  const int on = 1;
  ASSERT_EQ(::setsockopt(pair.client, IPPROTO_TCP, TCP_REPAIR, &on, sizeof on), 0);
  const auto client_queue = [&](int queue) {
    std::uint32_t seq = 0;
    socklen_t size = sizeof seq;
    EXPECT_EQ(::setsockopt(pair.client, IPPROTO_TCP, TCP_REPAIR_QUEUE, &queue, sizeof queue), 0);
    EXPECT_EQ(::getsockopt(pair.client, IPPROTO_TCP, TCP_QUEUE_SEQ, &seq, &size), 0);
    return seq;
  };
  EXPECT_EQ(client_queue(TCP_RECV_QUEUE), to_seq(facts->iss, 6));
  EXPECT_EQ(client_queue(TCP_SEND_QUEUE), to_seq(facts->irs, early.size()));
  const int off = -1;
  ASSERT_EQ(::setsockopt(pair.client, IPPROTO_TCP, TCP_REPAIR, &off, sizeof off), 0);
}

TEST(AcceptFactsAfterFin, TheClientsFinIsNotCountedAsAByte) {
  Pair pair;
  connect_pair(pair, loopback4(), false, "request");
  if (::testing::Test::HasFatalFailure()) return;
  ASSERT_EQ(::shutdown(pair.client, SHUT_WR), 0);
  char buffer[64];
  ASSERT_EQ(::recv(pair.server, buffer, 7, MSG_WAITALL | MSG_PEEK), 7);
  tcp_info info{};
  do {  // until the FIN has arrived: loopback delivers it without our doing
    socklen_t size = sizeof info;
    ASSERT_EQ(::getsockopt(pair.server, IPPROTO_TCP, TCP_INFO, &info, &size), 0);
  } while (info.tcpi_state != TCP_CLOSE_WAIT);
  SlotClock clock;
  SlotAcceptHook hook(NodeId{3}, clock);
  const auto facts = hook.on_accept(pair.server);
  ASSERT_TRUE(facts) << facts.error().message;
  Pair again;
  connect_pair(again, loopback4(), true, "x");
  const auto saved = hook.on_accept(again.server);
  ASSERT_TRUE(saved);
  // Derived without the SYN: seven bytes and a FIN lie between IRS and what the client will send next.
  const int on = 1;
  ASSERT_EQ(::setsockopt(pair.client, IPPROTO_TCP, TCP_REPAIR, &on, sizeof on), 0);
  const int queue = TCP_SEND_QUEUE;
  ASSERT_EQ(::setsockopt(pair.client, IPPROTO_TCP, TCP_REPAIR_QUEUE, &queue, sizeof queue), 0);
  std::uint32_t seq = 0;
  socklen_t size = sizeof seq;
  ASSERT_EQ(::getsockopt(pair.client, IPPROTO_TCP, TCP_QUEUE_SEQ, &seq, &size), 0);
  EXPECT_EQ(seq, to_seq(facts->irs, 7) + 1) << "write_seq counts the FIN too";
  const int off = -1;
  ASSERT_EQ(::setsockopt(pair.client, IPPROTO_TCP, TCP_REPAIR, &off, sizeof off), 0);
}

TEST(AcceptFactsErrors, ASocketThatIsNotConnectedIsRefused) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  SlotClock clock;
  SlotAcceptHook hook(NodeId{3}, clock);
  EXPECT_FALSE(hook.on_accept(fd));
  ::close(fd);
}

}  // namespace
}  // namespace suture::healing
