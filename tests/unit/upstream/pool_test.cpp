#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#include <proxy/upstream/pool.hpp>

namespace suture {
namespace {

struct User final : UpstreamUser {
  void on_upstream_events(UpstreamConnection&) override { ++events; }
  int events = 0;
};

class PoolTest : public ::testing::Test {
 protected:
  PoolTest() {
    listener_ = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in name{};
    name.sin_family = AF_INET;
    name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ::bind(listener_, reinterpret_cast<sockaddr*>(&name), sizeof name);
    ::listen(listener_, 16);
    socklen_t size = sizeof name;
    ::getsockname(listener_, reinterpret_cast<sockaddr*>(&name), &size);
    address = config::TcpEndpoint(boost::asio::ip::make_address("127.0.0.1"), ntohs(name.sin_port));
  }
  ~PoolTest() override { ::close(listener_); }
  // A connection that has served an exchange.
  std::unique_ptr<UpstreamConnection> connected(UpstreamPool& pool, int& theirs) {
    auto connection = pool.connect(user);
    EXPECT_TRUE(connection);
    theirs = ::accept(listener_, nullptr, nullptr);
    EXPECT_GE(theirs, 0);
    EXPECT_EQ(UpstreamPool::finish_connect(**connection), 0);
    return std::move(*connection);
  }
  int listener_ = -1;
  config::TcpEndpoint address;
  EventLoop loop;
  UpstreamMetrics metrics;
  User user;
};

TEST_F(PoolTest, LastUsedFirstAndBounded) {
  UpstreamPool pool(loop, address, 2, Millis(1000), metrics);
  int fds[3];
  std::unique_ptr<UpstreamConnection> c[3];
  for (int i = 0; i < 3; ++i) c[i] = connected(pool, fds[i]);
  UpstreamConnection* last = c[2].get();
  for (auto& connection : c) pool.give_back(std::move(connection));
  EXPECT_EQ(pool.idle(), 2U);
  auto taken = pool.take_idle(user);
  EXPECT_EQ(taken.get(), last);
  EXPECT_TRUE(taken->reused());
  dispose(std::move(taken));
  for (const int fd : fds) ::close(fd);
}

TEST_F(PoolTest, DropsWhatTheApplicationClosedOrSpokeOn) {
  UpstreamPool pool(loop, address, 8, Millis(1000), metrics);
  for (const bool speaks : {false, true}) {
    int theirs = -1;
    auto connection = connected(pool, theirs);
    UpstreamConnection* raw = connection.get();
    pool.give_back(std::move(connection));
    ASSERT_EQ(pool.idle(), 1U);
    if (speaks) {
      ASSERT_EQ(::send(theirs, "x", 1, 0), 1);
    } else {
      ::shutdown(theirs, SHUT_WR);
    }
    raw->on_events(speaks ? EPOLLIN : EPOLLIN | EPOLLRDHUP);
    EXPECT_EQ(pool.idle(), 0U);
    ::close(theirs);
  }
  EXPECT_EQ(pool.take_idle(user), nullptr);
}

TEST_F(PoolTest, OwnedConnectionsAreTheirOwnersOnly) {
  UpstreamPool pool(loop, address, 8, Millis(1000), metrics);
  int fds[4];
  UpstreamConnection* raw[4];
  const std::uint64_t owners[4] = {7, UpstreamPool::kAnybody, 7, 8};
  for (int i = 0; i < 4; ++i) {
    auto connection = connected(pool, fds[i]);
    raw[i] = connection.get();
    pool.give_back(std::move(connection), owners[i]);
  }
  EXPECT_EQ(pool.take_idle(user, 9), nullptr);
  auto anybodys = pool.take_idle(user);
  EXPECT_EQ(anybodys.get(), raw[1]);
  EXPECT_EQ(pool.take_idle(user), nullptr);
  auto sevens = pool.take_idle(user, 7);
  EXPECT_EQ(sevens.get(), raw[2]);
  pool.give_back(std::move(anybodys), 8);
  pool.give_back(std::move(sevens), 7);
  pool.drop_owned(7);
  EXPECT_EQ(pool.idle(), 2U);
  EXPECT_EQ(metrics.idle.value(), 2);
  EXPECT_EQ(pool.take_idle(user, 7), nullptr);
  dispose(pool.take_idle(user, 8));
  dispose(pool.take_idle(user, 8));
  EXPECT_EQ(pool.idle(), 0U);
  for (const int fd : fds) ::close(fd);
}

TEST_F(PoolTest, AgeLimit) {
  UpstreamPool pool(loop, address, 8, Millis(1000), metrics);
  int theirs = -1;
  pool.give_back(connected(pool, theirs));
  pool.expire(loop.now() + Millis(999));
  EXPECT_EQ(pool.idle(), 1U);
  pool.expire(loop.now() + Millis(1001));
  EXPECT_EQ(pool.idle(), 0U);
  ::close(theirs);
}

TEST_F(PoolTest, RefusedConnectIsReported) {
  ::close(std::exchange(listener_, ::socket(AF_INET, SOCK_STREAM, 0)));
  UpstreamPool pool(loop, address, 8, Millis(1000), metrics);
  auto connection = pool.connect(user);
  if (connection) {
    EXPECT_EQ(UpstreamPool::finish_connect(**connection), ECONNREFUSED);
    dispose(std::move(*connection));
  } else {
    EXPECT_EQ(connection.error().errno_value, ECONNREFUSED);
  }
}

TEST_F(PoolTest, MissingUnixSocketIsRefused) {
  UpstreamPool pool(loop, config::UnixPath{"/nonexistent/socket"}, 8, Millis(1000), metrics);
  auto connection = pool.connect(user);
  ASSERT_FALSE(connection);
  EXPECT_EQ(&metrics.of_errno(connection.error().errno_value), &metrics.error_refused);
}

}  // namespace
}  // namespace suture
