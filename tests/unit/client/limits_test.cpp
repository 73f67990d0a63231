// Bad input, limits and time-outs: each has its status, its counter, and an end that the client can read.
#include "proxy_fixture.hpp"

namespace suture::test {
namespace {

class LimitsTest : public ProxyTest {};

TEST_F(LimitsTest, GarbageIs400) {
  start();
  for (const std::string& bytes : {std::string("\x16\x03\x01\x02"), std::string("GET / HTTP/1.1\nHost: a\n\n"),
                                   std::string("GET / HTTP/1.1\r\n\r\n"),
                                   std::string("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: "
                                               "chunked\r\n\r\n0\r\n\r\n")}) {
    Peer client = connect_and_send(bytes);
    const auto answer = client.read_all();
    EXPECT_EQ(answer.substr(0, 12), "HTTP/1.1 400") << bytes;
    EXPECT_NE(answer.find("X-Served-By: pop7"), std::string::npos);
  }
  EXPECT_EQ(metric("suture_rejected_total", "reason=\"malformed\""), 4);
  EXPECT_EQ(metric("suture_upstream_connects_total"), 0);
}

TEST_F(LimitsTest, BadChunkInARequestIs400) {
  start();
  Peer client = connect_and_send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n");
  EXPECT_EQ(client.read_all().substr(0, 12), "HTTP/1.1 400");
}

TEST_F(LimitsTest, LongHeadIs431) {
  options.listeners[0].limits.request_head_bytes_max = 1000;
  start();
  Peer complete = connect_and_send("GET / HTTP/1.1\r\nHost: a\r\nX: " + std::string(1000, 'x') + "\r\n\r\n");
  EXPECT_EQ(complete.read_all().substr(0, 12), "HTTP/1.1 431");
  Peer endless = connect_and_send("GET / HTTP/1.1\r\nHost: a\r\nX: " + std::string(1000, 'x'));
  EXPECT_EQ(endless.read_all().substr(0, 12), "HTTP/1.1 431");
}

TEST_F(LimitsTest, LargeBodyIs413) {
  options.listeners[0].limits.request_body_bytes_max = 10;
  start();
  Peer announced = connect_and_send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n");
  EXPECT_EQ(announced.read_all().substr(0, 12), "HTTP/1.1 413");
  Peer chunked =
      connect_and_send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n01234567890\r\n");
  EXPECT_EQ(chunked.read_all().substr(0, 12), "HTTP/1.1 413");
  EXPECT_EQ(metric("suture_rejected_total", "reason=\"body_too_large\""), 2);
}

TEST_F(LimitsTest, LongResponseHeadIs502) {
  options.listeners[0].limits.response_head_bytes_max = 500;
  start();
  Peer client = connect_and_send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  Peer app = application.accept();
  app.read_head();
  app.send("HTTP/1.1 200 OK\r\nX: " + std::string(600, 'x'));
  EXPECT_EQ(client.read_all().substr(0, 12), "HTTP/1.1 502");
}

TEST_F(LimitsTest, SlowHeadIs408AndSilentClientIsClosed) {
  options.timeouts.request_head_ms = 150;
  start();
  Peer silent = connect();
  Peer slow = connect_and_send("GET / HT");
  EXPECT_EQ(slow.read_all().substr(0, 12), "HTTP/1.1 408");
  EXPECT_EQ(silent.read_all(), "");
  EXPECT_EQ(silent.last_errno(), 0);
}

TEST_F(LimitsTest, SlowBodyIs408) {
  options.timeouts.request_body_ms = 150;
  start();
  Peer client = connect_and_send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc");
  EXPECT_EQ(client.read_all().substr(0, 12), "HTTP/1.1 408");
}

TEST_F(LimitsTest, SilentApplicationIs504) {
  options.timeouts.response_ms = 150;
  start();
  Peer client = connect_and_send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_EQ(client.read_all().substr(0, 12), "HTTP/1.1 504");
}

TEST_F(LimitsTest, IdleKeepAliveIsClosed) {
  options.timeouts.keep_alive_ms = 150;
  start();
  Peer client = connect_and_send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  Peer app = application.accept();
  app.read_head();
  app.send("HTTP/1.1 204 No Content\r\n\r\n");
  EXPECT_EQ(client.read_head().substr(0, 12), "HTTP/1.1 204");
  EXPECT_TRUE(client.at_eof());
}

TEST_F(LimitsTest, BeyondConnectionsMaxClientsWait) {
  options.listeners[0].limits.connections_max = 1;
  start();
  Peer first = connect_and_send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  Peer app = application.accept();
  app.read_head();
  Peer second = connect_and_send("GET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_TRUE(eventually([&] { return metric("suture_rejected_total", "reason=\"connections_max\"") > 0; }));
  EXPECT_EQ(worker->active(), 1U);
  first.close();
  app.send("HTTP/1.1 204 No Content\r\n\r\n");
  EXPECT_EQ(app.read_head().substr(0, 6), "GET /2");
}

TEST_F(LimitsTest, PortInUseIsExplained) {
  start();
  WorkerOptions other = options;
  other.listeners[0].port = application.port();
  Worker refused(other, sink, hook);
  const auto opened = refused.open();
  ASSERT_FALSE(opened);
  EXPECT_NE(opened.error().message.find("is in use"), std::string::npos);
  other.listeners[0].port = 0;
  other.vips = {boost::asio::ip::make_address("192.0.2.77")};
  Worker absent(other, sink, hook);
  const auto opened2 = absent.open();
  ASSERT_FALSE(opened2);
  EXPECT_NE(opened2.error().message.find("VIP 192.0.2.77 is not on an interface"), std::string::npos);
}

TEST_F(LimitsTest, DrainLetsSessionsGoOn) {
  start();
  Peer client = connect_and_send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  Peer app = application.accept();
  app.read_head();
  worker->begin_drain();
  EXPECT_TRUE(eventually([&] { return !worker->accepting(); }));
  app.send("HTTP/1.1 204 No Content\r\n\r\n");
  EXPECT_EQ(client.read_head().find("Connection: close"), std::string::npos);
  client.send("GET /again HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_EQ(app.read_head().substr(0, 10), "GET /again");
}

TEST_F(LimitsTest, TicksGrowWithoutTraffic) {
  start();
  const auto before = worker->ticks();
  EXPECT_TRUE(eventually([&] { return worker->ticks() > before + 5; }));
}

}  // namespace
}  // namespace suture::test
