// Devices, filters, addresses and routes: made, adopted after an unclean exit, removed; and what each refusal says.
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "proxy/datapath/address.hpp"
#include "proxy/datapath/link.hpp"
#include "proxy/datapath/netlink.hpp"
#include "proxy/datapath/route.hpp"
#include "proxy/datapath/sysctl.hpp"
#include "tests/packet/steering_fixture.hpp"

namespace suture::packet_test {
namespace {

namespace ip = boost::asio::ip;
using datapath::Tun;
using datapath::Tunnel;

class Lifecycle : public SteeringTest {
 protected:
  void SetUp() override {}  // each test makes what it needs; the suite's namespace is there
};

TEST_F(Lifecycle, tunnel_is_made_adopted_replaced_and_removed) {
  auto first = Tunnel::open({});
  ASSERT_TRUE(first) << first.error().message;
  EXPECT_FALSE(first->adopted());
  EXPECT_EQ(*datapath::read_sysctl("net/ipv4/conf/suture-vx/rp_filter"), 0);
  auto again = Tunnel::open({});  // the first one's process has died
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_TRUE(again->adopted());
  EXPECT_EQ(again->ifindex(), first->ifindex());
  auto moved = Tunnel::open({.port = 7200});
  ASSERT_TRUE(moved) << moved.error().message;
  EXPECT_FALSE(moved->adopted());
  const auto link = datapath::find_link("suture-vx");
  ASSERT_TRUE(link && *link);
  EXPECT_EQ((*link)->vxlan_port, 7200);
  EXPECT_TRUE((*link)->vxlan_external && (*link)->vxlan_udp6_zero_checksum_rx && (*link)->up);
  EXPECT_TRUE(moved->remove());
  EXPECT_TRUE(moved->remove()) << "twice is no error";
  EXPECT_FALSE(datapath::find_link("suture-vx")->has_value());
}

TEST_F(Lifecycle, vxlan_port_taken) {
  must("ip link add other0 type vxlan id 7 dstport 7102 dev lo && ip link set other0 up");
  const auto by_device = Tunnel::open({});
  ASSERT_FALSE(by_device);
  EXPECT_TRUE(has(by_device.error().message, "VXLAN port 7102 is taken by device other0")) << by_device.error().message;
  must("ip link del other0");

  const datapath::FileDescriptor socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_in any{};
  any.sin_family = AF_INET;
  any.sin_port = htons(7102);
  ASSERT_EQ(::bind(socket.get(), reinterpret_cast<const sockaddr*>(&any), sizeof any), 0);
  const auto by_socket = Tunnel::open({});
  ASSERT_FALSE(by_socket);
  EXPECT_TRUE(has(by_socket.error().message, "VXLAN port 7102 is taken by another program"))
      << by_socket.error().message;
  EXPECT_FALSE(datapath::find_link("suture-vx")->has_value()) << "nothing is left behind";
}

TEST_F(Lifecycle, tunnel_name_taken) {
  must("ip link add suture-vx type bridge");
  const auto refused = Tunnel::open({});
  ASSERT_FALSE(refused);
  EXPECT_TRUE(has(refused.error().message, "exists and is not a VXLAN device")) << refused.error().message;
  must("ip link del suture-vx");
}

TEST_F(Lifecycle, loose_check_where_all_is_on) {
  must("echo 1 > /proc/sys/net/ipv4/conf/all/rp_filter");
  auto tunnel = Tunnel::open({});
  ASSERT_TRUE(tunnel) << tunnel.error().message;
  EXPECT_EQ(*datapath::read_sysctl("net/ipv4/conf/suture-vx/rp_filter"), 2);
  must("echo 0 > /proc/sys/net/ipv4/conf/all/rp_filter");
  EXPECT_TRUE(tunnel->remove());
}

TEST_F(Lifecycle, tun_lives_as_long_as_its_descriptor) {
  auto netlink = datapath::Netlink::open(NETLINK_ROUTE);
  ASSERT_TRUE(netlink) << netlink.error().message;
  {
    auto tun = Tun::open("suture0");
    ASSERT_TRUE(tun) << tun.error().message;
    EXPECT_EQ(tun->ifindex(), ::if_nametoindex("suture0"));
    EXPECT_TRUE(::fcntl(tun->fd(), F_GETFD) & FD_CLOEXEC);
    const auto second = Tun::open("suture0");
    ASSERT_FALSE(second);
    EXPECT_TRUE(has(second.error().message, "in use")) << second.error().message;
    const datapath::DeviceRoute route{ip::make_address(kVip4), tun->ifindex(), 199, 199};
    const datapath::DeviceRoute route6{ip::make_address(kVip6), tun->ifindex(), 199, 199};
    for (const auto& r : {route, route6}) {
      const auto added = datapath::add_route(*netlink, r);
      ASSERT_TRUE(added) << added.error().message;
      EXPECT_TRUE(datapath::add_route(*netlink, r)) << "again";
    }
    EXPECT_TRUE(has(output("ip route show table 199"), "203.0.113.10 dev suture0 proto 199"));
    EXPECT_TRUE(has(output("ip -6 route show table 199"), "2001:db8:113::10 dev suture0 proto 199"));
    EXPECT_TRUE(datapath::delete_route(*netlink, route));
    EXPECT_TRUE(datapath::delete_route(*netlink, route)) << "twice is no error";
    EXPECT_FALSE(has(output("ip route show table 199"), "203.0.113.10"));
    EXPECT_TRUE(datapath::add_route(*netlink, route));
  }
  EXPECT_EQ(::if_nametoindex("suture0"), 0U);
  EXPECT_FALSE(has(output("ip route show table 199"), "203.0.113.10")) << "the kernel took the route with the device";
  EXPECT_FALSE(Tun::open("a-name-that-is-too-long"));
}

// What is injected meanwhile is lost and counted (NodeHealWorld, TunnelOutlet); TCP sends it again.
TEST_F(Lifecycle, a_tun_that_cannot_be_written_says_so_and_works_again) {
  auto tun = Tun::open("suture0");
  ASSERT_TRUE(tun) << tun.error().message;
  const auto packet = TcpPacket{"192.0.2.1", "198.51.100.10", 40000, 80}.ip();
  EXPECT_TRUE(tun->write(packet));
  must("ip link set suture0 down");
  const auto done = tun->write(packet);
  ASSERT_FALSE(done);
  EXPECT_TRUE(has(done.error().message, "write to TUN device suture0")) << done.error().message;
  EXPECT_EQ(done.error().errno_value, EIO);
  EXPECT_TRUE(*tun->restore());
  EXPECT_TRUE(tun->write(packet));
  must("ip link del suture0");
  EXPECT_FALSE(tun->write(packet)) << "gone for good";
}

TEST_F(Lifecycle, addresses) {
  const unsigned lo = ::if_nametoindex("lo");
  for (const char* text : {"203.0.113.99", "2001:db8:113::99"}) {
    const auto address = ip::make_address(text);
    EXPECT_EQ(*datapath::find_address(address), datapath::AddressOwner::nobody);
    const auto added = datapath::add_address(lo, address);
    ASSERT_TRUE(added) << added.error().message;
    EXPECT_TRUE(datapath::add_address(lo, address)) << "again";
    EXPECT_EQ(*datapath::find_address(address), datapath::AddressOwner::suture);
    EXPECT_TRUE(datapath::delete_address(lo, address));
    EXPECT_TRUE(datapath::delete_address(lo, address)) << "twice is no error";
    EXPECT_EQ(*datapath::find_address(address), datapath::AddressOwner::nobody);
    must(std::string("ip addr add ") + text + " dev lo");
    EXPECT_EQ(*datapath::find_address(address), datapath::AddressOwner::others);
    must(std::string("ip addr del ") + text + (address.is_v4() ? "/32" : "/128") + " dev lo");
  }
  EXPECT_FALSE(datapath::add_address(9999, ip::make_address("203.0.113.99")));
}

TEST_F(Lifecycle, steering_attaches_replaces_and_leaves_nothing) {
  must("ip link add acc0 type veth peer name acc1 && ip link set acc0 up && ip link set acc1 up");
  must("tc qdisc add dev acc1 clsact && tc filter add dev acc1 ingress prio 7 bpf bytecode '1,6 0 0 4294967295'");
  tunnel_ = std::move(*Tunnel::open({}));
  punts_ = std::move(*Tun::open("suture0"));
  auto l3 = Tun::open("wg0");
  ASSERT_TRUE(l3) << l3.error().message;
  auto c = config();
  c.interfaces = {"acc0", "acc1", "wg0"};
  load(c);
  if (HasFatalFailure()) return;
  EXPECT_TRUE(has(output("tc filter show dev acc0 ingress"), "ingress")) << output("tc filter show dev acc0 ingress");
  EXPECT_TRUE(has(output("tc filter show dev wg0 egress"), "egress_l3")) << output("tc filter show dev wg0 egress");
  steering_.reset();  // an unclean exit: the programs stay
  const auto left = output("tc filter show dev acc0 egress");
  EXPECT_TRUE(has(left, "egress")) << left;
  load(c);
  const auto replaced = output("tc filter show dev acc0 egress");
  EXPECT_NE(replaced, left);
  EXPECT_EQ(replaced.find("handle 0x537"), replaced.rfind("handle 0x537")) << "one filter, not two: " << replaced;
  EXPECT_TRUE(steering_->detach());
  for (const char* device : {"acc0", "acc1", "wg0", "suture-vx"})
    for (const char* side : {"ingress", "egress"})
      EXPECT_FALSE(has(output(std::string("tc filter show dev ") + device + " " + side), "0x537")) << device << side;
  EXPECT_TRUE(has(output("tc filter show dev acc1 ingress"), "pref 7")) << "another's filter stays";
  EXPECT_TRUE(has(output("tc qdisc show dev acc1"), "clsact"));

  load(c);  // attaches; acc0 keeps the clsact that the unclean exit left
  c.interfaces = {"nosuch0"};
  const auto unknown = datapath::Steering::load(c);
  ASSERT_FALSE(unknown);
  EXPECT_TRUE(has(unknown.error().message, "interface \"nosuch0\" does not exist")) << unknown.error().message;
  must("ip link del acc0");
  EXPECT_TRUE(steering_->detach()) << "a device that is gone is no error";
}

TEST_F(Lifecycle, clsact_that_we_made_goes_with_us) {
  must("ip link add acc2 type veth peer name acc3");
  tunnel_ = std::move(*Tunnel::open({}));
  punts_ = std::move(*Tun::open("suture0"));
  auto c = config();
  c.interfaces = {"acc2"};
  load(c);
  EXPECT_TRUE(has(output("tc qdisc show dev acc2"), "clsact"));
  EXPECT_TRUE(steering_->detach());
  EXPECT_FALSE(has(output("tc qdisc show dev acc2"), "clsact"));
  must("ip link del acc2");
}

TEST_F(Lifecycle, clsact_that_a_former_process_made_goes_too) {
  must("ip link add acc2 type veth peer name acc3 && tc qdisc add dev acc3 clsact");
  tunnel_ = std::move(*Tunnel::open({}));
  punts_ = std::move(*Tun::open("suture0"));
  auto c = config();
  c.interfaces = {"acc2", "acc3"};
  load(c);
  steering_.reset();  // killed
  load(c);
  steering_.reset();  // and again
  load(c);
  EXPECT_TRUE(steering_->detach());
  EXPECT_FALSE(has(output("tc qdisc show dev acc2"), "clsact"));
  EXPECT_TRUE(has(output("tc qdisc show dev acc3"), "clsact")) << "another's";
  load(c);
  must("tc filter add dev acc2 ingress prio 7 bpf bytecode '1,6 0 0 4294967295'");
  EXPECT_TRUE(steering_->detach());
  EXPECT_TRUE(has(output("tc filter show dev acc2 ingress"), "pref 7")) << "somebody else uses it by now";
  must("ip link del acc2");
}

TEST_F(Lifecycle, a_start_that_fails_halfway_takes_back_what_it_attached) {
  must("ip link add acc4 type veth peer name acc5 && tc qdisc add dev acc5 ingress");
  tunnel_ = std::move(*Tunnel::open({}));
  punts_ = std::move(*Tun::open("suture0"));
  const auto filters = [](const std::string& device) {
    return output("tc filter show dev " + device + " ingress") + output("tc filter show dev " + device + " egress");
  };
  auto c = config();
  c.interfaces = {"acc4", "acc5"};
  const auto refused = datapath::Steering::load(c);
  ASSERT_FALSE(refused);
  EXPECT_TRUE(has(refused.error().message, "tc qdisc del dev acc5 ingress")) << refused.error().message;
  for (const char* device : {"acc4", "acc5", "suture-vx"}) EXPECT_FALSE(has(filters(device), "0x537")) << device;
  EXPECT_FALSE(has(output("tc qdisc show dev acc4"), "clsact"));

  c.interfaces = {"acc4"};
  load(c);
  steering_.reset();  // killed: its filters keep its sockets silent, until a start succeeds
  c.interfaces = {"acc4", "acc5"};
  EXPECT_FALSE(datapath::Steering::load(c));
  EXPECT_TRUE(has(filters("acc4"), "0x537"));
  EXPECT_TRUE(has(filters("suture-vx"), "0x537"));
  must("ip link del acc4");
}

TEST_F(Lifecycle, wrong_configuration_is_refused_in_words) {
  tunnel_ = std::move(*Tunnel::open({}));
  punts_ = std::move(*Tun::open("suture0"));
  auto c = config();
  c.vni_base = 0x537501;
  EXPECT_TRUE(has(datapath::Steering::load(c).error().message, "vni_base"));
  c = config();
  c.fin_mark = c.rst_mark;
  EXPECT_TRUE(has(datapath::Steering::load(c).error().message, "single bits"));
  c = config();
  c.vxlan_ifindex = 9999;
  EXPECT_TRUE(has(datapath::Steering::load(c).error().message, "VXLAN device"));
}

}  // namespace
}  // namespace suture::packet_test
