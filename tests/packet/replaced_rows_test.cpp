// Replaced: a packet for our own socket whose echo is ahead of that socket's clock (PROTOCOL.md, rung 4).
#include <gmock/gmock.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "proxy/datapath/flow_states.hpp"
#include "tests/packet/client.hpp"
#include "tests/packet/steering_fixture.hpp"

namespace suture::packet_test {
namespace {

constexpr std::uint32_t kLimit = 1U << 16;
constexpr std::uint32_t kMinute = 60000;  // longer than any test: clocks run on while rows are checked

class ReplacedRows : public SteeringTest {
 protected:
  void SetUp() override {
    SteeringTest::SetUp();
    network_.emplace();
    for (const bool v6 : {false, true}) {
      listeners_.push_back(listen_on_vip(v6));
      static std::uint16_t port = 45000;
      packets_.push_back(v6 ? packet6(kAck, ++port) : packet4(kAck, ++port));
    }
  }
  // Established, with timestamps, and its clock at `tsval` now.
  Connection established(std::size_t i, std::uint32_t tsval) {
    packets_[i].options = timestamp_option(1, 0);
    auto c = connect(*network_, listeners_[i], packets_[i]);
    set_clock(c, tsval);
    return c;
  }
  static void set_clock(const Connection& c, std::uint32_t tsval) {
    int mode = TCP_REPAIR_ON;
    EXPECT_EQ(::setsockopt(c.accepted.get(), IPPROTO_TCP, TCP_REPAIR, &mode, sizeof mode), 0);
    EXPECT_EQ(::setsockopt(c.accepted.get(), IPPROTO_TCP, TCP_TIMESTAMP, &tsval, sizeof tsval), 0);
    mode = TCP_REPAIR_OFF_NO_WP;
    EXPECT_EQ(::setsockopt(c.accepted.get(), IPPROTO_TCP, TCP_REPAIR, &mode, sizeof mode), 0);
    allow_reuse(c.accepted);
  }
  static TcpPacket with_echo(TcpPacket p, std::uint32_t echo, std::uint8_t flags = kAck) {
    p.options = timestamp_option(3, echo);
    p.flags = flags;
    return p;
  }
  void expect_event(const TcpPacket& p, unsigned peer, std::uint32_t echo) {
    const auto told = events();
    ASSERT_EQ(told.size(), 1U);
    EXPECT_EQ(told[0].kind, SUTURE_EVENT_REPLACED);
    EXPECT_TRUE(told[0].key == p.key());
    EXPECT_EQ(told[0].peer, peer);
    EXPECT_EQ(told[0].echo, echo);
    EXPECT_EQ(told[0].seq, p.seq);
    EXPECT_EQ(told[0].ack, p.ack);
  }
  std::optional<ClientNetwork> network_;
  std::vector<datapath::FileDescriptor> listeners_;
  std::vector<TcpPacket> packets_;
};

TEST_F(ReplacedRows, only_an_echo_ahead_of_the_socket) {
  for (std::size_t i = 0; i < 2; ++i) {
    const std::uint32_t own = echo_of(kSelf) & ~1U;
    const auto c = established(i, own);
    for (const std::uint32_t echo : {own, own - kMinute, own - (1U << 28), own - (1U << 31) + kMinute, own + kLimit})
      expect("own, old, or within the tolerance: " + std::to_string(static_cast<std::int32_t>(echo - own)),
             run(with_echo(c.next, echo).ethernet()), kPass, "local_socket");
    EXPECT_TRUE(events().empty());
    const auto ahead = with_echo(c.next, own + kLimit + kMinute);
    expect("ahead, and names nobody else", run(ahead.ethernet()), kDrop, "replaced_dropped");
    expect_event(ahead, 0, own + kLimit + kMinute);
    auto bare = c.next;
    bare.options = {};
    expect("no timestamps in it", run(bare.ethernet()), kPass, "local_socket");
  }
}

TEST_F(ReplacedRows, to_the_living_node_that_it_names) {
  for (std::size_t i = 0; i < 2; ++i) {
    const auto c = established(i, echo_of(kSelf) & ~1U);
    struct Row {
      NodeId named;
      bool forwarded;
      unsigned event_peer;
    };
    for (const Row& row : {Row{kLiving, true, 2}, Row{kLiving6, true, 5}, Row{kNoHint, false, 3}, Row{kDead, false, 4},
                           Row{NodeId{99}, false, 0}}) {
      const auto echo = echo_of(row.named);
      const auto p = with_echo(c.next, echo);
      expect("named: " + std::to_string(to_int(row.named)), run(p.ethernet()), row.forwarded ? kRedirect : kDrop,
             row.forwarded ? "replaced_forwarded" : "replaced_dropped", row.forwarded ? to_int(row.named) : 0);
      expect_event(p, row.event_peer, echo);
    }
    ASSERT_TRUE(steering_->mark_not_mine(c.next.key(), kLiving));
    expect("it said not mine", run(with_echo(c.next, echo_of(kLiving)).ethernet()), kDrop, "replaced_dropped");
    (void)events();
  }
}

TEST_F(ReplacedRows, by_kind_of_segment) {
  for (std::size_t i = 0; i < 2; ++i) {
    const auto c = established(i, echo_of(kSelf) & ~1U);
    const auto echo = echo_of(kLiving);
    for (const std::uint8_t flags :
         {std::uint8_t(kAck | kFin), std::uint8_t(kAck | kPsh), std::uint8_t(kRst | kAck), std::uint8_t(kSyn | kAck)})
      expect("flags " + std::to_string(flags), run(with_echo(c.next, echo, flags).ethernet()), kRedirect,
             "replaced_forwarded", 2);
    expect("RST without ACK: its echo says nothing", run(with_echo(c.next, echo, kRst).ethernet()), kPass,
           "local_socket");
    expect("SYN", run(with_echo(c.next, 0, kSyn).ethernet()), kPass, "syn_local");
  }
}

TEST_F(ReplacedRows, zero_is_no_echo) {
  for (std::size_t i = 0; i < 2; ++i) {
    const auto c = established(i, 0U - (1U << 25));
    expect("0", run(with_echo(c.next, 0).ethernet()), kPass, "local_socket");
    EXPECT_EQ(run(with_echo(c.next, 2).ethernet()).rungs.at(0).substr(0, 8), "replaced");
  }
}

TEST_F(ReplacedRows, forwarded_ones_end_here) {
  for (std::size_t i = 0; i < 2; ++i) {
    const auto c = established(i, echo_of(kSelf) & ~1U);
    (void)moved();
    const auto p = with_echo(c.next, echo_of(kLiving));
    for (const unsigned kind : {SUTURE_TUNNEL_FINAL, SUTURE_TUNNEL_ASK}) {
      const auto outcome = tunnelled(p.ip(), kind, "10.99.0.3");
      EXPECT_EQ(outcome.rungs, std::vector<std::string>{"replaced_dropped"});
      ASSERT_EQ(events().size(), 1U) << "the doubt is ours all the same, and the question is not answered";
    }
    const auto orphan = tunnelled(p.ip(), SUTURE_TUNNEL_ORPHAN, "10.99.0.3", kVniBase, 2);
    // Once more, as final. (10.99.0.2 is this machine as well: the packet comes back, from no peer.)
    EXPECT_THAT(orphan.rungs, testing::UnorderedElementsAre("replaced_forwarded", "tunnel_unknown_peer"));
    EXPECT_EQ(orphan.peer, 2U);
    EXPECT_EQ(tunnelled(p.ip(), SUTURE_TUNNEL_ORPHAN).rungs, std::vector<std::string>{"replaced_dropped"})
        << "its sender has just said that its process is dead";
    (void)events();
  }
}

TEST_F(ReplacedRows, not_where_timestamps_say_nothing) {
  for (std::size_t i = 0; i < 2; ++i) {
    const auto c = established(i, echo_of(kSelf) & ~1U);
    ASSERT_TRUE(steering_->flow_states().set(c.next.key(), SUTURE_FLOW_NO_FENCE));
    expect("something rewrites them", run(with_echo(c.next, echo_of(kLiving)).ethernet()), kPass, "local_socket");
    auto syn = packets_[i];
    syn.options = {};
    syn.source_port = static_cast<std::uint16_t>(syn.source_port + 100);
    const auto plain = connect(*network_, listeners_[i], syn);
    expect("never negotiated", run(with_echo(plain.next, echo_of(kLiving)).ethernet()), kPass, "local_socket");
    EXPECT_TRUE(events().empty());
  }
}

// An odd TCP_TIMESTAMP switches the socket to microseconds (Linux 6.7 and later); before, to nothing at all.
TEST_F(ReplacedRows, a_clock_of_microseconds) {
  for (std::size_t i = 0; i < 2; ++i) {
    const std::uint32_t own = 1'000'000'001;
    const auto c = established(i, own);
    const std::uint32_t minute_us = kMinute * 1000;
    expect("at its clock", run(with_echo(c.next, own + kLimit).ethernet()), kPass, "local_socket");
    EXPECT_EQ(run(with_echo(c.next, own + kLimit + minute_us).ethernet()).rungs.at(0).substr(0, 8), "replaced");
  }
}

TEST_F(ReplacedRows, events_are_limited_per_prefix_and_packets_are_not) {
  auto c = config();
  c.claim_burst = 2;
  c.claim_per_second = 1;
  load(c);
  for (std::size_t i = 0; i < 2; ++i) {
    const auto connection = established(i, echo_of(kSelf) & ~1U);
    const auto p = with_echo(connection.next, echo_of(kLiving));
    for (int n = 0; n < 2; ++n) expect("within", run(p.ethernet()), kRedirect, "replaced_forwarded", 2);
    expect("beyond", run(p.ethernet()), kRedirect, "replaced_forwarded event_dropped", 2);
    EXPECT_EQ(events().size(), 2U);
    auto claimed = p;
    claimed.source_port = 7;
    ASSERT_TRUE(steering_->flow_states().set(claimed.key(), SUTURE_FLOW_CLAIMING));
    expect("claims have a bucket of their own", run(claimed.ethernet()), kRedirect, "claim_punt");
  }
}

TEST_F(ReplacedRows, events_are_limited_for_all_prefixes_together) {
  auto c = config();
  c.punt_total_burst = c.punt_total_per_second = 1;
  load(c);
  const auto first = established(0, echo_of(kSelf) & ~1U);
  const auto second = established(1, echo_of(kSelf) & ~1U);
  expect("within", run(with_echo(first.next, echo_of(kLiving)).ethernet()), kRedirect, "replaced_forwarded", 2);
  expect("beyond", run(with_echo(second.next, echo_of(kLiving)).ethernet()), kRedirect,
         "replaced_forwarded event_limited_node", 2);
  EXPECT_EQ(events().size(), 1U);
}

}  // namespace
}  // namespace suture::packet_test
