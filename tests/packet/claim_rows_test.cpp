// Flows in the map `flows`: what this node claims, and what it has frozen, goes to user space.
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cerrno>

#include "proxy/datapath/flow_states.hpp"
#include "tests/packet/client.hpp"
#include "tests/packet/steering_fixture.hpp"

namespace suture::packet_test {
namespace {

class ClaimRows : public SteeringTest {
 protected:
  void SetUp() override {
    SteeringTest::SetUp();
    network_.emplace();
    for (const bool v6 : {false, true}) {
      listeners_.push_back(listen_on_vip(v6));
      static std::uint16_t port = 44000;
      packets_.push_back(v6 ? packet6(kAck, ++port) : packet4(kAck, ++port));
    }
  }
  void set(const TcpPacket& p, suture_flow_phase phase) {
    const auto done = steering_->flow_states().set(p.key(), phase);
    ASSERT_TRUE(done) << done.error().message;
  }
  static TcpPacket with(TcpPacket p, std::uint8_t flags) {
    p.flags = flags;
    return p;
  }
  std::optional<ClientNetwork> network_;
  std::vector<datapath::FileDescriptor> listeners_;
  std::vector<TcpPacket> packets_;
};

TEST_F(ClaimRows, claiming_without_a_socket) {
  for (const auto& p : packets_) {
    set(p, SUTURE_FLOW_CLAIMING);
    for (const std::uint8_t flags :
         {kAck, std::uint8_t(kAck | kFin), std::uint8_t(kSyn | kAck), kRst, std::uint8_t(kRst | kAck)})
      expect("flags " + std::to_string(flags), run(with(p, flags).ethernet()), kRedirect, "claim_punt");
    for (const std::uint8_t flags : {std::uint8_t{0}, kFin, kPsh})
      expect("neither ACK nor RST", run(with(p, flags).ethernet()), kDrop, "stray_dropped");
    expect("a SYN stays what it is", run(with(p, kSyn).ethernet()), kPass, "syn_local");
    auto hinted = p;
    hinted.options = timestamp_option(1, echo_of(kLiving));
    expect("not to the node that the echo names", run(hinted.ethernet()), kRedirect, "claim_punt");
    ASSERT_TRUE(steering_->owner_map().set(p.key(), kLiving, kIncarnation));
    expect("nor to the map's", run(p.ethernet()), kRedirect, "claim_punt");
    steering_->owner_map().erase(p.key());
    auto neighbour = p;
    neighbour.source_port = static_cast<std::uint16_t>(p.source_port + 100);
    expect("another flow", run(neighbour.ethernet()), kRedirect, "punt");
    ASSERT_TRUE(steering_->flow_states().clear(p.key()));
    expect("no longer", run(p.ethernet()), kRedirect, "punt");
  }
}

TEST_F(ClaimRows, claiming_beside_a_socket) {
  for (std::size_t i = 0; i < 2; ++i) {
    const auto c = connect(*network_, listeners_[i], packets_[i]);
    set(c.next, SUTURE_FLOW_CLAIMING);
    expect("rebuilt", run(c.next.ethernet()), kPass, "local_socket");
    const auto repair = [&](int mode) {
      ASSERT_EQ(::setsockopt(c.accepted.get(), IPPROTO_TCP, TCP_REPAIR, &mode, sizeof mode), 0);
    };
    repair(TCP_REPAIR_ON);
    expect("still being rebuilt", run(c.next.ethernet()), kRedirect, "claim_punt");
    ASSERT_TRUE(steering_->flow_states().clear(c.next.key()));
    expect("in repair for another reason: reading its state at accept", run(c.next.ethernet()), kPass, "local_socket");
    repair(TCP_REPAIR_OFF_NO_WP);
    allow_reuse(c.accepted);

    auto p = packets_[i];
    p.source_port = static_cast<std::uint16_t>(p.source_port + 200);
    network_->send(with(p, kSyn));
    const auto syn_ack = network_->receive_tcp(p.source_port);
    ASSERT_TRUE(syn_ack);
    ++p.seq;
    p.ack = syn_ack->seq + 1;
    set(p, SUTURE_FLOW_CLAIMING);
    expect("a request socket is none", run(p.ethernet()), kRedirect, "claim_punt");
  }
}

TEST_F(ClaimRows, frozen) {
  for (std::size_t i = 0; i < 2; ++i) {
    const auto c = connect(*network_, listeners_[i], packets_[i]);
    set(c.next, SUTURE_FLOW_FROZEN);
    auto data = c.next;
    data.payload = {'x'};
    expect("data", run(data.ethernet()), kRedirect, "frozen_punt");
    for (const std::uint8_t flags :
         {kAck, std::uint8_t(kAck | kFin), std::uint8_t(kSyn | kAck), kRst, std::uint8_t(kRst | kAck)})
      expect("flags " + std::to_string(flags), run(with(c.next, flags).ethernet()), kRedirect, "frozen_punt");
    expect("neither ACK nor RST", run(with(c.next, kFin).ethernet()), kDrop, "stray_dropped");
    expect("a SYN stays what it is", run(with(c.next, kSyn).ethernet()), kPass, "syn_local");
    set(c.next, SUTURE_FLOW_NO_FENCE);
    expect("another state in its place", run(c.next.ethernet()), kPass, "local_socket");
    EXPECT_EQ(steering_->flow_states().count(), 1U);
    ASSERT_TRUE(steering_->flow_states().clear(c.next.key()));
    expect("thawed", run(c.next.ethernet()), kPass, "local_socket");
  }
}

TEST_F(ClaimRows, limited_per_prefix_in_a_bucket_of_their_own) {
  auto c = config();
  c.claim_burst = 3;
  c.punt_burst = 1;
  c.claim_per_second = c.punt_per_second = 1;
  load(c);
  for (const auto& p : packets_) {
    auto frozen = p;
    ++frozen.source_port;
    auto unknown = p;
    unknown.source_port = static_cast<std::uint16_t>(p.source_port + 100);
    expect("punts are used up", run(unknown.ethernet()), kRedirect, "punt");
    expect("punts are used up", run(unknown.ethernet()), kDrop, "punt_limited");
    set(p, SUTURE_FLOW_CLAIMING);
    set(frozen, SUTURE_FLOW_FROZEN);
    expect("1", run(p.ethernet()), kRedirect, "claim_punt");
    expect("2", run(frozen.ethernet()), kRedirect, "frozen_punt");
    expect("3", run(with(p, kRst).ethernet()), kRedirect, "claim_punt");
    expect("beyond", run(p.ethernet()), kDrop, "claim_limited");
    expect("beyond", run(frozen.ethernet()), kDrop, "claim_limited");
  }
}

TEST_F(ClaimRows, limited_for_all_prefixes_together) {
  auto c = config();
  c.punt_total_burst = 2;
  c.punt_total_per_second = 1;
  load(c);
  const auto from = [](const char* source, std::uint16_t port) {
    auto p = packet4(kAck, port);
    p.source = source;
    return p;
  };
  expect("1", run(from("198.51.100.7", 1).ethernet()), kRedirect, "punt");
  expect("2", run(packet6().ethernet()), kRedirect, "punt");
  expect("a prefix of its own", run(from("192.0.2.7", 1).ethernet()), kDrop, "punt_limited_node");
  for (const std::uint16_t port : {std::uint16_t{2}, std::uint16_t{3}, std::uint16_t{4}})
    set(from("198.51.100.7", port), SUTURE_FLOW_CLAIMING);
  set(from("192.0.2.7", 5), SUTURE_FLOW_FROZEN);
  expect("claims: 1", run(from("198.51.100.7", 2).ethernet()), kRedirect, "claim_punt");
  expect("claims: 2", run(from("192.0.2.7", 5).ethernet()), kRedirect, "frozen_punt");
  expect("beyond", run(from("198.51.100.7", 4).ethernet()), kDrop, "claim_limited_node");
  expect("beyond", run(from("192.0.2.7", 5).ethernet()), kDrop, "claim_limited_node");
}

TEST_F(ClaimRows, a_full_map_is_an_error_and_guards_what_it_has) {
  auto c = config();
  c.flow_states_max = 4;
  load(c);
  auto& flows = steering_->flow_states();
  for (std::uint16_t port = 1; port <= 4; ++port) set(packet4(kAck, port), SUTURE_FLOW_CLAIMING);
  const auto refused = flows.set(packet4(kAck, 5).key(), SUTURE_FLOW_CLAIMING);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().errno_value, ENOSPC) << refused.error().message;
  EXPECT_EQ(flows.count(), 4U);
  set(packet4(kAck, 4), SUTURE_FLOW_FROZEN);
  expect("one of the four", run(packet4(kAck, 4).ethernet()), kRedirect, "frozen_punt");
  expect("the fifth", run(packet4(kAck, 5).ethernet()), kRedirect, "punt");
  ASSERT_TRUE(flows.clear(packet4(kAck, 5).key())) << "not there: no error";
  EXPECT_EQ(flows.count(), 4U);
  ASSERT_TRUE(flows.clear(packet4(kAck, 1).key()));
  EXPECT_EQ(flows.count(), 3U);
  set(packet4(kAck, 5), SUTURE_FLOW_CLAIMING);
  expect("there is room now", run(packet4(kAck, 5).ethernet()), kRedirect, "claim_punt");
}

}  // namespace
}  // namespace suture::packet_test
