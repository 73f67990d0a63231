// Real VXLAN packets into the tunnel device, sent by TunnelSender from peers' addresses (all on lo).
#include <gmock/gmock.h>
#include <poll.h>

#include "proxy/datapath/flow_states.hpp"
#include "proxy/datapath/tunnel_sender.hpp"
#include "tests/packet/client.hpp"
#include "tests/packet/steering_fixture.hpp"

namespace suture::packet_test {
namespace {

using datapath::TunnelSender;
using Rungs = std::vector<std::string>;

class TunnelRows : public SteeringTest {
 protected:
  void SetUp() override {
    SteeringTest::SetUp();
    network_.emplace();
    listener_ = listen_on_vip(false);
    static std::uint16_t port = 43000;
    established_ = connect(*network_, listener_, packet4(kAck, ++port));
    (void)moved();
  }
  void expect_data_arrives() {
    auto p = established_.next;
    p.flags = kAck | kPsh;
    p.payload = {'h', 'e', 'a', 'l'};
    EXPECT_EQ(tunnelled(p.ip(), SUTURE_TUNNEL_FINAL).rungs, Rungs{"local_socket"});
    pollfd ready{established_.accepted.get(), POLLIN, 0};
    ASSERT_EQ(::poll(&ready, 1, 3000), 1);
    char text[8] = {};
    EXPECT_EQ(::read(established_.accepted.get(), text, sizeof text), 4);
    EXPECT_STREQ(text, "heal");
  }
  std::optional<ClientNetwork> network_;
  datapath::FileDescriptor listener_;
  Connection established_;
};

// An answer to our fence that anycast took to another PoP comes back to us as final.
TEST_F(TunnelRows, claimed_and_frozen) {
  auto& flows = steering_->flow_states();
  for (const auto& stray : {packet4(kAck, 9), packet6(kAck, 9), packet4(kRst, 10), packet6(kRst | kAck, 10)}) {
    ASSERT_TRUE(flows.set(stray.key(), SUTURE_FLOW_CLAIMING));
    for (const unsigned kind : {SUTURE_TUNNEL_FINAL, SUTURE_TUNNEL_ASK, SUTURE_TUNNEL_ORPHAN})
      EXPECT_EQ(tunnelled(stray.ip(), kind).rungs, Rungs{"claim_punt"}) << kind;
  }
  auto rst = established_.next;
  rst.flags = kRst;
  ASSERT_TRUE(flows.set(rst.key(), SUTURE_FLOW_FROZEN));
  EXPECT_TRUE(events().empty()) << "neither mine nor not mine";
  for (const auto& p : {established_.next, rst}) {
    for (const unsigned kind : {SUTURE_TUNNEL_FINAL, SUTURE_TUNNEL_ORPHAN})
      EXPECT_EQ(tunnelled(p.ip(), kind).rungs, Rungs{"frozen_punt"}) << kind;
    EXPECT_TRUE(events().empty());
    EXPECT_EQ(tunnelled(p.ip(), SUTURE_TUNNEL_ASK).rungs, Rungs{"frozen_punt"});
    const auto told = events();
    ASSERT_EQ(told.size(), 1U) << "the asker must not believe that nobody has it";
    EXPECT_EQ(told[0].kind, SUTURE_EVENT_ASK_MINE);
    EXPECT_EQ(told[0].peer, to_int(kLiving));
    EXPECT_TRUE(told[0].key == p.key());
  }
}

TEST_F(TunnelRows, final) {
  EXPECT_EQ(tunnelled(established_.next.ip(), SUTURE_TUNNEL_FINAL).rungs, Rungs{"local_socket"});
  EXPECT_TRUE(events().empty());
  for (const auto& stray : {packet4(kAck, 5), packet6(kAck, 5), packet4(kAck | kFin, 5), packet4(kRst, 5)}) {
    EXPECT_EQ(tunnelled(stray.ip(), SUTURE_TUNNEL_FINAL).rungs, Rungs{"not_mine"});
    const auto told = events();
    ASSERT_EQ(told.size(), 1U);
    EXPECT_EQ(told[0].kind, SUTURE_EVENT_NOT_MINE);
    EXPECT_EQ(told[0].peer, to_int(kLiving));
    EXPECT_TRUE(told[0].key == stray.key());
  }
  ASSERT_TRUE(steering_->owner_map().set(packet4(kAck, 5).key(), NodeId{3}, kIncarnation));
  EXPECT_EQ(tunnelled(packet4(kAck, 5).ip(), SUTURE_TUNNEL_FINAL).rungs, Rungs{"not_mine"}) << "never forwarded twice";
  EXPECT_EQ(tunnelled(packet6(kAck, 6).ip(), SUTURE_TUNNEL_FINAL, "fd99::5").rungs, Rungs{"not_mine"});
}

TEST_F(TunnelRows, data_reaches_the_socket) {
  expect_data_arrives();
}

// Strict on all devices; loose on ours, which have an address for it.
TEST_F(TunnelRows, data_reaches_the_socket_where_sources_are_checked) {
  established_ = {};
  listener_ = {};
  network_.reset();
  TearDown();
  must("echo 1 > /proc/sys/net/ipv4/conf/all/rp_filter");
  SetUp();
  if (!HasFatalFailure()) expect_data_arrives();
  must("echo 0 > /proc/sys/net/ipv4/conf/all/rp_filter");
}

TEST_F(TunnelRows, ask) {
  EXPECT_EQ(tunnelled(established_.next.ip(), SUTURE_TUNNEL_ASK).rungs, Rungs{"ask_mine"});
  auto told = events();
  ASSERT_EQ(told.size(), 1U);
  EXPECT_EQ(told[0].kind, SUTURE_EVENT_ASK_MINE);
  EXPECT_EQ(tunnelled(packet4(kAck, 5).ip(), SUTURE_TUNNEL_ASK).rungs, Rungs{"ask_not_mine"});
  told = events();
  ASSERT_EQ(told.size(), 1U);
  EXPECT_EQ(told[0].kind, SUTURE_EVENT_ASK_NOT_MINE);
}

TEST_F(TunnelRows, syn) {
  auto syn = established_.next;
  syn.flags = kSyn;
  EXPECT_EQ(tunnelled(syn.ip(), SUTURE_TUNNEL_FINAL).rungs, Rungs{"syn_local"}) << "existing socket: challenge ACK";
  EXPECT_EQ(tunnelled(packet4(kSyn, 5).ip(), SUTURE_TUNNEL_FINAL).rungs, Rungs{"syn_tunnelled_dropped"});
  EXPECT_EQ(events().size(), 1U);
  EXPECT_EQ(tunnelled(packet4(kSyn, 6).ip(), SUTURE_TUNNEL_ORPHAN).rungs, Rungs{"syn_local"})
      << "lives here from now on";
}

TEST_F(TunnelRows, orphan) {
  const auto stray = packet4(kAck, 5);
  EXPECT_EQ(tunnelled(stray.ip(), SUTURE_TUNNEL_ORPHAN).rungs, Rungs{"punt"});
  pollfd ready{punts_->fd(), POLLIN, 0};
  ASSERT_EQ(::poll(&ready, 1, 3000), 1);
  Bytes punted(2000);
  const auto bytes = punts_->read(punted);
  ASSERT_TRUE(bytes);
  punted.resize(*bytes);
  EXPECT_EQ(punted, stray.ip()) << "user space gets the packet as the client sent it";
  ASSERT_TRUE(steering_->owner_map().set(stray.key(), kNoHint, kIncarnation));
  const auto once = tunnelled(stray.ip(), SUTURE_TUNNEL_ORPHAN, "10.99.0.2", kVniBase, 2);
  EXPECT_EQ(once.peer, 3U) << once;  // 10.99.0.3 is this machine as well: the packet comes back, from no peer
  EXPECT_THAT(once.rungs, testing::UnorderedElementsAre("forward_map", "tunnel_unknown_peer"));
  ASSERT_TRUE(steering_->owner_map().set(stray.key(), kLiving, kIncarnation));
  EXPECT_EQ(tunnelled(stray.ip(), SUTURE_TUNNEL_ORPHAN, "10.99.0.2", kVniBase, 2).rungs, (Rungs{"owner_dead", "punt"}))
      << "its sender is that owner";
}

TEST_F(TunnelRows, refused) {
  const Bytes good = established_.next.ip();
  EXPECT_EQ(tunnelled(good, SUTURE_TUNNEL_FINAL, "10.99.0.66").rungs, Rungs{"tunnel_unknown_peer"});
  EXPECT_EQ(tunnelled(good, SUTURE_TUNNEL_FINAL, "10.99.0.1").rungs, Rungs{"tunnel_unknown_peer"});
  EXPECT_EQ(tunnelled(good, SUTURE_TUNNEL_FINAL, "fd99::66").rungs, Rungs{"tunnel_unknown_peer"});
  for (const unsigned kind : {0U, 5U, 6U, 7U}) EXPECT_EQ(tunnelled(good, kind).rungs, Rungs{"tunnel_unknown_kind"});
  EXPECT_EQ(tunnelled(good, SUTURE_TUNNEL_FINAL, "10.99.0.2", 0x1000).rungs, Rungs{"tunnel_unknown_kind"});
  auto other = packet4();
  other.destination_port = 22;
  EXPECT_EQ(tunnelled(other.ip(), SUTURE_TUNNEL_FINAL).rungs, Rungs{"tunnel_inner_not_vip"});
  EXPECT_EQ(tunnelled(packet4().ip(), SUTURE_TUNNEL_RETURN).rungs, Rungs{"tunnel_inner_not_vip"}) << "not from a VIP";
  for (std::size_t length = 20; length < 40; ++length)  // shorter ones do not pass the VXLAN driver
    EXPECT_EQ(
        tunnelled(Bytes(good.begin(), good.begin() + static_cast<std::ptrdiff_t>(length)), SUTURE_TUNNEL_FINAL).rungs,
        Rungs{"malformed"})
        << length;
  suture_peer gone{};
  ASSERT_TRUE(steering_->set_peer(kLiving, gone));
  EXPECT_EQ(tunnelled(good, SUTURE_TUNNEL_FINAL).rungs, Rungs{"tunnel_unknown_peer"}) << "no longer configured";
}

TEST_F(TunnelRows, dead_process) {
  auto c = config();
  c.heartbeat_limit_ns = 150'000'000;
  load(c);
  steering_->set_heir(kNoHint);
  steering_->beat(Clock::now() - Millis(200));
  for (const auto kind : {SUTURE_TUNNEL_FINAL, SUTURE_TUNNEL_ASK, SUTURE_TUNNEL_ORPHAN})
    EXPECT_EQ(tunnelled(established_.next.ip(), kind).rungs, Rungs{"orphan_dropped"}) << "no loop among the dead";
}

TEST_F(TunnelRows, events_are_limited_per_sender) {
  auto c = config();
  c.event_burst = 2;
  c.event_per_second = 1;
  load(c);
  const Bytes stray = packet4(kAck, 5).ip();
  EXPECT_EQ(tunnelled(stray, SUTURE_TUNNEL_FINAL).rungs, Rungs{"not_mine"});
  EXPECT_EQ(tunnelled(stray, SUTURE_TUNNEL_FINAL).rungs, Rungs{"not_mine"});
  EXPECT_THAT(tunnelled(stray, SUTURE_TUNNEL_FINAL, "10.99.0.2", kVniBase, 2).rungs,
              testing::UnorderedElementsAre("not_mine", "event_dropped"));
  EXPECT_EQ(tunnelled(stray, SUTURE_TUNNEL_FINAL, "10.99.0.3").rungs, Rungs{"not_mine"}) << "another sender's bucket";
  EXPECT_EQ(events().size(), 3U);
}

TEST_F(TunnelRows, return_path) {
  auto answer = established_.next;
  std::swap(answer.source, answer.destination);
  std::swap(answer.source_port, answer.destination_port);
  steering_->set_flags(SUTURE_NODE_RETURN_TUNNEL);
  EXPECT_EQ(tunnelled(established_.next.ip(), SUTURE_TUNNEL_FINAL).rungs, Rungs{"local_socket"});
  expect("back through the forwarder", run(answer.ethernet(), "egress"), kRedirect, "egress_return_tunnel", 2);
  auto fin = answer;
  fin.flags = kFin | kAck;
  expect("the FIN rule comes first", run(fin.ethernet(), "egress"), kDrop, "egress_fin_dropped");
  set_peer(kLiving, SUTURE_PEER_CONFIGURED);
  expect("a dead forwarder", run(answer.ethernet(), "egress"), kNext, "");
  set_peer(kLiving, SUTURE_PEER_CONFIGURED | SUTURE_PEER_ALIVE);
  expect("client comes directly", run(established_.next.ethernet()), kPass, "local_socket");
  expect("so does the answer", run(answer.ethernet(), "egress"), kNext, "");
}

TEST_F(TunnelRows, returned_packets_go_on_to_the_client) {
  for (const bool v6 : {false, true}) {
    auto answer = v6 ? packet6(kFin | kAck, 999) : packet4(kFin | kAck, 999);
    std::swap(answer.source, answer.destination);
    std::swap(answer.source_port, answer.destination_port);
    EXPECT_EQ(tunnelled(answer.ip(), SUTURE_TUNNEL_RETURN).rungs, Rungs{"tunnel_returned"});
    const auto arrived = network_->receive(999);
    ASSERT_TRUE(arrived);
    Bytes sent = answer.ip();
    if (v6)
      sent[7] = (*arrived)[7];  // hop limit
    else
      sent[8] = (*arrived)[8], sent[10] = (*arrived)[10], sent[11] = (*arrived)[11];  // TTL and its checksum
    EXPECT_EQ(*arrived, sent);
  }
}

}  // namespace
}  // namespace suture::packet_test
