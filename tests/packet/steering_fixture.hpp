// A network namespace of the test process's own, with VIPs, a VXLAN device, a TUN device for punts, and a second TUN
// device behind which the test itself plays the clients (their networks are routed to it).
//
//   clients 198.51.100.0/24, 2001:db8:c::/48 ── TUN client0 ── kernel under test (VIPs on lo) ── VXLAN ── peers: lo too
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "proxy/datapath/steering.hpp"
#include "proxy/datapath/tun.hpp"
#include "proxy/datapath/tunnel.hpp"
#include "tests/packet/packet_builder.hpp"

namespace suture::packet_test {

inline constexpr const char* kVip4 = "203.0.113.10";
inline constexpr const char* kVip6 = "2001:db8:113::10";
inline constexpr const char* kClient4 = "198.51.100.7";
inline constexpr const char* kClient6 = "2001:db8:c::7";
inline constexpr std::uint16_t kPort = 80;
inline constexpr std::uint32_t kFinMark = 0x10000000, kRstMark = 0x20000000;
inline constexpr std::uint32_t kVniBase = 0x537500;
inline constexpr std::uint16_t kVxlanPort = 7102;
inline constexpr Incarnation kIncarnation = 77;
// Peers: 2 living with good clock, 3 living with a bad clock, 4 dead, 5 living, over IPv6. We are 1.
inline constexpr NodeId kSelf{1}, kLiving{2}, kNoHint{3}, kDead{4}, kLiving6{5};

// tc verdicts as test-run returns them.
inline constexpr int kPass = 0, kNext = -1, kDrop = 2, kRedirect = 7;

void must(const std::string& command);           // aborts the test program where the command fails
std::string output(const std::string& command);  // both streams
bool has(const std::string& text, const std::string& part);
bool within(std::chrono::milliseconds limit, const std::function<bool()>& condition);

struct Outcome {
  int verdict = 0;
  std::vector<std::string> rungs;  // labels of the counters that moved, once per count
  unsigned peer = 0;               // to which the packet was tunnelled
};
std::ostream& operator<<(std::ostream& out, const Outcome& outcome);

class SteeringTest : public testing::Test {
 protected:
  static void SetUpTestSuite();
  void SetUp() override;
  void TearDown() override;

  datapath::SteeringConfig config() const;
  void load(const datapath::SteeringConfig& config);
  void set_peer(NodeId id, std::uint32_t flags, Incarnation incarnation = kIncarnation);

  Outcome run(const Bytes& ethernet, const std::string& program = "ingress", std::uint32_t mark = 0);
  // What moved since the last call.
  Outcome moved();
  // `rung`: the labels that moved, in the order of SUTURE_RUNGS, with spaces between.
  void expect(const std::string& what, const Outcome& outcome, int verdict, const std::string& rung, unsigned peer = 0);

  // One packet through the tunnel, sent as the peer whose underlay address is `from`. Returns what moved, once `rungs`
  // counts have.
  Outcome tunnelled(const Bytes& packet, unsigned kind, const std::string& from = "10.99.0.2",
                    std::uint32_t vni_base = kVniBase, std::size_t rungs = 1);
  std::vector<suture_event> events();  // that have come since the last call

  // An echo that names `id` now.
  std::uint32_t echo_of(NodeId id) const;

  std::optional<datapath::Tunnel> tunnel_;
  std::optional<datapath::Tun> punts_;
  std::unique_ptr<datapath::Steering> steering_;
  datapath::RungCounts before_{};
  datapath::PeerCounts forwarded_before_{};
};

TcpPacket packet4(std::uint8_t flags = kAck, std::uint16_t client_port = 40000);
TcpPacket packet6(std::uint8_t flags = kAck, std::uint16_t client_port = 40000);

}  // namespace suture::packet_test
