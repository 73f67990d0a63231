// Rewritten: the client acknowledges what we sent and does not echo our clock, so something between changes timestamps.
// No packet of a test run enters the socket: it waits for its first ACK of data throughout.
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "proxy/datapath/flow_states.hpp"
#include "proxy/datapath/socket_destroyer.hpp"
#include "tests/packet/client.hpp"
#include "tests/packet/steering_fixture.hpp"

namespace suture::packet_test {
namespace {

constexpr std::uint32_t kSlotWidth = 1U << 20;
constexpr std::uint32_t kMinute = 60000;
constexpr std::uint32_t kBytes = 4;

class RewrittenRows : public SteeringTest {
 protected:
  void SetUp() override {
    SteeringTest::SetUp();
    network_.emplace();
    for (const bool v6 : {false, true}) {
      listeners_.push_back(listen_on_vip(v6));
      packets_.push_back(v6 ? packet6() : packet4());
    }
  }
  // Established, its clock at `tsval` now, and 4 bytes under way. `next` acknowledges them.
  Connection sending(std::size_t i, std::uint32_t tsval, bool timestamps = true) {
    auto& syn = packets_[i];
    static std::uint16_t port = 48000;  // sockets of earlier tests are still in the kernel
    syn.source_port = ++port;
    return sending_from(i, syn, tsval, timestamps);
  }
  Connection sending_from(std::size_t i, TcpPacket syn, std::uint32_t tsval, bool timestamps = true) {
    if (timestamps) syn.options = timestamp_option(1, 0);
    auto c = connect(*network_, listeners_[i], syn);
    int mode = TCP_REPAIR_ON;
    EXPECT_EQ(::setsockopt(c.accepted.get(), IPPROTO_TCP, TCP_REPAIR, &mode, sizeof mode), 0);
    EXPECT_EQ(::setsockopt(c.accepted.get(), IPPROTO_TCP, TCP_TIMESTAMP, &tsval, sizeof tsval), 0);
    mode = TCP_REPAIR_OFF_NO_WP;
    EXPECT_EQ(::setsockopt(c.accepted.get(), IPPROTO_TCP, TCP_REPAIR, &mode, sizeof mode), 0);
    allow_reuse(c.accepted);
    EXPECT_EQ(::send(c.accepted.get(), "data", kBytes, 0), static_cast<ssize_t>(kBytes));
    const auto data = network_->receive_tcp(c.next.source_port);
    EXPECT_TRUE(data && data->payload == kBytes);
    c.next.ack += kBytes;
    return c;
  }
  static TcpPacket with_echo(TcpPacket p, std::uint32_t echo) {
    p.options = timestamp_option(3, echo);
    return p;
  }
  void expect_quiet(const std::string& what, const TcpPacket& p) {
    for (int n = 0; n < 3; ++n) expect(what, run(p.ethernet()), kPass, "local_socket");
    EXPECT_TRUE(events().empty()) << what;
  }
  void expect_told(const std::string& what, const TcpPacket& p, std::uint32_t echo) {
    expect(what + ": may be a broken bit", run(p.ethernet()), kPass, "local_socket");
    EXPECT_TRUE(events().empty()) << what;
    expect(what, run(p.ethernet()), kPass, "local_socket rewritten");
    const auto told = events();
    ASSERT_EQ(told.size(), 1U) << what;
    EXPECT_EQ(told[0].kind, SUTURE_EVENT_REWRITTEN);
    EXPECT_TRUE(told[0].key == p.key());
    EXPECT_EQ(told[0].echo, echo);
    EXPECT_EQ(told[0].ack, p.ack);
    expect_quiet(what + ": once is enough", p);
  }
  std::uint32_t own() const { return echo_of(kSelf) & ~1U; }
  std::uint32_t stale() const { return own() - (1U << 25); }  // names no slot of ours: the SYN-ACK's, before the jump
  std::optional<ClientNetwork> network_;
  std::vector<datapath::FileDescriptor> listeners_;
  std::vector<TcpPacket> packets_;
};

TEST_F(RewrittenRows, an_acknowledgement_of_data_that_echoes_something_else) {
  for (std::size_t i = 0; i < 2; ++i) {
    const auto a = sending(i, own());
    const auto echo = stale();
    expect_told("what the SYN-ACK said", with_echo(a.next, echo), echo);
    const auto b = sending(i, own());
    expect_told("nothing", with_echo(b.next, 0), 0);
    const auto c = sending(i, own());
    auto bare = c.next;
    bare.options = {};
    expect_told("no timestamps at all", bare, 0);
    const auto d = sending(i, own());
    const auto fin = echo - kMinute;
    auto with_data = with_echo(d.next, fin);
    with_data.flags = kAck | kPsh | kFin;
    with_data.payload = {'x'};
    --with_data.ack;  // a part of it
    expect_told("beside data", with_data, fin);
  }
}

TEST_F(RewrittenRows, not_what_a_client_may_say) {
  for (std::size_t i = 0; i < 2; ++i) {
    const auto c = sending(i, own());
    auto before = with_echo(c.next, stale());
    before.ack -= kBytes;
    expect_quiet("sent before our data came: the SYN-ACK's echo", before);
    before.payload = {'r', 'e', 'q'};
    expect_quiet("a request that was under way", before);
    for (const std::uint32_t late : {0U, kMinute, kSlotWidth - kMinute})
      expect_quiet("late by " + std::to_string(late), with_echo(c.next, own() - late));
    expect_quiet("from before a fence of our own", with_echo(c.next, own() - (1U << 28)));
    auto rst = with_echo(c.next, stale());
    rst.flags = kRst | kAck;
    expect_quiet("RST", rst);
  }
}

TEST_F(RewrittenRows, not_what_does_not_fit_the_socket) {
  for (std::size_t i = 0; i < 2; ++i) {
    const auto c = sending(i, own());
    auto p = with_echo(c.next, stale());
    ++p.ack;
    expect_quiet("acknowledges what was never sent", p);
    p.ack -= 0x40000000;
    expect_quiet("acknowledges what is long gone", p);
    p = with_echo(c.next, stale());
    --p.seq;
    expect_quiet("below the window", p);
    p.seq += 1U << 24;
    expect_quiet("above the window", p);
  }
}

TEST_F(RewrittenRows, not_where_it_is_known_or_means_nothing) {
  for (std::size_t i = 0; i < 2; ++i) {
    const auto c = sending(i, own());
    ASSERT_TRUE(steering_->flow_states().set(c.next.key(), SUTURE_FLOW_NO_FENCE));
    expect_quiet("user space has been told", with_echo(c.next, stale()));
    const auto plain = sending(i, 0, false);
    expect_quiet("never negotiated", with_echo(plain.next, stale()));
    const auto microseconds = sending(i, 1'000'000'001);
    expect_quiet("a clock of microseconds", with_echo(microseconds.next, 1'000'000'001 - (1U << 25)));
  }
}

TEST_F(RewrittenRows, a_connection_with_the_same_key_starts_anew) {
  for (std::size_t i = 0; i < 2; ++i) {
    auto c = sending(i, own());
    const auto echo = stale();
    expect_told("the first", with_echo(c.next, echo), echo);
    const auto destroyed = datapath::destroy_sockets(boost::asio::ip::make_address(i ? kVip6 : kVip4), kPort);
    ASSERT_TRUE(destroyed && *destroyed > 0U);
    c.accepted = {};
    while (network_->receive_tcp(c.next.source_port, 0)) {  // its RST (no egress program on this device)
    }
    auto syn = packets_[i];
    syn.seq += 1'000'000;
    const auto again = sending_from(i, syn, own());
    ASSERT_TRUE(again.next.key() == c.next.key());
    expect_told("the second", with_echo(again.next, echo), echo);
  }
}

TEST_F(RewrittenRows, told_when_there_is_room_for_it) {
  auto c = config();
  c.claim_burst = 1;
  c.claim_per_second = 1;
  load(c);
  const auto first = sending(0, own());
  const auto second = sending(0, own());
  expect_told("the prefix's only token", with_echo(first.next, stale()), stale());
  const auto p = with_echo(second.next, stale());
  expect("suspected", run(p.ethernet()), kPass, "local_socket");
  expect("no token", run(p.ethernet()), kPass, "local_socket event_dropped");
  EXPECT_TRUE(within(std::chrono::seconds(20), [&] { return run(p.ethernet()).rungs.back() == "rewritten"; }))
      << "the next token";
  EXPECT_EQ(events().size(), 1U);
}

}  // namespace
}  // namespace suture::packet_test
