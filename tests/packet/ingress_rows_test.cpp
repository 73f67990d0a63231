// The ingress ladder, packet by packet, where no local socket is involved (socket_rows_test has those).
#include <algorithm>

#include "tests/packet/steering_fixture.hpp"

namespace suture::packet_test {
namespace {

using IngressRows = SteeringTest;

std::vector<TcpPacket> both(std::uint8_t flags) {
  return {packet4(flags), packet6(flags)};
}

TcpPacket with_echo(TcpPacket p, std::uint32_t echo) {
  p.options = timestamp_option(1, echo);
  return p;
}

TEST_F(IngressRows, what_is_not_ours_goes_on) {
  for (auto p : both(kAck)) {
    p.destination_port = 81;
    expect("other port", run(p.ethernet()), kNext, "not_vip");
    p = p.v6() ? packet6() : packet4();
    p.destination = p.v6() ? "2001:db8:113::11" : "203.0.113.11";
    expect("other address", run(p.ethernet()), kNext, "not_vip");
  }
  expect("ARP", run(Bytes{255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 1, 8, 6} + Bytes(28)), kNext, "not_vip");
}

TEST_F(IngressRows, strays) {
  for (const auto& base : both(kAck)) {
    expect("unknown stray is punted", run(base.ethernet()), kRedirect, "punt");
    auto p = base;
    p.flags = kAck | kFin;
    expect("FIN of unknown flow", run(p.ethernet()), kRedirect, "punt");
    p.flags = kSyn | kAck;
    expect("SYN-ACK of unknown flow", run(p.ethernet()), kRedirect, "punt");
    for (const std::uint8_t flags : {kRst, std::uint8_t(kRst | kAck), std::uint8_t{0}, kFin, kPsh}) {
      p.flags = flags;
      expect("RST or no ACK: flags " + std::to_string(flags), run(p.ethernet()), kDrop, "stray_dropped");
    }
  }
}

TEST_F(IngressRows, owner_map) {
  for (const auto& p : both(kAck)) {
    const auto key = p.key();
    auto& owners = steering_->owner_map();
    ASSERT_TRUE(owners.set(key, kLiving, kIncarnation));
    expect("living owner", run(p.ethernet()), kRedirect, "forward_map", 2);
    auto rst = p;
    rst.flags = kRst;
    expect("RST goes to the living owner", run(rst.ethernet()), kRedirect, "forward_map", 2);
    auto null = p;
    null.flags = 0;
    expect("neither SYN nor ACK", run(null.ethernet()), kDrop, "stray_dropped");
    ASSERT_TRUE(owners.set(key, kLiving6, kIncarnation));
    expect("living owner over IPv6", run(p.ethernet()), kRedirect, "forward_map", 5);
    ASSERT_TRUE(owners.set(key, kLiving, kIncarnation - 1));
    expect("an earlier incarnation of a living node", run(p.ethernet()), kRedirect, "owner_dead punt");
    expect("its RST, which may answer a probe", run(rst.ethernet()), kRedirect, "owner_dead");
    ASSERT_TRUE(owners.set(key, kDead, kIncarnation));
    expect("dead owner", run(p.ethernet()), kRedirect, "owner_dead punt");
    expect("its RST, which may answer a probe", run(rst.ethernet()), kRedirect, "owner_dead");
    ASSERT_TRUE(owners.set(key, kSelf, kIncarnation));
    expect("the map says ourselves", run(p.ethernet()), kRedirect, "punt");
    owners.erase(key);
    expect("erased", run(p.ethernet()), kRedirect, "punt");
  }
}

TEST_F(IngressRows, hints) {
  for (const auto& base : both(kAck)) {
    expect("living", run(with_echo(base, echo_of(kLiving)).ethernet()), kRedirect, "forward_hint", 2);
    expect("living, IPv6 underlay", run(with_echo(base, echo_of(kLiving6)).ethernet()), kRedirect, "forward_hint", 5);
    expect("late by 14 minutes", run(with_echo(base, echo_of(kLiving) - 840000).ethernet()), kRedirect, "forward_hint",
           2);
    expect("early by 30 s", run(with_echo(base, echo_of(kLiving) + 30000).ethernet()), kRedirect, "forward_hint", 2);
    expect("clock apart", run(with_echo(base, echo_of(kNoHint)).ethernet()), kRedirect, "punt");
    expect("dead", run(with_echo(base, echo_of(kDead)).ethernet()), kRedirect, "owner_dead punt");
    auto reset = with_echo(base, echo_of(kDead));
    reset.flags = kRst | kAck;
    expect("dead, and an RST", run(reset.ethernet()), kRedirect, "owner_dead");
    expect("own id", run(with_echo(base, echo_of(kSelf)).ethernet()), kRedirect, "punt");
    expect("unknown id", run(with_echo(base, echo_of(NodeId{99})).ethernet()), kRedirect, "punt");
    expect("id 0", run(with_echo(base, echo_of(NodeId{0})).ethernet()), kRedirect, "punt");
    auto rst = with_echo(base, echo_of(kLiving));
    rst.flags = kRst;
    expect("an echo without ACK says nothing", run(rst.ethernet()), kDrop, "stray_dropped");
  }
}

TEST_F(IngressRows, slot_offset_moves_the_slots) {
  steering_->set_slot_offset(50ULL << kSlotBits);
  const auto echo = slot_tsval(0, monotonic_ms() + (50ULL << kSlotBits), to_int(kLiving), 0);
  expect("with offset", run(with_echo(packet4(), echo).ethernet()), kRedirect, "forward_hint", 2);
  expect("without", run(with_echo(packet4(), echo_of(kLiving)).ethernet()), kRedirect, "punt");
}

TEST_F(IngressRows, hint_against_map) {
  for (const auto& base : both(kAck)) {
    const auto key = base.key();
    const auto p = with_echo(base, echo_of(kLiving)).ethernet();
    ASSERT_TRUE(steering_->owner_map().set(key, kLiving6, kIncarnation));
    expect("the hint is preferred", run(p), kRedirect, "forward_hint", 2);
    ASSERT_TRUE(steering_->mark_not_mine(key, kLiving));
    expect("its node said not mine: the map", run(p), kRedirect, "forward_map", 5);
    ASSERT_TRUE(steering_->mark_not_mine(key, kLiving6));
    expect("both said not mine", run(p), kRedirect, "punt");
    ASSERT_TRUE(steering_->owner_map().set(key, kLiving6, kIncarnation));
    expect("a new record ends its owner's not mine", run(p), kRedirect, "forward_map", 5);
    ASSERT_TRUE(steering_->mark_not_mine(key, kLiving, Clock::now() - Millis(2000), Millis(1000)));
    expect("not mine ends by time", run(p), kRedirect, "forward_hint", 2);
    ASSERT_TRUE(steering_->owner_map().set(key, kDead, kIncarnation));
    expect("a living hint before a dead map entry", run(p), kRedirect, "forward_hint", 2);
    steering_->owner_map().erase(key);
  }
}

TEST_F(IngressRows, timestamp_option_in_every_place) {
  const std::vector<Bytes> others = {{1}, {3, 3, 7}, {4, 2}, {5, 10, 0, 0, 0, 1, 0, 0, 0, 2}, {2, 4, 5, 0xb4}};
  const Bytes stamp = bare_timestamp(7, echo_of(kLiving));
  std::vector<Bytes> parts = others;
  parts.push_back(stamp);
  std::vector<std::size_t> order = {0, 1, 2, 3, 4, 5};
  int orders = 0;
  do {
    auto p = packet4(kAck, static_cast<std::uint16_t>(20000 + orders));
    for (const auto i : order) p.options = p.options + parts[i];
    expect("order", run(p.ethernet()), kRedirect, "forward_hint", 2);
    if (HasFailure()) return;
    ++orders;
  } while (std::next_permutation(order.begin(), order.end()));
  EXPECT_EQ(orders, 720);
}

TEST_F(IngressRows, malformed_options_give_no_hint) {
  const Bytes stamp = bare_timestamp(7, echo_of(kLiving));
  const std::vector<std::pair<std::string, Bytes>> rows = {
      {"length 0", Bytes{3, 0} + stamp},
      {"length 1", Bytes{3, 1} + stamp},
      {"length beyond the header", Bytes{3, 40} + stamp},
      {"timestamp of length 8", Bytes{8, 8, 0, 0, 0, 0, 0, 0}},
      {"timestamp of length 12", Bytes{8, 12} + Bytes(stamp.begin() + 2, stamp.end()) + Bytes{0, 0}},
      {"timestamp cut off", Bytes{1, 1, 1, 1, 1, 1, 8, 10}},
      {"kind at the very end", Bytes{1, 1, 1, 8}},
      {"after end of options", Bytes{0} + stamp},
      {"40 NOPs", Bytes(40, 1)},
  };
  for (const auto& [what, options] : rows) {
    for (auto p : both(kAck)) {
      p.options = options;
      expect(what, run(p.ethernet()), kRedirect, "punt");
    }
  }
  auto last = packet4();
  last.options = Bytes(30, 1) + stamp;
  expect("30 NOPs, then a timestamp", run(last.ethernet()), kRedirect, "forward_hint", 2);
}

TEST_F(IngressRows, truncated_at_every_length) {
  for (auto p : both(kAck)) {
    p.options = timestamp_option(1, echo_of(kLiving));
    const Bytes whole = p.ethernet();
    const std::size_t ip_end = 14U + (p.v6() ? 40 : 20);
    // Test-run refuses packets without a whole IP header; tunnel_rows_test has those, on a real device.
    for (std::size_t length = ip_end; length < whole.size(); ++length)
      expect("cut at " + std::to_string(length),
             run(Bytes(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length))), kDrop, "malformed");
  }
}

TEST_F(IngressRows, contradictory_lengths) {
  for (const auto& p : both(kAck)) {
    const std::size_t l3 = 14, l4 = l3 + (p.v6() ? 40 : 20);
    for (int doff = 0; doff < 16; ++doff) {
      Bytes bent = p.ethernet();
      bent[l4 + 12] = static_cast<std::uint8_t>(doff << 4);
      const bool good = doff == 5;
      expect("data offset " + std::to_string(doff), run(bent), good ? kRedirect : kDrop, good ? "punt" : "malformed");
    }
    Bytes beyond = p.ethernet();
    beyond[p.v6() ? l3 + 5 : l3 + 3] = 200;
    expect("IP length beyond the packet", run(beyond), kDrop, "malformed");
    Bytes below = p.ethernet();
    below[p.v6() ? l3 + 5 : l3 + 3] = p.v6() ? 10 : 30;
    expect("IP length within the TCP header", run(below), kDrop, "malformed");
    Bytes padded = p.ethernet() + Bytes(20);
    expect("Ethernet padding", run(padded), kRedirect, "punt");
  }
  Bytes ihl = packet4().ethernet();
  ihl[14] = 0x44;
  expect("ihl 4", run(ihl), kNext, "not_vip");
}

TEST_F(IngressRows, ip_options_and_extension_headers) {
  auto p = packet4();
  p.ip_options = Bytes(40, 1);
  p.options = timestamp_option(1, echo_of(kLiving));
  expect("40 bytes of IP options", run(p.ethernet()), kRedirect, "forward_hint", 2);

  const Bytes pad{1, 4, 0, 0, 0, 0};
  auto six = packet6();
  six.first_extension = 0;  // hop-by-hop, then destination options, routing, AH
  six.extension_headers = Bytes{60, 0} + pad + Bytes{43, 0} + pad + Bytes{51, 0} + Bytes(6) + Bytes{6, 1} + Bytes(10);
  six.options = timestamp_option(1, echo_of(kLiving));
  expect("four extension headers", run(six.ethernet()), kRedirect, "forward_hint", 2);
  six.extension_headers = {};
  for (int i = 0; i < 20; ++i)
    six.extension_headers = six.extension_headers + Bytes{std::uint8_t(i < 19 ? 60 : 6), 0} + pad;
  six.first_extension = 60;
  expect("a chain without end", run(six.ethernet()), kNext, "not_vip");
}

TEST_F(IngressRows, fragments_pass) {
  auto p = packet4();
  p.fragment = 0x2000;
  expect("first", run(p.ethernet()), kPass, "fragment");
  p.fragment = 0x0010;
  expect("last", run(p.ethernet()), kPass, "fragment");
  p.fragment = 0x4000;
  expect("do not fragment is none", run(p.ethernet()), kRedirect, "punt");
  p.fragment = 0x2000;
  p.destination = "203.0.113.11";
  expect("of another address", run(p.ethernet()), kNext, "not_vip");
  auto six = packet6();
  six.first_extension = 44;
  six.extension_headers = {6, 0, 0, 1, 0, 0, 0, 9};
  expect("IPv6", run(six.ethernet()), kPass, "fragment");
}

TEST_F(IngressRows, syn) {
  for (const auto& p : both(kSyn)) {
    const auto key = p.key();
    expect("new connection", run(p.ethernet()), kPass, "syn_local");
    ASSERT_TRUE(steering_->owner_map().set(key, kLiving, kIncarnation));
    expect("of a living owner's very key", run(p.ethernet()), kRedirect, "syn_to_owner", 2);
    ASSERT_TRUE(steering_->mark_not_mine(key, kLiving));
    expect("who said not mine", run(p.ethernet()), kPass, "syn_local");
    ASSERT_TRUE(steering_->owner_map().set(key, kDead, kIncarnation));
    expect("of a dead owner's", run(p.ethernet()), kPass, "syn_local");
    steering_->owner_map().erase(key);
    steering_->set_flags(SUTURE_NODE_DRAINING);
    expect("while draining", run(p.ethernet()), kDrop, "syn_draining");
    ASSERT_TRUE(steering_->owner_map().set(key, kLiving6, kIncarnation));
    expect("while draining, of a living owner", run(p.ethernet()), kRedirect, "syn_to_owner", 5);
    steering_->set_flags(0);
    steering_->owner_map().erase(key);
  }
}

TEST_F(IngressRows, stale_heartbeat) {
  auto c = config();
  c.heartbeat_limit_ns = 150'000'000;
  load(c);
  for (const auto& p : {packet4(), packet6(), packet4(kSyn), packet6(kRst)}) {
    steering_->beat(Clock::now() - Millis(200));
    steering_->set_heir(NodeId{0});
    expect("no heir", run(p.ethernet()), kDrop, "orphan_dropped");
    steering_->set_heir(kLiving);
    expect("heir", run(p.ethernet()), kRedirect, "orphan_to_heir", 2);
    steering_->set_heir(NodeId{9});
    expect("heir without an entry", run(p.ethernet()), kDrop, "encap_failed");
    steering_->beat(Clock::now() + Millis(60000));
    EXPECT_EQ(run(p.ethernet()).peer, 0U) << "a beat ahead of the packet is no stale one";
  }
  expect("other traffic of a dead node", run(TcpPacket{.source = kClient4, .destination = "203.0.113.11"}.ethernet()),
         kNext, "not_vip");
}

TEST_F(IngressRows, before_the_first_beat) {
  auto fresh = datapath::Steering::load(config());
  ASSERT_TRUE(fresh) << fresh.error().message;
  std::swap(steering_, *fresh);
  before_ = steering_->counters();
  expect("SYN", run(packet4(kSyn).ethernet()), kDrop, "orphan_dropped");
  auto from_vip = packet4();
  std::swap(from_vip.source, from_vip.destination);
  std::swap(from_vip.source_port, from_vip.destination_port);
  expect("egress", run(from_vip.ethernet(), "egress"), kDrop, "egress_stale_dropped");
}

TEST_F(IngressRows, limits_per_prefix) {
  auto c = config();
  c.hint_burst = 5;
  c.punt_burst = 3;
  c.hint_per_second = c.punt_per_second = 1;
  load(c);
  for (const auto& base : both(kAck)) {
    const auto hinted = with_echo(base, echo_of(kLiving));
    for (int i = 0; i < 5; ++i) expect("in the burst", run(hinted.ethernet()), kRedirect, "forward_hint", 2);
    expect("beyond", run(hinted.ethernet()), kDrop, "hint_limited");
    auto neighbour = hinted;
    neighbour.source = base.v6() ? "2001:db8:c:ffff::1" : "198.51.100.250";
    expect("same prefix", run(neighbour.ethernet()), kDrop, "hint_limited");
    auto other = hinted;
    other.source = base.v6() ? "2001:db8:d::1" : "198.51.101.7";
    expect("other prefix", run(other.ethernet()), kRedirect, "forward_hint", 2);
    ASSERT_TRUE(steering_->owner_map().set(base.key(), kLiving, kIncarnation));
    expect("with a map entry there is no limit", run(hinted.ethernet()), kRedirect, "forward_hint", 2);
    steering_->owner_map().erase(base.key());
    for (int i = 0; i < 3; ++i) expect("punts", run(base.ethernet()), kRedirect, "punt");
    expect("punts beyond", run(base.ethernet()), kDrop, "punt_limited");
    ASSERT_TRUE(steering_->owner_map().set(base.key(), kDead, kIncarnation));
    expect("of a dead owner's, too", run(base.ethernet()), kDrop, "owner_dead punt_limited");
  }
}

TEST_F(IngressRows, icmp_errors) {
  for (const bool v6 : {false, true}) {
    auto sent = v6 ? packet6() : packet4();
    const auto key = sent.key();
    std::swap(sent.source, sent.destination);
    std::swap(sent.source_port, sent.destination_port);
    const std::string router = v6 ? "2001:db8:ffff::1" : "192.0.2.1";
    const std::uint8_t too_big = v6 ? 2 : 3;
    const auto error = icmp_error(router, sent, 8, too_big, v6 ? 0 : 4);
    expect("unknown flow", run(error), kPass, "icmp_unknown");
    ASSERT_TRUE(steering_->owner_map().set(key, kLiving, kIncarnation));
    expect("8 bytes of TCP", run(error), kRedirect, "icmp_forwarded", 2);
    expect("only the ports", run(icmp_error(router, sent, 4, too_big, 0)), kRedirect, "icmp_forwarded", 2);
    expect("less than the ports", run(icmp_error(router, sent, 3, too_big, 0)), kNext, "not_vip");
    expect("time exceeded", run(icmp_error(router, sent, 8, v6 ? 3 : 11, 0)), kRedirect, "icmp_forwarded", 2);
    expect("parameter problem", run(icmp_error(router, sent, 8, v6 ? 4 : 12, 0)), kRedirect, "icmp_forwarded", 2);
    expect("echo request", run(icmp_error(router, sent, 8, v6 ? 128 : 8, 0)), kNext, "not_vip");
    ASSERT_TRUE(steering_->owner_map().set(key, kDead, kIncarnation));
    expect("dead owner", run(error), kPass, "icmp_unknown");
    auto foreign = sent;
    foreign.source_port = 81;
    expect("of another service", run(icmp_error(router, foreign, 8, too_big, 0)), kNext, "not_vip");
    for (std::size_t length = v6 ? 54 : 34; length < error.size(); ++length)
      EXPECT_NE(run(Bytes(error.begin(), error.begin() + static_cast<std::ptrdiff_t>(length))).verdict, kDrop);
  }
}

TEST_F(IngressRows, owner_map_full) {
  for (std::uint16_t port = 1; port <= 1024; ++port)
    ASSERT_TRUE(steering_->owner_map().set(packet4(kAck, port).key(), kLiving, kIncarnation));
  EXPECT_FALSE(steering_->owner_map().set(packet4(kAck, 2000).key(), kLiving, kIncarnation));
  MetricsRegistry registry;
  steering_->register_metrics(registry);
  EXPECT_NE(registry.prometheus_text().find("suture_owner_map_full_total 1"), std::string::npos);
  EXPECT_NE(registry.prometheus_text().find("suture_steer_packets_total{rung=\"punt\"} 0"), std::string::npos);
}

}  // namespace
}  // namespace suture::packet_test
