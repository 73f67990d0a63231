#include "proxy_fixture.hpp"

namespace suture::test {
namespace {

class TcpSessionTest : public ProxyTest {
 protected:
  TcpSessionTest() { options.listeners[0].mode = SessionMode::tcp; }
};

TEST_F(TcpSessionTest, RelaysBothWaysWithHalfClose) {
  start();
  Peer client = connect_and_send("\0hello");
  client.send("hello");
  Peer app = application.accept();
  EXPECT_EQ(app.read_bytes(5), "hello");
  app.send("welcome");
  EXPECT_EQ(client.read_bytes(7), "welcome");
  client.half_close();
  EXPECT_TRUE(app.at_eof());
  app.send("after");
  EXPECT_EQ(client.read_bytes(5), "after");
  app.close();
  EXPECT_TRUE(client.at_eof());
  EXPECT_TRUE(eventually([&] { return worker->active() == 0 && sink.erased() == 1; }));
}

TEST_F(TcpSessionTest, ServerMayHalfCloseFirst) {
  start();
  Peer client = connect();
  Peer app = application.accept();
  app.send("bye");
  app.half_close();
  EXPECT_EQ(client.read_all(), "bye");
  client.send("more");
  EXPECT_EQ(app.read_bytes(4), "more");
  client.close();
  EXPECT_TRUE(app.at_eof());
  EXPECT_TRUE(eventually([&] { return worker->active() == 0; }));
}

TEST_F(TcpSessionTest, ResetsPassThroughBothWays) {
  start();
  Peer client = connect();
  Peer app = application.accept();
  app.send("x");
  client.read_bytes(1);
  app.reset();
  client.read_all();
  EXPECT_EQ(client.last_errno(), ECONNRESET);

  Peer client2 = connect();
  Peer app2 = application.accept();
  app2.send("x");
  client2.read_bytes(1);
  client2.reset();
  app2.read_all();
  EXPECT_EQ(app2.last_errno(), ECONNRESET);
}

TEST_F(TcpSessionTest, ApplicationDownIsAReset) {
  application.stop_listening();
  start();
  Peer client = connect();
  client.read_all();
  EXPECT_EQ(client.last_errno(), ECONNRESET);
}

TEST_F(TcpSessionTest, IdleTimeout) {
  options.timeouts.tcp_idle_ms = 150;
  start();
  Peer client = connect();
  Peer app = application.accept();
  EXPECT_TRUE(client.at_eof());
  EXPECT_TRUE(eventually([&] { return metric("suture_closes_total", "cause=\"idle_timeout\"") == 1; }));
}

// A side that has said FIN, and nothing from the other: the time-out of whole connections does not count.
TEST_F(TcpSessionTest, HalfClosedByTheClientAndSilent) {
  options.half_closed_idle = Millis{150};
  start();
  Peer client = connect_and_send("x");
  Peer app = application.accept();
  app.read_bytes(1);
  client.half_close();
  EXPECT_TRUE(app.at_eof());
  EXPECT_TRUE(client.at_eof());
  EXPECT_TRUE(eventually([&] { return metric("suture_closes_total", "cause=\"idle_timeout\"") == 1; }));
}

TEST_F(TcpSessionTest, HalfClosedByTheApplicationAndSilent) {
  options.half_closed_idle = Millis{150};
  start();
  Peer client = connect();
  Peer app = application.accept();
  app.half_close();
  EXPECT_TRUE(client.at_eof());
  EXPECT_TRUE(app.at_eof()) << "the client, which says nothing, still holds the connection";
  EXPECT_TRUE(eventually([&] { return metric("suture_closes_total", "cause=\"idle_timeout\"") == 1; }));
}

TEST_F(TcpSessionTest, OnlyHalfClosedConnectionsEndThatSoon) {
  options.half_closed_idle = Millis{150};
  start();
  Peer whole = connect();
  Peer app_of_whole = application.accept();
  Peer half = connect();
  Peer app_of_half = application.accept();
  half.half_close();
  EXPECT_TRUE(half.at_eof());  // its time, the later one to begin, has passed
  whole.send("x");
  EXPECT_EQ(app_of_whole.read_bytes(1), "x");
}

// What the client sent waits for an application that reads nothing: no read of ours will tell of the reset.
TEST_F(TcpSessionTest, AResetIsNoticedWhileTheApplicationDoesNotRead) {
  start();
  Peer client = connect();
  Peer app = application.accept();
  const std::string block(1 << 16, 'y');
  const timeval brief{0, 300000};
  ::setsockopt(client.fd(), SOL_SOCKET, SO_SNDTIMEO, &brief, sizeof brief);
  std::size_t sent = 0;
  for (ssize_t n = 0; sent < (64U << 20) && (n = ::send(client.fd(), block.data(), block.size(), MSG_NOSIGNAL)) > 0;)
    sent += static_cast<std::size_t>(n);
  ASSERT_LT(sent, 64U << 20) << "nothing waits";
  EXPECT_EQ(worker->active(), 1U);
  client.reset();
  EXPECT_TRUE(eventually([&] { return worker->active() == 0 && sink.erased() == 1; }));
  EXPECT_EQ(metric("suture_closes_total", "cause=\"client_reset\""), 1);
}

TEST_F(TcpSessionTest, SlowReaderStopsTheSender) {
  start();
  Peer client = connect(8192);
  Peer app = application.accept();
  const std::string block(1 << 16, 'y');
  std::size_t sent = 0;
  const timeval brief{0, 300000};
  ::setsockopt(app.fd(), SOL_SOCKET, SO_SNDTIMEO, &brief, sizeof brief);
  for (ssize_t n = 0; sent < (64U << 20) && (n = ::send(app.fd(), block.data(), block.size(), MSG_NOSIGNAL)) > 0;)
    sent += static_cast<std::size_t>(n);
  EXPECT_LT(sent, 64U << 20);
  app.half_close();
  EXPECT_EQ(client.read_all().size(), sent);
}

}  // namespace
}  // namespace suture::test
