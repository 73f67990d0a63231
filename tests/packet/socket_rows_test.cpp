// Rung 4: every kind of local socket, made by real handshakes; and what the kernel leaves behind.
#include <sys/socket.h>

#include "proxy/datapath/socket_destroyer.hpp"
#include "tests/packet/client.hpp"
#include "tests/packet/steering_fixture.hpp"

namespace suture::packet_test {
namespace {

class SocketRows : public SteeringTest {
 protected:
  void SetUp() override {
    SteeringTest::SetUp();
    network_.emplace();
    for (const bool v6 : {false, true}) {
      listeners_.push_back(listen_on_vip(v6));
      static std::uint16_t port = 41000;
      packets_.push_back(v6 ? packet6(kAck, ++port) : packet4(kAck, ++port));
    }
  }
  Connection established(std::size_t i) { return connect(*network_, listeners_[i], packets_[i]); }
  static TcpPacket with(TcpPacket p, std::uint8_t flags) {
    p.flags = flags;
    return p;
  }
  std::optional<ClientNetwork> network_;
  std::vector<datapath::FileDescriptor> listeners_;
  std::vector<TcpPacket> packets_;
};

TEST_F(SocketRows, established) {
  for (std::size_t i = 0; i < 2; ++i) {
    const auto c = established(i);
    ASSERT_TRUE(steering_->owner_map().set(c.next.key(), kSelf, kIncarnation));
    for (const std::uint8_t flags : {kAck, std::uint8_t(kAck | kFin), kRst, std::uint8_t{0}})
      expect("flags " + std::to_string(flags), run(with(c.next, flags).ethernet()), kPass, "local_socket");
    expect("SYN: challenge ACK", run(with(c.next, kSyn).ethernet()), kPass, "syn_local");
    steering_->set_flags(SUTURE_NODE_DRAINING);
    expect("SYN while draining", run(with(c.next, kSyn).ethernet()), kPass, "syn_local");
    steering_->set_flags(0);
    auto hinted = c.next;
    hinted.options = timestamp_option(1, echo_of(kLiving));
    expect("a hint does not take it away", run(hinted.ethernet()), kPass, "local_socket");
    auto neighbour = c.next;
    ++neighbour.source_port;
    expect("only a listener", run(neighbour.ethernet()), kRedirect, "punt");
    auto sent = c.next;
    std::swap(sent.source, sent.destination);
    std::swap(sent.source_port, sent.destination_port);
    const bool v6 = sent.v6();
    expect("ICMP error", run(icmp_error(v6 ? "2001:db8:ffff::1" : "192.0.2.1", sent, 8, v6 ? 2 : 3, v6 ? 0 : 4)), kPass,
           "icmp_local");
  }
}

TEST_F(SocketRows, request_socket) {
  for (std::size_t i = 0; i < 2; ++i) {
    auto p = packets_[i];
    network_->send(with(p, kSyn));
    const auto syn_ack = network_->receive_tcp(p.source_port);
    ASSERT_TRUE(syn_ack);
    ++p.seq;
    p.ack = syn_ack->seq + 1;
    expect("third segment", run(p.ethernet()), kPass, "local_request");
    p.ack += 1;
    expect("another flow's ACK", run(p.ethernet()), kRedirect, "punt");
    ASSERT_TRUE(steering_->owner_map().set(p.key(), kLiving, kIncarnation));
    expect("which lives elsewhere", run(p.ethernet()), kRedirect, "forward_map", 2);
    p.ack -= 1;
    expect("without ACK flag", run(with(p, kPsh).ethernet()), kDrop, "stray_dropped");
  }
}

TEST_F(SocketRows, time_wait) {
  for (std::size_t i = 0; i < 2; ++i) {
    auto c = established(i);
    c.accepted = {};
    const auto fin = network_->receive_tcp(c.next.source_port);
    ASSERT_TRUE(fin && (fin->flags & kFin));
    auto p = with(c.next, kFin | kAck);
    p.ack = fin->seq + 1;
    network_->send(p);
    ASSERT_TRUE(network_->receive_tcp(p.source_port)) << "the ACK of our FIN: TIME_WAIT from here on";
    p.flags = kAck;
    ++p.seq;
    expect("nobody else", run(p.ethernet()), kPass, "local_time_wait");
    ASSERT_TRUE(steering_->owner_map().set(p.key(), kDead, kIncarnation));
    expect("a dead owner elsewhere", run(p.ethernet()), kRedirect, "owner_dead punt");
    ASSERT_TRUE(steering_->owner_map().set(p.key(), kLiving, kIncarnation));
    expect("a living owner elsewhere", run(p.ethernet()), kRedirect, "forward_map", 2);
    steering_->owner_map().erase(p.key());
    p.options = timestamp_option(1, echo_of(kLiving6));
    expect("a living hint", run(p.ethernet()), kRedirect, "forward_hint", 5);
    p.options = timestamp_option(1, echo_of(kDead));
    expect("a dead hint", run(p.ethernet()), kRedirect, "owner_dead punt");
    const auto destroyed = datapath::destroy_time_wait(p.key());
    ASSERT_TRUE(destroyed) << destroyed.error().message;
    EXPECT_TRUE(*destroyed);
    p.options.clear();
    expect("only a listener", run(p.ethernet()), kRedirect, "punt");
    EXPECT_FALSE(*datapath::destroy_time_wait(p.key()));
  }
}

TEST_F(SocketRows, only_a_time_wait_is_destroyed_as_one) {
  for (std::size_t i = 0; i < 2; ++i) {
    const auto c = established(i);
    EXPECT_FALSE(*datapath::destroy_time_wait(c.next.key()));
    expect("still there", run(c.next.ethernet()), kPass, "local_socket");
    auto neighbour = c.next;
    ++neighbour.source_port;
    EXPECT_FALSE(*datapath::destroy_time_wait(neighbour.key())) << "the listener";
  }
}

TEST_F(SocketRows, syncookie) {
  must("echo 2 > /proc/sys/net/ipv4/tcp_syncookies");
  for (std::size_t i = 0; i < 2; ++i) {
    auto p = packets_[i];
    network_->send(with(p, kSyn));
    const auto syn_ack = network_->receive_tcp(p.source_port);
    ASSERT_TRUE(syn_ack);
    ++p.seq;
    p.ack = syn_ack->seq + 1;
    expect("valid cookie", run(p.ethernet()), kPass, "local_syncookie");
    expect("RST with it", run(with(p, kRst | kAck).ethernet()), kDrop, "stray_dropped");
    p.ack += 77;
    expect("no cookie", run(p.ethernet()), kRedirect, "punt");
  }
  must("echo 1 > /proc/sys/net/ipv4/tcp_syncookies");
}

TEST_F(SocketRows, abandoned_and_closed) {
  for (std::size_t i = 0; i < 2; ++i) {
    auto killed = established(i);
    killed.accepted = {};  // the kernel closes a killed process's sockets like this: no mark
    expect("unmarked orphan", run(killed.next.ethernet()), kRedirect, "punt");
    packets_[i].source_port = static_cast<std::uint16_t>(packets_[i].source_port + 100);
    auto closed = established(i);
    const std::uint32_t mark = kFinMark;
    ASSERT_EQ(::setsockopt(closed.accepted.get(), SOL_SOCKET, SO_MARK, &mark, sizeof mark), 0);
    closed.accepted = {};
    expect("closed on purpose", run(closed.next.ethernet()), kPass, "local_socket");
  }
}

TEST_F(SocketRows, destroy_sockets) {
  for (std::size_t i = 0; i < 2; ++i) {
    (void)datapath::destroy_sockets(boost::asio::ip::make_address(i ? kVip6 : kVip4), kPort);
    const auto c = established(i);
    const auto vip = boost::asio::ip::make_address(i ? kVip6 : kVip4);
    const auto other = datapath::destroy_sockets(vip, 81);
    ASSERT_TRUE(other) << other.error().message;
    EXPECT_EQ(*other, 0U);
    expect("still there", run(c.next.ethernet()), kPass, "local_socket");
    const auto done = datapath::destroy_sockets(vip, kPort);
    ASSERT_TRUE(done) << done.error().message;
    EXPECT_EQ(*done, 1U);
    expect("gone", run(c.next.ethernet()), kRedirect, "punt");
    EXPECT_TRUE(network_->receive_tcp(c.next.source_port)) << "the kernel's own RST (no egress program on this device)";
    packets_[i].source_port = static_cast<std::uint16_t>(packets_[i].source_port + 100);
    EXPECT_TRUE(established(i).accepted) << "the listener lives on";
  }
}

}  // namespace
}  // namespace suture::packet_test
