// Bad input, limits and time-outs: each has its status, its counter, and an end that the client can read.
#include <thread>

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
  EXPECT_EQ(metric("suture_rejected_total", "reason=\"malformed\""), 2);
  EXPECT_EQ(metric("suture_rejected_total", "reason=\"target\""), 1);
  EXPECT_EQ(metric("suture_rejected_total", "reason=\"framing\""), 1);
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

TEST_F(LimitsTest, LongRequestLineIs414) {
  options.listeners[0].limits.request_line_bytes_max = 256;
  start();
  const std::string rest = " HTTP/1.1\r\nHost: a\r\n\r\n";
  const auto line = [](std::size_t bytes) { return "GET /" + std::string(bytes - 16, 'x'); };
  Peer long_one = connect_and_send(line(257) + rest);
  EXPECT_EQ(long_one.read_all().substr(0, 12), "HTTP/1.1 414");
  Peer endless = connect_and_send(line(300));
  EXPECT_EQ(endless.read_all().substr(0, 12), "HTTP/1.1 414");
  Peer longest = connect_and_send(line(256) + rest);
  EXPECT_EQ(application.accept().read_head().substr(0, 5), "GET /");
}

TEST_F(LimitsTest, ManyFieldsAre431) {
  options.listeners[0].limits.request_fields_max = 8;
  start();
  std::string fields;
  for (int i = 0; i < 7; ++i) fields += "X: 1\r\n";
  Peer fits = connect_and_send("GET / HTTP/1.1\r\nHost: a\r\n" + fields + "\r\n");
  EXPECT_EQ(application.accept().read_head().substr(0, 5), "GET /");
  Peer one_more = connect_and_send("GET / HTTP/1.1\r\nHost: a\r\nY: 1\r\n" + fields + "\r\n");
  EXPECT_EQ(one_more.read_all().substr(0, 12), "HTTP/1.1 431");
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

// A byte now and then keeps no head open: request_head_ms is for all of it.
TEST_F(LimitsTest, TricklingHeadIs408) {
  options.timeouts.request_head_ms = 300;
  start();
  Peer client = connect();
  const auto began = std::chrono::steady_clock::now();
  while (::send(client.fd(), "G", 1, MSG_NOSIGNAL) == 1 && std::chrono::steady_clock::now() - began < Millis(3000)) {
    char byte = 0;
    if (::recv(client.fd(), &byte, 1, MSG_DONTWAIT | MSG_PEEK) > 0) break;
    ::usleep(20000);
  }
  EXPECT_EQ(client.read_head().substr(0, 12), "HTTP/1.1 408");
  EXPECT_LT(std::chrono::steady_clock::now() - began, Millis(2000));
}

TEST_F(LimitsTest, TricklingEmptyLinesAreNoRequest) {
  options.timeouts.request_head_ms = 300;
  start();
  Peer client = connect();
  const auto began = std::chrono::steady_clock::now();
  while (std::chrono::steady_clock::now() - began < Millis(3000)) {
    char byte = 0;
    if (::send(client.fd(), "\r\n", 2, MSG_NOSIGNAL) != 2 || ::recv(client.fd(), &byte, 1, MSG_DONTWAIT) == 0) break;
    ::usleep(20000);
  }
  EXPECT_LT(std::chrono::steady_clock::now() - began, Millis(2000));
}

// Neither does a byte now and then a body: each time it is less than request_body_ms apart, and still too slow.
TEST_F(LimitsTest, TricklingBodyIs408) {
  options.timeouts.request_body_ms = 300;
  start();
  Peer client = connect_and_send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nabc");
  Peer app = application.accept();
  app.read_head();
  const auto began = std::chrono::steady_clock::now();
  while (::send(client.fd(), "x", 1, MSG_NOSIGNAL) == 1 && std::chrono::steady_clock::now() - began < Millis(3000)) {
    char byte = 0;
    if (::recv(client.fd(), &byte, 1, MSG_DONTWAIT | MSG_PEEK) > 0) break;
    ::usleep(20000);
  }
  EXPECT_EQ(client.read_head().substr(0, 12), "HTTP/1.1 408");
  EXPECT_LT(std::chrono::steady_clock::now() - began, Millis(2000));
  EXPECT_EQ(metric("suture_rejected_total", "reason=\"body_timeout\""), 1);
}

TEST_F(LimitsTest, SlowBodyMayGoOnWhereNoRateIsAsked) {
  options.timeouts.request_body_ms = 1000;
  options.listeners[0].limits.request_body_rate_min = 0;
  start();
  Peer client = connect_and_send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 20\r\n\r\n");
  Peer app = application.accept();
  app.read_head();
  for (int i = 0; i < 20; ++i) {
    client.send("x");
    ::usleep(60000);  // longer in all than the rate's window
  }
  EXPECT_EQ(app.read_bytes(20), std::string(20, 'x'));
}

// The application does not read: the client cannot help it.
TEST_F(LimitsTest, SlowApplicationIsNotTheClientsFault) {
  options.timeouts.request_body_ms = 3000;
  start();
  const std::size_t size = 16 << 20;
  Peer client = connect_and_send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: " + std::to_string(size) + "\r\n\r\n");
  Peer app = application.accept();
  app.read_head();
  std::jthread sender([&] { client.send(std::string(size, 'x')); });
  // In all longer than the client may take.
  for (std::size_t part = 0; part < 8; ++part) {
    ::usleep(500000);
    ASSERT_EQ(app.read_bytes(size / 8).size(), size / 8);
  }
  sender.join();
  app.send("HTTP/1.1 204 No Content\r\n\r\n");
  EXPECT_EQ(client.read_head().substr(0, 12), "HTTP/1.1 204");
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

TEST_F(LimitsTest, ConnectionsBeyondAClientsShareAreReset) {
  options.listeners[0].limits.connections_per_client_max = 2;
  options.client_counts = std::make_shared<ClientCounts>();
  const auto loopback = boost::asio::ip::make_address("127.0.0.1");
  start();
  const auto key = ClientCounts::key_of(loopback, options.listeners[0].port);
  Peer first = connect(), second = connect();
  EXPECT_TRUE(eventually([&] { return options.client_counts->count(key) == 2; }));
  Peer third = connect();
  EXPECT_EQ(third.read_all(), "");
  EXPECT_EQ(third.last_errno(), ECONNRESET);
  EXPECT_EQ(metric("suture_rejected_total", "reason=\"connections_per_client\""), 1);
  EXPECT_EQ(worker->active(), 2U);
  first.close();
  EXPECT_TRUE(eventually([&] { return options.client_counts->count(key) == 1; }));
  Peer fourth = connect_and_send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_EQ(application.accept().read_head().substr(0, 5), "GET /");
}

TEST_F(LimitsTest, LastRequestOfAConnectionIsAnnounced) {
  options.listeners[0].limits.requests_per_connection_max = 2;
  start();
  Peer client = connect();
  Peer app;
  for (int i = 0; i < 2; ++i) {
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    if (i == 0) app = application.accept();
    app.read_head();
    app.send("HTTP/1.1 204 No Content\r\n\r\n");
    EXPECT_EQ(client.read_head().find("Connection: close") != std::string::npos, i == 1);
  }
  EXPECT_TRUE(client.at_eof());
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

TEST_F(LimitsTest, TicksGrowWithoutTraffic) {
  start();
  const auto before = worker->ticks();
  EXPECT_TRUE(eventually([&] { return worker->ticks() > before + 5; }));
}

}  // namespace
}  // namespace suture::test
