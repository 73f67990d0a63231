// Egress rules 3 and 4: what real sockets may send to the client behind client0, where the programs are attached.
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>

#include <boost/asio/ip/tcp.hpp>

#include "proxy/datapath/flow_states.hpp"
#include "proxy/datapath/jiffies.hpp"
#include "proxy/datapath/socket_destroyer.hpp"
#include "tests/packet/client.hpp"
#include "tests/packet/steering_fixture.hpp"

namespace suture::packet_test {
namespace {

constexpr std::uint64_t kAlwaysSilent = 1;  // ns: less than a jiffy
constexpr std::uint64_t kNeverSilent = 600'000'000'000;

class EgressSocketRows : public SteeringTest {
 protected:
  void SetUp() override {
    SteeringTest::SetUp();
    network_.emplace();
    for (const bool v6 : {false, true}) listeners_.push_back(listen_on_vip(v6));
  }
  void TearDown() override {
    silence();
    SteeringTest::TearDown();
  }
  // Ends what earlier connections left in the kernel: their retransmissions move the counters too.
  static void silence() {
    for (const char* vip : {kVip4, kVip6})
      EXPECT_TRUE(datapath::destroy_sockets(boost::asio::ip::make_address(vip), kPort));
  }
  void attach(std::uint64_t lease_ns) {
    auto c = config();
    c.interfaces = {"client0"};
    c.lease_ns = lease_ns;
    if (steering_) {
      ASSERT_TRUE(steering_->detach());
    }
    load(c);
  }
  Connection established(bool v6, bool timestamps) {
    static std::uint16_t port = 47000;
    ++port;
    auto syn = v6 ? packet6(kSyn, port) : packet4(kSyn, port);
    if (timestamps) syn.options = timestamp_option(1, 0);
    return connect(*network_, listeners_[v6 ? 1 : 0], syn);
  }
  std::uint64_t count(suture_rung rung) const { return steering_->counters()[rung]; }
  // Does what makes the kernel send, and waits for the rung: by a retransmission at the latest.
  void expect_dropped(const std::string& what, suture_rung rung, const std::function<void()>& act) {
    const auto before = count(rung);
    act();
    EXPECT_TRUE(within(std::chrono::seconds(5), [&] { return count(rung) > before; })) << what;
  }
  // A segment of this very flow is gated, at the latest a retransmission.
  void expect_gated(const std::string& what, const Connection& c, const std::function<void()>& act) {
    (void)events();
    act();
    EXPECT_TRUE(within(std::chrono::seconds(5), [&] {
      const auto told = events();
      return std::any_of(told.begin(), told.end(), [&](const suture_event& e) {
        return e.kind == SUTURE_EVENT_GATED && e.key == c.next.key() && e.seq == c.next.ack && e.peer == 0;
      });
    })) << what;
  }
  // The next segment that says something, or nothing: `wanted` bits, or data for 0.
  bool arrives(const Connection& c, std::uint8_t wanted) {
    return within(std::chrono::seconds(20), [&] {
      const auto p = network_->receive_tcp(c.next.source_port, 100);
      return p && (wanted ? (p->flags & wanted) == wanted : p->payload > 0);
    });
  }
  static void write_byte(const Connection& c) { EXPECT_EQ(::send(c.accepted.get(), "x", 1, 0), 1); }
  static void mark(const Connection& c, std::uint32_t bits) {
    EXPECT_EQ(::setsockopt(c.accepted.get(), SOL_SOCKET, SO_MARK, &bits, sizeof bits), 0);
  }
  void reset(Connection& c) {
    const linger at_once{1, 0};
    EXPECT_EQ(::setsockopt(c.accepted.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once), 0);
    c.accepted = {};
  }
  std::optional<ClientNetwork> network_;
  std::vector<datapath::FileDescriptor> listeners_;
};

TEST_F(EgressSocketRows, an_unmarked_orphan_is_silent) {
  attach(kNeverSilent);
  for (const bool v6 : {false, true}) {
    auto killed = established(v6, true);
    write_byte(killed);
    EXPECT_TRUE(arrives(killed, 0));
    expect_dropped("retransmission of what nobody acknowledged", SUTURE_RUNG_EGRESS_ORPHAN_DROPPED,
                   [&] { killed.accepted = {}; });
    silence();
    auto closed = established(v6, true);
    write_byte(closed);
    EXPECT_TRUE(arrives(closed, 0));
    mark(closed, kFinMark);
    closed.accepted = {};
    EXPECT_TRUE(arrives(closed, kFin)) << "closed on purpose";
  }
}

TEST_F(EgressSocketRows, a_frozen_socket_is_silent_and_a_raw_one_is_not) {
  attach(kNeverSilent);
  for (const bool v6 : {false, true}) {
    const auto c = established(v6, true);
    ASSERT_TRUE(steering_->flow_states().set(c.next.key(), SUTURE_FLOW_FROZEN));
    expect_dropped("data", SUTURE_RUNG_EGRESS_FROZEN_DROPPED, [&] { write_byte(c); });
    mark(c, kFinMark);
    expect_dropped("a marked FIN", SUTURE_RUNG_EGRESS_FROZEN_DROPPED, [&] { ::shutdown(c.accepted.get(), SHUT_WR); });
    auto probe = c.next;
    std::swap(probe.source, probe.destination);
    std::swap(probe.source_port, probe.destination_port);
    probe.flags = kAck | kPsh;
    probe.payload = {0};
    const datapath::FileDescriptor raw(::socket(v6 ? AF_INET6 : AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_TCP));
    const int on = 1;
    ASSERT_EQ(::setsockopt(raw.get(), v6 ? IPPROTO_IPV6 : IPPROTO_IP, v6 ? IPV6_HDRINCL : IP_HDRINCL, &on, sizeof on),
              0);
    const boost::asio::ip::tcp::endpoint to(boost::asio::ip::make_address(probe.destination), 0);
    const Bytes packet = probe.ip();
    ASSERT_EQ(::sendto(raw.get(), packet.data(), packet.size(), 0, to.data(), static_cast<socklen_t>(to.size())),
              static_cast<ssize_t>(packet.size()));
    EXPECT_TRUE(arrives(c, kPsh)) << "our own probe";
    ASSERT_TRUE(steering_->flow_states().clear(c.next.key()));
    EXPECT_TRUE(arrives(c, 0)) << "thawed: the retransmission";
  }
}

TEST_F(EgressSocketRows, a_marked_reset_only_to_a_client_that_was_there_just_now) {
  for (const bool v6 : {false, true}) {
    for (const bool timestamps : {false, true}) {
      attach(kNeverSilent);
      auto there = established(v6, timestamps);
      mark(there, kRstMark);
      reset(there);
      EXPECT_TRUE(arrives(there, kRst));
      attach(kAlwaysSilent);
      auto silent = established(v6, timestamps);
      mark(silent, kRstMark);
      expect_dropped("silent", SUTURE_RUNG_EGRESS_RST_SILENT, [&] { reset(silent); });
      auto unmarked = established(v6, timestamps);
      expect_dropped("unmarked", SUTURE_RUNG_EGRESS_RST_DROPPED, [&] { reset(unmarked); });
    }
  }
}

// What user space does with a session that it must reset and whose client is silent: TCP_REPAIR off makes the kernel
// probe at once (net/ipv4/tcp.c, tcp_send_window_probe); the answer opens the rule.
TEST_F(EgressSocketRows, a_reset_after_the_client_answered_a_probe) {
  constexpr std::chrono::milliseconds kLease{500}, kSlack{50};
  attach(std::chrono::nanoseconds(kLease).count());
  for (const bool v6 : {false, true}) {
    for (const bool timestamps : {false, true}) {
      bool passed = false;
      EXPECT_TRUE(within(std::chrono::seconds(30), [&] {
        auto c = established(v6, timestamps);
        tcp_info info{};
        EXPECT_TRUE(within(std::chrono::seconds(10), [&] {
          socklen_t size = sizeof info;
          EXPECT_EQ(::getsockopt(c.accepted.get(), IPPROTO_TCP, TCP_INFO, &info, &size), 0);
          return std::chrono::milliseconds(info.tcpi_last_ack_recv) > kLease + kSlack;
        })) << "silent beyond the lease";
        for (int mode : {TCP_REPAIR_ON, TCP_REPAIR_OFF})
          EXPECT_EQ(::setsockopt(c.accepted.get(), IPPROTO_TCP, TCP_REPAIR, &mode, sizeof mode), 0);
        allow_reuse(c.accepted);
        const auto probe = network_->receive_tcp(c.next.source_port);
        EXPECT_TRUE(probe && probe->seq == c.next.ack - 1) << "the probe passes";
        const auto answered_at = std::chrono::steady_clock::now();
        if (probe && probe->tsval) c.next.options = timestamp_option(3, *probe->tsval);
        network_->send(c.next);
        mark(c, kRstMark);
        const auto silent = count(SUTURE_RUNG_EGRESS_RST_SILENT);
        const std::uint16_t port = c.next.source_port;
        reset(c);
        if (count(SUTURE_RUNG_EGRESS_RST_SILENT) == silent) {
          const auto rst = network_->receive_tcp(port);
          passed = rst && (rst->flags & kRst);
        }
        // A machine that stood still for so long says nothing: once more.
        return passed || std::chrono::steady_clock::now() - answered_at < kLease - kSlack;
      })) << "no quiet half second";
      EXPECT_TRUE(passed) << (v6 ? "IPv6" : "IPv4") << (timestamps ? ", timestamps" : "");
    }
  }
}

TEST_F(EgressSocketRows, cut_off) {
  for (const bool v6 : {false, true}) {
    attach(kAlwaysSilent);
    const auto before = established(v6, false);
    write_byte(before);
    EXPECT_TRUE(arrives(before, 0)) << "not cut off";
    steering_->set_flags(SUTURE_NODE_CUT_OFF);

    const auto fenced = established(v6, true);
    write_byte(fenced);
    EXPECT_TRUE(arrives(fenced, 0)) << "its client is its fence";
    expect_gated("its timestamps say nothing: the retransmission", fenced,
                 [&] { ASSERT_TRUE(steering_->flow_states().set(fenced.next.key(), SUTURE_FLOW_NO_FENCE)); });

    auto plain = established(v6, false);
    const auto gated = count(SUTURE_RUNG_EGRESS_GATED);
    expect_gated("data", plain, [&] { write_byte(plain); });
    EXPECT_GT(count(SUTURE_RUNG_EGRESS_GATED), gated);
    auto data = plain.next;
    data.payload = {'y'};
    network_->send(data);
    const auto ack = network_->receive_tcp(plain.next.source_port);
    ASSERT_TRUE(ack) << "a pure ACK passes";
    EXPECT_EQ(ack->payload, 0U);
    EXPECT_EQ(ack->ack, data.seq + 1);
    const auto closing = established(v6, false);
    mark(closing, kFinMark);
    expect_gated("a marked FIN", closing, [&] { ::shutdown(closing.accepted.get(), SHUT_WR); });

    attach(kNeverSilent);
    steering_->set_flags(SUTURE_NODE_CUT_OFF);
    const auto there = established(v6, false);
    write_byte(there);
    EXPECT_TRUE(arrives(there, 0)) << "the client was there just now";
  }
}

TEST_F(EgressSocketRows, gated_events_are_limited) {
  auto c = config();
  c.interfaces = {"client0"};
  c.lease_ns = kAlwaysSilent;
  c.claim_burst = c.claim_per_second = 1;
  ASSERT_TRUE(steering_->detach());
  load(c);
  steering_->set_flags(SUTURE_NODE_CUT_OFF);
  const auto plain = established(false, false);
  expect_dropped("more segments than the bucket holds", SUTURE_RUNG_EVENT_DROPPED, [&] {
    for (int i = 0; i < 8; ++i) write_byte(plain);
  });
  EXPECT_GE(events().size(), 1U);
}

// Both bounds hold however slow the machine is: a segment was judged after we wrote it, and the client's packet before
// it was judged came after we began to send it.
TEST_F(EgressSocketRows, the_lease_is_as_long_as_it_says) {
  constexpr std::chrono::milliseconds kLease{300};
  const auto hz = datapath::jiffies_per_second();
  ASSERT_TRUE(hz) << hz.error().message;
  const std::chrono::milliseconds slack(2 * 1000 / *hz + 1);
  attach(std::chrono::nanoseconds(kLease).count());
  steering_->set_flags(SUTURE_NODE_CUT_OFF);
  const auto client_speaks_at = std::chrono::steady_clock::now();
  const auto c = established(false, false);
  const auto client_spoke_at = std::chrono::steady_clock::now();
  std::chrono::steady_clock::time_point written_at{}, passed_at{};
  ASSERT_TRUE(within(std::chrono::seconds(20), [&] {
    if (count(SUTURE_RUNG_EGRESS_GATED) > 0) return true;
    written_at = std::chrono::steady_clock::now();
    write_byte(c);
    const auto p = network_->receive_tcp(c.next.source_port, 20);
    if (p && p->payload > 0) passed_at = written_at;
    return false;
  })) << "never gated";
  EXPECT_GE(std::chrono::steady_clock::now() - client_speaks_at, kLease - slack) << "gated too early";
  if (passed_at > client_spoke_at) {
    EXPECT_LE(passed_at - client_spoke_at, kLease + slack) << "gated too late";
  }
  // The client speaks again: its ACK opens the gate.
  auto ack = c.next;
  EXPECT_TRUE(within(std::chrono::seconds(20), [&] {
    network_->send(ack);
    write_byte(c);
    const auto p = network_->receive_tcp(c.next.source_port, 50);
    if (p && p->payload > 0) ack.ack = p->seq + static_cast<std::uint32_t>(p->payload);
    return p && p->payload > 0;
  }));
}

// An upload: the client's ACK number stands still, and the kernel's fast path then notes only that data came
// (net/ipv4/tcp_input.c, tcp_rcv_established: no tcp_ack; it is taken while the data waits unread).
TEST_F(EgressSocketRows, a_client_that_only_sends_is_not_silent) {
  constexpr std::chrono::milliseconds kLease{200}, kSlack{20};
  attach(std::chrono::nanoseconds(kLease).count());
  steering_->set_flags(SUTURE_NODE_CUT_OFF);
  const auto c = established(false, false);
  auto data = c.next;
  data.payload = {'u'};
  int sent = 0;
  bool passed = false;
  EXPECT_TRUE(within(std::chrono::seconds(30), [&] {
    const auto spoke_at = std::chrono::steady_clock::now();
    network_->send(data);
    ++data.seq;
    ++sent;
    int unread = 0;
    within(std::chrono::seconds(3),
           [&] { return ::ioctl(c.accepted.get(), FIONREAD, &unread) == 0 && unread == sent; });
    tcp_info info{};
    socklen_t size = sizeof info;
    EXPECT_EQ(::getsockopt(c.accepted.get(), IPPROTO_TCP, TCP_INFO, &info, &size), 0);
    if (std::chrono::milliseconds(info.tcpi_last_ack_recv) < kLease + kSlack) {
      (void)network_->receive_tcp(c.next.source_port, 60);  // the client's pace
      return false;
    }
    const auto gated = count(SUTURE_RUNG_EGRESS_GATED);
    write_byte(c);
    within(std::chrono::seconds(1), [&] {
      const auto p = network_->receive_tcp(c.next.source_port, 10);
      passed = p && p->payload > 0;
      return passed || count(SUTURE_RUNG_EGRESS_GATED) > gated;
    });
    // A machine that stood still for so long says nothing: once more.
    return passed || std::chrono::steady_clock::now() - spoke_at < kLease - kSlack;
  })) << "the kernel never took its fast path";
  EXPECT_TRUE(passed) << "its last data is younger than the lease";
}

}  // namespace
}  // namespace suture::packet_test
