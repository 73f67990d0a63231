// A real upload that changes PoP in the middle, through real devices:
//
//     client ── ca/ac ── popa (owner) ──┐
//        └───── cb/bc ── popb ── ab/ba ─┘  underlay 10.99.1.0/24, fd99:1::/64
//
// The client's route to the VIP moves from popa to popb; popb forwards, popa answers directly or back through popb.
#include <fcntl.h>
#include <sched.h>
#include <sys/socket.h>

#include <atomic>
#include <cstdlib>
#include <iostream>
#include <thread>

#include <boost/asio/ip/tcp.hpp>

#include "tests/packet/steering_fixture.hpp"

namespace suture::packet_test {
namespace {

namespace ip = boost::asio::ip;
using datapath::FileDescriptor;

const std::string kPrefix = "dp" + std::to_string(::getpid());

std::string ns_of(const std::string& host) {
  return kPrefix + host;
}
void in(const std::string& host, const std::string& command) {
  must("ip netns exec " + ns_of(host) + " " + command);
}

// The thread that lives in the host's namespace while this stands.
class Inside {
 public:
  explicit Inside(const std::string& host) : back_(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC)) {
    const FileDescriptor there(::open(("/run/netns/" + ns_of(host)).c_str(), O_RDONLY | O_CLOEXEC));
    if (::setns(there.get(), CLONE_NEWNET) != 0) std::abort();
  }
  ~Inside() {
    if (::setns(back_.get(), CLONE_NEWNET) != 0) std::abort();
  }
  Inside(const Inside&) = delete;
  Inside& operator=(const Inside&) = delete;

 private:
  FileDescriptor back_;
};

struct Pop {
  datapath::Tunnel tunnel;
  datapath::Tun punts;
  std::unique_ptr<datapath::Steering> steering;
};

struct Way {
  bool client6, underlay6, return_tunnel;
};
std::ostream& operator<<(std::ostream& out, const Way& w) {
  return out << (w.client6 ? "client6_" : "client4_") << (w.underlay6 ? "underlay6_" : "underlay4_")
             << (w.return_tunnel ? "tunnel" : "direct");
}

class Forwarding : public testing::TestWithParam<Way> {
 protected:
  static constexpr std::size_t kBytes = 48U << 20;
  static constexpr std::size_t kSwitchAt = 12U << 20;

  void SetUp() override {
    if (::geteuid() != 0) {
      std::cerr
          << "The packet tests need root: they make network namespaces and load BPF programs. Run them as root.\n";
      std::exit(1);
    }
    TearDown();
    for (const char* host : {"client", "popa", "popb"}) must("ip netns add " + ns_of(host));
    for (const char* host : {"client", "popa", "popb"}) {
      in(host, "ip link set lo up");
      in(host,
         "sh -c 'echo 0 > /proc/sys/net/ipv4/conf/all/rp_filter; echo 0 > /proc/sys/net/ipv4/conf/default/rp_filter'");
    }
    cable("client", "ca", "popa", "ac", "10.1.1", "fd01:1");
    cable("client", "cb", "popb", "bc", "10.1.2", "fd01:2");
    cable("popa", "ab", "popb", "ba", "10.99.1", "fd99:1");
    in("client", "ip addr add 198.51.100.7/32 dev lo");
    in("client", "ip addr add 2001:db8:c::7/128 dev lo nodad");
    for (const auto& [pop, via] : {std::pair{"popa", "1"}, std::pair{"popb", "2"}}) {
      in(pop, "ip addr add 203.0.113.10/32 dev lo");
      in(pop, "ip addr add 2001:db8:113::10/128 dev lo nodad");
      in(pop, std::string("ip route add 198.51.100.0/24 via 10.1.") + via + ".1");
      in(pop, std::string("ip -6 route add 2001:db8:c::/48 via fd01:") + via + "::1");
    }
    switch_to("1");
  }
  void TearDown() override {
    for (auto* pop : {&a_, &b_}) {
      if (!*pop) continue;
      Inside there(pop == &a_ ? "popa" : "popb");
      EXPECT_TRUE((*pop)->steering->detach());
      EXPECT_TRUE((*pop)->tunnel.remove());
      pop->reset();
    }
    for (const char* host : {"client", "popa", "popb"})
      (void)!std::system(("ip netns del " + ns_of(host) + " 2>/dev/null").c_str());
  }

  static void cable(const std::string& left, const std::string& l, const std::string& right, const std::string& r,
                    const std::string& net4, const std::string& net6) {
    must("ip -n " + ns_of(left) + " link add " + l + " type veth peer name " + r + " netns " + ns_of(right));
    for (const auto& [host, device, number] : {std::tuple{left, l, "1"}, std::tuple{right, r, "2"}}) {
      in(host, "ip addr add " + net4 + "." + number + "/24 dev " + device);
      in(host, "ip addr add " + net6 + "::" + number + "/64 dev " + device + " nodad");
      in(host, "ip link set " + device + " up");
    }
  }
  static void switch_to(const std::string& pop) {
    in("client", "ip route replace 203.0.113.10/32 via 10.1." + pop + ".2 src 198.51.100.7");
    in("client", "ip -6 route replace 2001:db8:113::10/128 via fd01:" + pop + "::2 src 2001:db8:c::7");
  }

  void start(std::optional<Pop>& pop, const std::string& host, const std::string& access, NodeId self, NodeId other) {
    Inside there(host);
    auto tunnel = datapath::Tunnel::open({.return_tunnel = true});
    ASSERT_TRUE(tunnel) << tunnel.error().message;
    auto punts = datapath::Tun::open("suture0");
    ASSERT_TRUE(punts) << punts.error().message;
    datapath::SteeringConfig c;
    c.node_id = self;
    c.vips = {{ip::make_address(kVip4), kPort}, {ip::make_address(kVip6), kPort}};
    c.interfaces = {access};
    c.vxlan_ifindex = tunnel->ifindex();
    c.tun_ifindex = punts->ifindex();
    c.vni_base = kVniBase;
    c.fin_mark = kFinMark;
    c.rst_mark = kRstMark;
    c.heartbeat_limit_ns = 600ULL * 1000000000;
    c.owners_max = 1024;
    c.return_tunnel = GetParam().return_tunnel;
    auto steering = datapath::Steering::load(c);
    ASSERT_TRUE(steering) << steering.error().message;
    pop.emplace(Pop{std::move(*tunnel), std::move(*punts), std::move(*steering)});
    suture_peer peer{};
    const std::string net = GetParam().underlay6 ? "fd99:1::" : "10.99.1.";
    peer.local = to_addr(ip::make_address(net + std::to_string(to_int(self))));
    peer.remote = to_addr(ip::make_address(net + std::to_string(to_int(other))));
    peer.flags = SUTURE_PEER_CONFIGURED | SUTURE_PEER_ALIVE |
                 static_cast<unsigned>(GetParam().underlay6 ? SUTURE_PEER_UNDERLAY6 : 0);
    peer.incarnation = kIncarnation;
    ASSERT_TRUE(pop->steering->set_peer(other, peer));
    pop->steering->beat();
  }

  static FileDescriptor tcp_socket(const std::string& host, const ip::tcp::endpoint& bind_to) {
    Inside there(host);
    FileDescriptor fd(::socket(bind_to.protocol().family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
    const int mss = 1300;  // what the product clamps to: tunnel_mss
    ::setsockopt(fd.get(), IPPROTO_TCP, 2 /* TCP_MAXSEG */, &mss, sizeof mss);
    if (::bind(fd.get(), bind_to.data(), static_cast<socklen_t>(bind_to.size())) != 0) std::abort();
    timeval limit{20, 0};  // a connection that got lost is a failed test, not one that hangs
    ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    ::setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    return fd;
  }

  std::optional<Pop> a_, b_;
};

std::string rungs(const datapath::RungCounts& counts) {
  static constexpr const char* labels[] = {
#define LABEL(name, label) label,
      SUTURE_RUNGS(LABEL)
#undef LABEL
  };
  std::string out;
  for (std::size_t i = 0; i < counts.size(); ++i)
    if (counts[i]) out += std::string(" ") + labels[i] + "=" + std::to_string(counts[i]);
  return out;
}

std::uint8_t byte_at(std::size_t offset) {
  return static_cast<std::uint8_t>((offset * 2654435761U) >> 13);
}

TEST_P(Forwarding, upload_survives_the_switch) {
  start(a_, "popa", "ac", NodeId{1}, NodeId{2});
  start(b_, "popb", "bc", NodeId{2}, NodeId{1});
  if (HasFatalFailure()) return;
  const bool v6 = GetParam().client6;
  const ip::tcp::endpoint vip(ip::make_address(v6 ? kVip6 : kVip4), kPort);
  const auto listener = tcp_socket("popa", vip);
  ASSERT_EQ(::listen(listener.get(), 4), 0);
  const auto client = tcp_socket("client", {ip::make_address(v6 ? kClient6 : kClient4), 45678});
  ASSERT_EQ(::connect(client.get(), vip.data(), static_cast<socklen_t>(vip.size())), 0) << std::strerror(errno);
  const FileDescriptor accepted(::accept(listener.get(), nullptr, nullptr));
  ASSERT_TRUE(accepted);
  const auto key = make_flow_key({ip::make_address(v6 ? kClient6 : kClient4), 45678}, vip);
  ASSERT_TRUE(b_->steering->owner_map().set(key, NodeId{1}, kIncarnation));
  ASSERT_TRUE(a_->steering->owner_map().set(key, NodeId{1}, kIncarnation));

  std::atomic<bool> sent_all{false};
  std::thread upload([&] {
    Bytes chunk(65536);
    for (std::size_t offset = 0; offset < kBytes;) {
      if (offset == kSwitchAt) switch_to("2");
      for (std::size_t i = 0; i < chunk.size(); ++i) chunk[i] = byte_at(offset + i);
      for (std::size_t done = 0; done < chunk.size();) {
        const ssize_t n = ::send(client.get(), chunk.data() + done, chunk.size() - done, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return;
        done += static_cast<std::size_t>(n);
      }
      offset += chunk.size();
    }
    sent_all = true;
  });
  std::size_t received = 0, wrong = 0;
  Bytes buffer(1U << 20);
  while (received < kBytes) {
    const ssize_t n = ::recv(accepted.get(), buffer.data(), buffer.size(), 0);
    if (n < 0 && errno == EINTR) continue;  // the SIGCHLD of system() in the other thread; SO_RCVTIMEO: no restart
    if (n <= 0) break;
    for (std::size_t i = 0; i < static_cast<std::size_t>(n); ++i) wrong += buffer[i] != byte_at(received + i);
    received += static_cast<std::size_t>(n);
  }
  upload.join();
  const auto at_a = a_->steering->counters();
  const auto at_b = b_->steering->counters();
  EXPECT_TRUE(sent_all);
  EXPECT_EQ(received, kBytes) << "popa:" << rungs(at_a) << "\npopb:" << rungs(at_b);
  EXPECT_EQ(wrong, 0U);
  const char farewell[] = "done";
  EXPECT_EQ(::send(accepted.get(), farewell, sizeof farewell, MSG_NOSIGNAL), static_cast<ssize_t>(sizeof farewell));
  char got[sizeof farewell] = {};
  EXPECT_EQ(::recv(client.get(), got, sizeof got, MSG_WAITALL), static_cast<ssize_t>(sizeof got));

  EXPECT_GT(at_b[SUTURE_RUNG_FORWARD_MAP], 0U);
  EXPECT_GE(b_->steering->forwarded()[1], at_b[SUTURE_RUNG_FORWARD_MAP]);
  EXPECT_EQ(at_b[SUTURE_RUNG_PUNT], 0U);
  EXPECT_EQ(at_a[SUTURE_RUNG_NOT_MINE], 0U);
  if (GetParam().return_tunnel) {
    EXPECT_GT(at_a[SUTURE_RUNG_EGRESS_RETURN_TUNNEL], 0U);
    EXPECT_GT(at_b[SUTURE_RUNG_TUNNEL_RETURNED], 0U);
  } else {
    EXPECT_EQ(at_a[SUTURE_RUNG_EGRESS_RETURN_TUNNEL], 0U);
  }
}

INSTANTIATE_TEST_SUITE_P(Ways, Forwarding,
                         testing::Values(Way{false, false, false}, Way{false, false, true}, Way{false, true, false},
                                         Way{false, true, true}, Way{true, false, false}, Way{true, false, true},
                                         Way{true, true, false}, Way{true, true, true}),
                         testing::PrintToStringParamName());

}  // namespace
}  // namespace suture::packet_test
