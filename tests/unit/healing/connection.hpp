// One connection across the wire (wire.hpp): a client's socket, and the owner's at the PoP as the product makes it.
#pragma once

#include <cstring>
#include <string>

#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include <suture/ids.hpp>

#include "proxy/healing/nudge.hpp"
#include "proxy/healing/rebuild.hpp"
#include "proxy/healing/tcp_repair.hpp"
#include "tests/unit/healing/wire.hpp"

namespace suture::healing::test {

inline bool set_int(int fd, int level, int name, int value) {
  return ::setsockopt(fd, level, name, &value, sizeof value) == 0;
}
inline int get_int(int fd, int level, int name) {
  int value = -1;
  socklen_t size = sizeof value;
  EXPECT_EQ(::getsockopt(fd, level, name, &value, &size), 0) << std::strerror(errno);
  return value;
}
inline tcp_info info_of(int fd) {
  tcp_info info{};
  socklen_t size = sizeof info;
  EXPECT_EQ(::getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size), 0);
  return info;
}
inline int unsent_or_unacked(int fd) {
  int bytes = -1;
  EXPECT_EQ(::ioctl(fd, SIOCOUTQ, &bytes), 0);
  return bytes;
}

// Bytes that name their own place, so that a shift shows.
inline std::string pattern(std::size_t size, unsigned seed = 0) {
  std::string out;
  out.reserve(size + 16);
  for (unsigned n = seed * 1000000; out.size() < size; ++n) out += std::to_string(n) + ',';
  out.resize(size);
  return out;
}

struct Connection {
  Wire& wire = Wire::instance();
  bool v6 = false;
  int listener = -1, client = -1, owner = -1;
  ConnFacts facts;
  SlotClock clock;

  explicit Connection(bool ipv6) : v6(ipv6) {}
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  ~Connection() {
    silence(owner);
    silence(client);
    silence(listener);
    wire.take();
  }

  static void silence(int& fd) {
    if (fd < 0) return;
    set_int(fd, IPPROTO_TCP, TCP_REPAIR, 1);
    ::close(fd);
    fd = -1;
  }

  boost::asio::ip::tcp::endpoint vip() const {
    return {boost::asio::ip::make_address(v6 ? Wire::kVip6 : Wire::kVip4), 80};
  }

  int new_listener() {
    const InNamespace in(wire.pop_ns());
    const int fd = ::socket(v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    EXPECT_TRUE(set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1) && set_int(fd, SOL_SOCKET, SO_REUSEPORT, 1));
    EXPECT_TRUE(set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1) && set_int(fd, IPPROTO_TCP, TCP_SAVE_SYN, 1));
    if (v6) {
      EXPECT_TRUE(set_int(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1));
    }
    const auto address = vip();
    EXPECT_EQ(::bind(fd, address.data(), static_cast<socklen_t>(address.size())), 0) << std::strerror(errno);
    EXPECT_EQ(::listen(fd, 16), 0);
    return fd;
  }

  void establish() {
    listener = new_listener();
    {
      const InNamespace in(wire.client_ns());
      client = ::socket(v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
      const auto address = vip();
      ::connect(client, address.data(), static_cast<socklen_t>(address.size()));
    }
    ASSERT_TRUE(wire.pump([this] { return (owner = ::accept4(listener, nullptr, nullptr, SOCK_NONBLOCK)) >= 0; }));
    SlotAcceptHook hook(NodeId{3}, clock);
    const auto read = hook.on_accept(owner);
    ASSERT_TRUE(read) << read.error().message;
    facts = *read;
  }

  // `bytes` from one socket to the other, all of them acknowledged at the end.
  void send(int from, int to, const std::string& bytes, const std::function<bool(const Passing&)>& pass = {}) {
    std::size_t sent = 0;
    std::string got;
    const auto done = [&] {
      if (sent < bytes.size()) {
        const auto n = ::send(from, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
        if (n > 0) sent += static_cast<std::size_t>(n);
      }
      char buffer[65536];
      for (ssize_t n; (n = ::recv(to, buffer, sizeof buffer, 0)) > 0;) got.append(buffer, static_cast<std::size_t>(n));
      return got.size() >= bytes.size() && unsent_or_unacked(from) == 0;
    };
    ASSERT_TRUE(wire.pump(done, pass)) << sent << " sent, " << got.size() << " arrived of " << bytes.size();
    ASSERT_TRUE(got == bytes) << "the bytes differ";
  }

  // The owner is gone, without a word; what it had in flight is lost.
  void owner_dies() {
    silence(owner);
    wire.take();
  }

  // What the client says to a fence at (c, l): c, S, window and echo are in its answer, which is also kept as a packet.
  Passing fence(std::uint32_t c, std::uint32_t l, std::uint32_t tsval) {
    Nudge nudge{facts.key, c - 1, l, std::nullopt, facts.flow_label};
    if (facts.timestamps) nudge.timestamps = Timestamps{tsval, 0};
    EXPECT_TRUE(wire.client().write(build_nudge(nudge)));
    std::vector<Passing> answers = wire.take(1);
    EXPECT_EQ(answers.size(), 1U) << "one answer, at once";
    return answers.empty() ? Passing{} : answers.front();
  }

  Result<Rebuilt> rebuild(const RebuildSpec& spec, const Syscalls& syscalls = {}) {
    const InNamespace in(wire.pop_ns());
    return rebuild_socket(spec, syscalls);
  }
};

}  // namespace suture::healing::test
