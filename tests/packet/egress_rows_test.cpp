// Egress rules 1 and 2 and the return tunnel.
#include "tests/packet/steering_fixture.hpp"

namespace suture::packet_test {
namespace {

using EgressRows = SteeringTest;

TcpPacket answer(bool v6, std::uint8_t flags) {
  auto p = v6 ? packet6(flags) : packet4(flags);
  std::swap(p.source, p.destination);
  std::swap(p.source_port, p.destination_port);
  return p;
}

TEST_F(EgressRows, fin_and_rst_only_with_their_mark) {
  struct Row {
    std::uint8_t flags;
    std::uint32_t mark;
    int verdict;
    const char* rung;
  };
  const Row rows[] = {
      {kAck, 0, kNext, ""},
      {kSyn | kAck, 0, kNext, ""},
      {kFin | kAck, 0, kDrop, "egress_fin_dropped"},
      {kFin | kAck, kFinMark, kNext, ""},
      {kFin | kAck, kFinMark | 0xff, kNext, ""},
      {kFin | kAck, kRstMark, kDrop, "egress_fin_dropped"},
      {kFin | kAck, 0xff, kDrop, "egress_fin_dropped"},
      {kRst, 0, kDrop, "egress_rst_dropped"},
      {kRst | kAck, kFinMark, kDrop, "egress_rst_dropped"},
      {kRst | kAck, kRstMark, kNext, ""},
      {kRst | kFin | kAck, kFinMark, kDrop, "egress_rst_dropped"},
  };
  for (const bool v6 : {false, true})
    for (const Row& row : rows)
      expect("flags " + std::to_string(row.flags) + " mark " + std::to_string(row.mark),
             run(answer(v6, row.flags).ethernet(), "egress", row.mark), row.verdict, row.rung);
}

TEST_F(EgressRows, others_are_left_alone) {
  auto p = answer(false, kRst);
  p.source_port = 81;
  expect("other port", run(p.ethernet(), "egress"), kNext, "");
  p = answer(false, kRst);
  p.source = "203.0.113.11";
  expect("other address", run(p.ethernet(), "egress"), kNext, "");
  expect("to the VIP", run(packet4(kRst).ethernet(), "egress"), kNext, "");
}

TEST_F(EgressRows, stale_process_is_silent) {
  auto c = config();
  c.heartbeat_limit_ns = 150'000'000;
  load(c);
  steering_->beat(Clock::now() - Millis(200));
  for (const bool v6 : {false, true}) {
    expect("data", run(answer(v6, kAck).ethernet(), "egress"), kDrop, "egress_stale_dropped");
    expect("marked FIN", run(answer(v6, kFin | kAck).ethernet(), "egress", kFinMark), kDrop, "egress_stale_dropped");
    auto other = answer(v6, kAck);
    other.source_port = 81;
    expect("other service", run(other.ethernet(), "egress"), kNext, "");
  }
}

TEST_F(EgressRows, no_return_path_without_a_forwarder) {
  steering_->set_flags(SUTURE_NODE_RETURN_TUNNEL);
  expect("never forwarded", run(answer(false, kAck).ethernet(), "egress"), kNext, "");
}

}  // namespace
}  // namespace suture::packet_test
