// KernelPath with everything real: a punted packet goes back into the stack past the programs; flow states; cut off.
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>

#include "proxy/kernel_path.hpp"
#include "tests/packet/client.hpp"
#include "tests/packet/steering_fixture.hpp"

namespace suture::packet_test {
namespace {

class KernelPathTest : public SteeringTest {
 protected:
  void SetUp() override {
    network_.emplace();
    options_.node = kSelf;
    options_.underlay4 = boost::asio::ip::make_address("10.99.0.1");
    options_.interfaces = {"client0"};
    options_.vips = {boost::asio::ip::make_address(kVip4), boost::asio::ip::make_address(kVip6)};
    options_.ports = {kPort};
    options_.vxlan_port = kVxlanPort;
    options_.vxlan_device = "suture-vx";
    options_.vni_base = kVniBase;
    options_.fin_mark = kFinMark;
    options_.rst_mark = kRstMark;
    options_.owners_max = 1024;
    options_.heartbeat_limit = options_.lease = Millis{600'000};
    options_.hint_burst = options_.hint_per_second = options_.punt_burst = options_.punt_per_second = 100;
    options_.announce_table = options_.announce_protocol = 199;
    options_.tun_device = "suture0";
  }
  void open() {
    auto opened = KernelPath::open(options_);
    ASSERT_TRUE(opened) << opened.error().message;
    kernel_ = std::move(*opened);
    kernel_->beat(Clock::now());
    kernel_->register_metrics(registry_);
    kernel_->on_interfaces([this](bool any, const std::vector<std::string>& missing) {
      any_attached_ = any;
      missing_ = missing;
    });
    kernel_->start(
        io_, [this](std::span<const std::uint8_t> p) { punted_.emplace_back(p.begin(), p.end()); },
        [this](const suture_event& event) { events_.push_back(event); });
    for (const bool v6 : {false, true}) listeners_.push_back(listen_on_vip(v6));
  }
  void TearDown() override {
    if (kernel_) kernel_->close();
    io_.restart();
    io_.poll();
  }
  Connection established(bool v6) {
    static std::uint16_t port = 46000;
    ++port;
    return connect(*network_, listeners_[v6 ? 1 : 0], v6 ? packet6(kSyn, port) : packet4(kSyn, port));
  }
  bool soon(const std::function<bool()>& condition) {
    return within(std::chrono::seconds(5), [&] {
      io_.restart();
      io_.poll();
      return condition();
    });
  }
  std::uint64_t count(const std::string& rung) const {
    const std::string text = registry_.prometheus_text();
    const std::string name = "suture_steer_packets_total{rung=\"" + rung + "\"} ";
    const auto at = text.find(name);
    EXPECT_NE(at, std::string::npos) << rung;
    return at == std::string::npos ? 0 : std::stoull(text.substr(at + name.size()));
  }
  std::uint64_t filters_restored() const {
    for (const auto& family : registry_.collect())
      if (family.name == "suture_filters_restored_total") return static_cast<std::uint64_t>(family.samples[0].value);
    ADD_FAILURE() << "no such metric";
    return 0;
  }
  static bool attached(const std::string& device, const std::string& side) {
    return has(output("tc filter show dev " + device + " " + side), "0x537");
  }
  static std::string read_from(const Connection& c) {
    char text[16];
    const auto bytes = ::recv(c.accepted.get(), text, sizeof text, MSG_DONTWAIT);
    return bytes > 0 ? std::string(text, static_cast<std::size_t>(bytes)) : std::string();
  }

  std::optional<ClientNetwork> network_;
  KernelPath::Options options_;
  boost::asio::io_context io_;
  MetricsRegistry registry_;
  std::unique_ptr<KernelPath> kernel_;
  std::vector<datapath::FileDescriptor> listeners_;
  std::vector<Bytes> punted_;
  std::vector<suture_event> events_;
  std::optional<bool> any_attached_;
  std::vector<std::string> missing_;
};

constexpr const char *kOwnVip4 = "203.0.113.77",
                     *kOwnVip6 = "2001:db8:113::77";  // on `lo` only if KernelPath adds them

TEST_F(KernelPathTest, an_injected_packet_reaches_the_socket_and_not_the_programs) {
  open();
  for (const bool v6 : {false, true}) {
    auto c = established(v6);
    const auto key = c.next.key();
    ASSERT_TRUE(kernel_->set_flow_state(key, SUTURE_FLOW_FROZEN));
    punted_.clear();
    c.next.payload = {'h', 'e', 'l', 'd'};
    network_->send(c.next);
    ASSERT_TRUE(soon([&] { return !punted_.empty(); }));
    EXPECT_EQ(punted_[0], c.next.ip());
    EXPECT_EQ(read_from(c), "");
    // Still frozen: had it met the ingress program it would be back here.
    const auto frozen = count("frozen_punt");
    const auto injected = kernel_->inject(punted_[0]);
    ASSERT_TRUE(injected) << injected.error().message;
    std::string got;
    EXPECT_TRUE(soon([&] { return (got += read_from(c)) == "held"; })) << got;
    EXPECT_EQ(count("frozen_punt"), frozen);
    EXPECT_EQ(punted_.size(), 1U);

    ASSERT_TRUE(kernel_->clear_flow_state(key));
    c.next.seq += 4;
    c.next.payload = {'m', 'o', 'r', 'e'};
    network_->send(c.next);
    got.clear();
    EXPECT_TRUE(soon([&] { return (got += read_from(c)) == "more"; })) << got;
  }
}

TEST_F(KernelPathTest, injects_where_sources_are_checked) {
  must("echo 1 > /proc/sys/net/ipv4/conf/all/rp_filter");
  open();
  const auto c = established(false);
  auto data = c.next;
  data.payload = {'x'};
  ASSERT_TRUE(kernel_->inject(data.ip()));
  EXPECT_TRUE(soon([&] { return read_from(c) == "x"; }));
  must("echo 0 > /proc/sys/net/ipv4/conf/all/rp_filter");
}

TEST_F(KernelPathTest, cut_off_gates_and_says_so) {
  options_.lease = Millis{1};
  open();
  for (const bool v6 : {false, true}) {
    const auto c = established(v6);
    // A client is silent once the lease has passed; which jiffy that is, is the kernel's affair.
    kernel_->set_cut_off(true);
    kernel_->set_draining(true);
    kernel_->set_draining(false);
    const auto gated = count("egress_gated");
    ASSERT_EQ(::send(c.accepted.get(), "x", 1, 0), 1);
    ASSERT_TRUE(soon([&] { return count("egress_gated") > gated; })) << "at the latest its retransmission";
    ASSERT_TRUE(soon([&] { return !events_.empty(); }));
    EXPECT_EQ(events_[0].kind, SUTURE_EVENT_GATED);
    EXPECT_TRUE(events_[0].key == c.next.key());
    events_.clear();
    kernel_->set_cut_off(false);
    std::optional<ParsedTcp> data;
    EXPECT_TRUE(within(std::chrono::seconds(20), [&] {
      data = network_->receive_tcp(c.next.source_port, 100);
      return data && data->payload > 0;
    })) << "the retransmission after that";
  }
}

TEST_F(KernelPathTest, its_own_devices_are_no_access_interfaces) {
  for (const char* own : {"suture0", "suture-vx"}) {
    options_.interfaces = {"client0", own};
    const auto refused = KernelPath::open(options_);
    ASSERT_FALSE(refused);
    EXPECT_NE(refused.error().message.find(own), std::string::npos) << refused.error().message;
    EXPECT_NE(refused.error().message.find("node.interfaces"), std::string::npos) << refused.error().message;
  }
}

TEST_F(KernelPathTest, filters_that_somebody_removes_come_back) {
  open();
  ASSERT_TRUE(soon([&] { return any_attached_.has_value(); }));
  EXPECT_TRUE(*any_attached_ && missing_.empty());
  EXPECT_EQ(filters_restored(), 0U);
  struct Row {
    const char* command;
    const char* device;
    const char* side;
  };
  std::uint64_t restored = 0;
  for (const auto& row : {Row{"tc filter del dev client0 ingress", "client0", "ingress"},
                          Row{"tc filter del dev client0 egress", "client0", "egress"},
                          Row{"tc qdisc del dev client0 clsact", "client0", "egress"},
                          Row{"tc filter del dev suture-vx ingress", "suture-vx", "ingress"}}) {
    must(row.command);
    ASSERT_FALSE(attached(row.device, row.side)) << row.command;
    EXPECT_TRUE(soon([&] { return attached(row.device, row.side); })) << row.command;
    EXPECT_EQ(filters_restored(), ++restored) << row.command;
  }
  const auto c = established(false);  // through the new ones
  EXPECT_GT(count("local_request"), 0U);
}

TEST_F(KernelPathTest, interfaces_that_vanish_are_named_and_taken_back) {
  must("ip link add acc7 type veth peer name acc8");
  options_.interfaces = {"client0", "acc7"};
  open();
  ASSERT_TRUE(soon([&] { return any_attached_ == true && missing_.empty(); }));
  must("ip link del acc7");
  EXPECT_TRUE(soon([&] { return missing_ == std::vector<std::string>{"acc7: does not exist"}; }));
  EXPECT_TRUE(*any_attached_) << "there is another one";
  network_.reset();
  EXPECT_TRUE(soon([&] { return missing_.size() == 2; }));
  EXPECT_FALSE(*any_attached_);
  must("ip link add acc7 type veth peer name acc8");
  EXPECT_TRUE(soon([&] { return attached("acc7", "ingress") && attached("acc7", "egress"); }));
  EXPECT_TRUE(soon([&] { return *any_attached_ && missing_.size() == 1; }));
  network_.emplace();
  EXPECT_TRUE(soon([&] { return missing_.empty(); }));
  EXPECT_TRUE(attached("client0", "egress"));

  must("ip link set acc7 name acc9 && ip link add acc7 type bridge");
  EXPECT_TRUE(soon([&] { return attached("acc7", "egress"); }));
  EXPECT_TRUE(attached("acc9", "egress")) << "packets may still come there";
  kernel_->close();
  for (const char* device : {"acc7", "acc9"})
    EXPECT_FALSE(has(output(std::string("tc qdisc show dev ") + device), "clsact"));
  must("ip link del acc7 && ip link del acc9");
}

TEST_F(KernelPathTest, devices_that_somebody_sets_down_or_deletes_come_back) {
  open();
  const auto up = [](const char* device) { return has(output(std::string("ip link show ") + device), ",UP"); };
  must("ip link set suture-vx down");
  EXPECT_TRUE(soon([&] { return up("suture-vx"); }));
  must("ip link del suture-vx");
  EXPECT_TRUE(soon([&] { return up("suture-vx") && attached("suture-vx", "ingress"); }));
  auto& routes = kernel_->routes();
  for (const auto& vip : options_.vips) {
    EXPECT_FALSE(*routes.present(vip)) << "not yet";
    ASSERT_TRUE(routes.add(vip));
    EXPECT_TRUE(*routes.present(vip));
  }
  must("ip link set suture0 down");
  for (const auto& vip : options_.vips)
    EXPECT_FALSE(*routes.present(vip)) << "the kernel removes a down device's routes";
  EXPECT_TRUE(soon([&] { return up("suture0"); }));
  for (const auto& vip : options_.vips) {
    ASSERT_TRUE(routes.add(vip));
    EXPECT_TRUE(*routes.present(vip));
    must("ip route del " + vip.to_string() + " table 199");
    EXPECT_FALSE(*routes.present(vip));
    must("ip route add " + vip.to_string() + " dev client0 table 199 proto 199 metric 5");
    EXPECT_FALSE(*routes.present(vip)) << "another device's";
    must("ip route del " + vip.to_string() + " table 199");
    must("ip route add " + vip.to_string() + " dev suture0 table 198 proto 199");
    EXPECT_FALSE(*routes.present(vip)) << "another table's";
  }
}

TEST_F(KernelPathTest, vips_that_somebody_removes_come_back) {
  options_.vips = {boost::asio::ip::make_address(kOwnVip4), boost::asio::ip::make_address(kOwnVip6)};
  auto opened = KernelPath::open(options_);
  ASSERT_TRUE(opened) << opened.error().message;
  kernel_ = std::move(*opened);
  kernel_->start(
      io_, [](std::span<const std::uint8_t>) {}, [](const suture_event&) {});
  must(std::string("ip addr del ") + kOwnVip4 + "/32 dev lo && ip addr del " + kOwnVip6 + "/128 dev lo");
  EXPECT_TRUE(
      soon([&] { return has(output("ip addr show lo"), kOwnVip4) && has(output("ip addr show lo"), kOwnVip6); }));
}

TEST_F(KernelPathTest, what_a_killed_process_added_goes_with_the_next_one) {
  options_.vips = {boost::asio::ip::make_address(kOwnVip4), boost::asio::ip::make_address(kOwnVip6),
                   boost::asio::ip::make_address(kVip4)};
  for (int life = 0; life < 2; ++life) {
    const pid_t child = ::fork();
    if (child == 0) {
      const auto opened = KernelPath::open(options_);
      ::_exit(opened ? 0 : 1);  // no destructor
    }
    int status = -1;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_EQ(status, 0);
  }
  const auto left = output("ip addr show lo");
  EXPECT_TRUE(has(left, kOwnVip4) && has(left, kOwnVip6) && attached("client0", "egress"));
  auto opened = KernelPath::open(options_);
  ASSERT_TRUE(opened) << opened.error().message;
  (*opened)->close();
  const auto after = output("ip addr show lo");
  EXPECT_FALSE(has(after, kOwnVip4) || has(after, kOwnVip6)) << after;
  EXPECT_TRUE(has(after, kVip4)) << "an operator's";
  EXPECT_FALSE(has(output("tc qdisc show dev client0"), "clsact"));
}

TEST_F(KernelPathTest, one_suture_per_network_namespace) {
  must("ip link add acc7 type veth peer name acc8");
  options_.interfaces = {"client0", "acc7"};
  open();
  const auto filters = output("tc filter show dev acc7 egress") + output("tc filter show dev client0 ingress");
  auto other = options_;
  other.tun_device = "suture1";
  other.vxlan_device = "suture-vx1";
  other.vxlan_port = 7202;
  other.ports = {81};
  const std::string own_pid = "another suture, pid " + std::to_string(::getpid()) + " (";
  std::string said;
  for (int i = 0; i < 300; ++i) {  // more than wait in the lock's queue
    const auto refused = KernelPath::open(other);
    ASSERT_FALSE(refused);
    said = refused.error().message;
    if (i == 0) {
      EXPECT_TRUE(has(said, own_pid)) << said;
    }
  }
  EXPECT_TRUE(has(said, "another suture, of unknown pid")) << said;
  EXPECT_TRUE(soon([&] {  // until the next look has emptied the queue
    const auto refused = KernelPath::open(other);
    return !refused && has(refused.error().message, own_pid);
  }));
  EXPECT_EQ(output("tc filter show dev acc7 egress") + output("tc filter show dev client0 ingress"), filters);
  EXPECT_FALSE(has(output("ip -br link"), "suture1"));
  kernel_->close();
  kernel_.reset();
  auto next = KernelPath::open(other);
  EXPECT_TRUE(next) << next.error().message;
  if (next) (*next)->close();
  must("ip link del acc7");
}

}  // namespace
}  // namespace suture::packet_test
