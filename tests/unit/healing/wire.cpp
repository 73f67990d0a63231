#include "tests/unit/healing/wire.hpp"

#include <array>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <sstream>

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <unistd.h>

namespace suture::healing::test {
namespace {

constexpr std::chrono::seconds kPatience{10};

void must(bool ok, const std::string& what) {
  if (ok) return;
  std::cerr << "failed: " << what << " (these tests need root and /dev/net/tun)\n";
  std::abort();
}

int current_namespace() {
  const int fd = ::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
  must(fd >= 0, "open the network namespace");
  return fd;
}

int new_namespace(const std::string& device, const std::string& commands, std::optional<datapath::Tun>& tun) {
  must(::unshare(CLONE_NEWNET) == 0, "unshare(CLONE_NEWNET)");
  must(std::system("ip link set lo up") == 0, "ip link set lo up");
  auto opened = datapath::Tun::open(device);
  must(opened.has_value(), opened ? "" : opened.error().message);
  tun = std::move(*opened);
  must(std::system(commands.c_str()) == 0, commands);
  return current_namespace();
}

}  // namespace

InNamespace::InNamespace(int ns) : before_(current_namespace()) {
  must(::setns(ns, CLONE_NEWNET) == 0, "setns");
}

InNamespace::~InNamespace() {
  must(::setns(before_, CLONE_NEWNET) == 0, "setns");
  ::close(before_);
}

Wire& Wire::instance() {
  static Wire wire;
  return wire;
}

Wire::Wire() {
  const int before = current_namespace();
  client_ns_ = new_namespace("client0",
                             "ip addr add 192.0.2.7/32 dev client0 && ip addr add 2001:db8::7/128 dev client0 nodad && "
                             "ip route add default dev client0 && ip -6 route add default dev client0",
                             client_);
  pop_ns_ = new_namespace("pop0",
                          "ip addr add 203.0.113.10/32 dev lo && ip addr add 2001:db8:113::10/128 dev lo nodad && "
                          "ip route add default dev pop0 && ip -6 route add default dev pop0 && "
                          "echo 1 > /proc/sys/net/ipv6/flowlabel_reflect",
                          pop_);
  must(::setns(before, CLONE_NEWNET) == 0, "setns");
  ::close(before);
}

std::vector<Passing> Wire::read_all() {
  std::vector<Passing> out;
  std::array<std::uint8_t, 65536> buffer{};
  for (datapath::Tun* tun : {&*client_, &*pop_}) {
    for (;;) {
      const auto size = tun->read(buffer);
      must(size.has_value(), "read from a TUN device");
      if (*size == 0) break;
      Passing one{tun == &*client_, Bytes(buffer.begin(), buffer.begin() + static_cast<std::ptrdiff_t>(*size)), {}};
      auto segment = parse_segment(one.packet);
      if (!segment) continue;  // router solicitations and the like
      one.segment = std::move(*segment);
      out.push_back(std::move(one));
    }
  }
  return out;
}

void Wire::wait() const {
  std::array<pollfd, 2> fds{pollfd{client_->fd(), POLLIN, 0}, pollfd{pop_->fd(), POLLIN, 0}};
  ::poll(fds.data(), fds.size(), 20);
}

std::vector<Passing> Wire::take(std::size_t at_least) {
  const auto end = std::chrono::steady_clock::now() + kPatience;
  auto out = read_all();
  while (out.size() < at_least && std::chrono::steady_clock::now() < end) {
    wait();
    for (auto& one : read_all()) out.push_back(std::move(one));
  }
  return out;
}

bool Wire::pump(const std::function<bool()>& done, const std::function<bool(const Passing&)>& pass) {
  const auto end = std::chrono::steady_clock::now() + kPatience;
  while (!done()) {
    if (std::chrono::steady_clock::now() > end) return false;
    wait();
    for (const auto& one : read_all()) {
      if (pass && !pass(one)) continue;
      must((one.from_client ? *pop_ : *client_).write(one.packet).has_value(), "write to a TUN device");
    }
  }
  return true;
}

std::uint64_t Wire::pop_segments_sent() const {
  const InNamespace in(pop_ns_);
  std::ifstream file("/proc/thread-self/net/snmp");
  std::string names, values;
  for (std::string line; std::getline(file, line);) {
    if (line.rfind("Tcp:", 0) == 0) (names.empty() ? names : values) = line;
  }
  std::istringstream name(names), value(values);
  std::uint64_t sum = 0;
  for (std::string n, v; name >> n && value >> v;) {
    if (n == "OutSegs" || n == "OutRsts") sum += std::stoull(v);
  }
  must(sum > 0, "read /proc/net/snmp after a connection");
  return sum;
}

void Wire::client_sysctl(const std::string& name, int value) {
  const InNamespace in(client_ns_);
  std::ofstream file("/proc/sys/net/ipv4/" + name);
  file << value << std::flush;
  must(file.good(), "set " + name);
}

}  // namespace suture::healing::test
