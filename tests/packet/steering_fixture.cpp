#include "tests/packet/steering_fixture.hpp"

#include <sched.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <iterator>
#include <mutex>
#include <sstream>
#include <thread>

#include <linux/bpf.h>

#include "proxy/datapath/tunnel_sender.hpp"

namespace suture::packet_test {
namespace {

namespace ip = boost::asio::ip;
constexpr std::array<const char*, SUTURE_RUNG_COUNT> kLabels = {
#define LABEL(name, label) label,
    SUTURE_RUNGS(LABEL)
#undef LABEL
};

}  // namespace

void must(const std::string& command) {
  if (std::system(command.c_str()) != 0) {
    std::cerr << "failed: " << command << "\n";
    std::abort();
  }
}

std::string output(const std::string& command) {
  std::string text;
  FILE* pipe = ::popen((command + " 2>&1").c_str(), "r");
  std::array<char, 4096> buffer{};
  while (pipe != nullptr && ::fgets(buffer.data(), buffer.size(), pipe) != nullptr) text += buffer.data();
  if (pipe != nullptr) ::pclose(pipe);
  return text;
}
bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

bool within(std::chrono::milliseconds limit, const std::function<bool()>& condition) {
  const auto end = std::chrono::steady_clock::now() + limit;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

std::ostream& operator<<(std::ostream& out, const Outcome& o) {
  out << "verdict " << o.verdict << " rungs";
  for (const auto& rung : o.rungs) out << " " << rung;
  return out << " peer " << o.peer;
}

TcpPacket packet4(std::uint8_t flags, std::uint16_t client_port) {
  return {
      .source = kClient4, .destination = kVip4, .source_port = client_port, .destination_port = kPort, .flags = flags};
}
TcpPacket packet6(std::uint8_t flags, std::uint16_t client_port) {
  return {
      .source = kClient6, .destination = kVip6, .source_port = client_port, .destination_port = kPort, .flags = flags};
}

void SteeringTest::SetUpTestSuite() {
  static std::once_flag once;
  std::call_once(once, [] {
    if (::geteuid() != 0 || ::unshare(CLONE_NEWNET) != 0) {
      std::cerr
          << "The packet tests need root: they make a network namespace and load BPF programs. Run them as root.\n";
      std::exit(1);
    }
    must("ip link set lo up");
    for (const char* address :
         {"203.0.113.10/32", "10.99.0.1/32", "10.99.0.2/32", "10.99.0.3/32", "10.99.0.4/32", "10.99.0.66/32"})
      must(std::string("ip addr add ") + address + " dev lo");
    for (const char* address : {"2001:db8:113::10/128", "fd99::1/128", "fd99::5/128", "fd99::66/128"})
      must(std::string("ip addr add ") + address + " dev lo nodad");
  });
}

void SteeringTest::SetUp() {
  auto tunnel = datapath::Tunnel::open({.return_tunnel = true});
  ASSERT_TRUE(tunnel) << tunnel.error().message;
  tunnel_ = std::move(*tunnel);
  auto punts = datapath::Tun::open("suture0");
  ASSERT_TRUE(punts) << punts.error().message;
  punts_ = std::move(*punts);
  load(config());
}

void SteeringTest::TearDown() {
  if (steering_) {
    EXPECT_TRUE(steering_->detach());
  }
  steering_.reset();
  punts_.reset();
  if (tunnel_) {
    EXPECT_TRUE(tunnel_->remove());
  }
}

datapath::SteeringConfig SteeringTest::config() const {
  datapath::SteeringConfig c;
  c.node_id = kSelf;
  c.vips = {{ip::make_address(kVip4), kPort}, {ip::make_address(kVip6), kPort}};
  c.vxlan_ifindex = tunnel_->ifindex();
  c.tun_ifindex = punts_->ifindex();
  c.vni_base = kVniBase;
  c.fin_mark = kFinMark;
  c.rst_mark = kRstMark;
  c.heartbeat_limit_ns = 600ULL * 1000000000;  // a test that wants a stale one says so
  c.owners_max = 1024;
  return c;
}

void SteeringTest::load(const datapath::SteeringConfig& config) {
  auto steering = datapath::Steering::load(config);
  ASSERT_TRUE(steering) << steering.error().message;
  steering_ = std::move(*steering);
  const std::uint32_t living = SUTURE_PEER_CONFIGURED | SUTURE_PEER_ALIVE;
  set_peer(kLiving, living | SUTURE_PEER_HINT_OK);
  set_peer(kNoHint, living);
  set_peer(kDead, SUTURE_PEER_CONFIGURED | SUTURE_PEER_HINT_OK);
  set_peer(kLiving6, living | SUTURE_PEER_HINT_OK | SUTURE_PEER_UNDERLAY6);
  steering_->beat();
  before_ = steering_->counters();
  forwarded_before_ = steering_->forwarded();
}

void SteeringTest::set_peer(NodeId id, std::uint32_t flags, Incarnation incarnation) {
  suture_peer peer{};
  const bool six = (flags & SUTURE_PEER_UNDERLAY6) != 0;
  const std::string prefix = six ? "fd99::" : "10.99.0.";
  peer.local = to_addr(ip::make_address(prefix + "1"));
  peer.remote = to_addr(ip::make_address(prefix + std::to_string(to_int(id))));
  peer.flags = flags;
  peer.incarnation = incarnation;
  const auto done = steering_->set_peer(id, peer);
  ASSERT_TRUE(done) << done.error().message;
}

Outcome SteeringTest::moved() {
  Outcome outcome;
  const auto counts = steering_->counters();
  for (std::size_t i = 0; i < counts.size(); ++i)
    for (auto n = before_[i]; n < counts[i]; ++n) outcome.rungs.emplace_back(kLabels[i]);
  before_ = counts;
  const auto forwarded = steering_->forwarded();
  for (unsigned id = 0; id < forwarded.size(); ++id)
    if (forwarded[id] != forwarded_before_[id]) outcome.peer = id;
  forwarded_before_ = forwarded;
  return outcome;
}

Outcome SteeringTest::run(const Bytes& ethernet, const std::string& program, std::uint32_t mark) {
  Bytes out(ethernet.size() + 256);
  __sk_buff context{};
  context.mark = mark;
  bpf_test_run_opts options{};
  options.sz = sizeof options;
  options.data_in = ethernet.data();
  options.data_size_in = static_cast<std::uint32_t>(ethernet.size());
  options.data_out = out.data();
  options.data_size_out = static_cast<std::uint32_t>(out.size());
  options.ctx_in = &context;
  options.ctx_size_in = sizeof context;
  const int code = bpf_prog_test_run_opts(steering_->program_fd(program), &options);
  EXPECT_EQ(code, 0) << "test run of " << program << " with " << ethernet.size() << " bytes";
  Outcome outcome = moved();
  outcome.verdict = static_cast<int>(options.retval);
  return outcome;
}

void SteeringTest::expect(const std::string& what, const Outcome& outcome, int verdict, const std::string& rung,
                          unsigned peer) {
  EXPECT_EQ(outcome.verdict, verdict) << what << ": " << outcome;
  std::istringstream labels(rung);
  const std::vector<std::string> wanted(std::istream_iterator<std::string>{labels}, {});
  EXPECT_EQ(outcome.rungs, wanted) << what << ": " << outcome;
  EXPECT_EQ(outcome.peer, peer) << what << ": " << outcome;
}

Outcome SteeringTest::tunnelled(const Bytes& packet, unsigned kind, const std::string& from, std::uint32_t vni_base,
                                std::size_t rungs) {
  const auto source = ip::make_address(from);
  const auto sender = datapath::TunnelSender::open(source, kVxlanPort, vni_base);
  EXPECT_TRUE(sender);
  const auto sent = sender->send(ip::make_address(source.is_v6() ? "fd99::1" : "10.99.0.1"),
                                 static_cast<suture_tunnel_kind>(kind), packet);
  EXPECT_TRUE(sent) << sent.error().message;
  Outcome all;
  EXPECT_TRUE(within(std::chrono::seconds(3), [&] {
    const Outcome more = moved();
    all.rungs.insert(all.rungs.end(), more.rungs.begin(), more.rungs.end());
    if (more.peer) all.peer = more.peer;
    return all.rungs.size() >= rungs;
  })) << all;
  return all;
}

std::vector<suture_event> SteeringTest::events() {
  std::vector<suture_event> out;
  steering_->poll_events([&](const suture_event& e) { out.push_back(e); });
  return out;
}

std::uint32_t SteeringTest::echo_of(NodeId id) const {
  return slot_tsval(0, monotonic_ms(), to_int(id), 1234);
}

}  // namespace suture::packet_test
