#include <proxy/client/body_reader.hpp>

#include "proxy_fixture.hpp"

namespace suture::test {
namespace {

const std::string kGet = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n";
const std::string kOk = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

class HttpSessionTest : public ProxyTest {};

TEST_F(HttpSessionTest, KeepAliveReusesBothConnections) {
  start();
  Peer client = connect();
  Peer app;
  for (int i = 0; i < 3; ++i) {
    client.send(kGet);
    if (i == 0) app = application.accept();
    EXPECT_EQ(app.read_head().substr(0, 15), "GET /a HTTP/1.1");
    app.send(kOk);
    EXPECT_NE(client.read_head().find("X-Served-By: pop7"), std::string::npos);
    EXPECT_EQ(client.read_bytes(2), "ok");
  }
  EXPECT_EQ(metric("suture_upstream_connects_total"), 1);
  EXPECT_EQ(metric("suture_requests_total", "code=\"2xx\""), 3);
}

TEST_F(HttpSessionTest, PipelinedRequestsAreAnsweredInOrder) {
  start();
  Peer client = connect_and_send(
      "GET /1 HTTP/1.1\r\nHost: h\r\n\r\nPOST /2 HTTP/1.1\r\nHost: h\r\nContent-Length: "
      "3\r\n\r\nabcGET /3 HTTP/1.1\r\nHost: h\r\n\r\n");
  Peer app = application.accept();
  EXPECT_EQ(app.read_head().substr(0, 6), "GET /1");
  app.send("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1");
  Peer fresh = application.accept();  // what cannot be repeated goes on no kept connection
  EXPECT_EQ(fresh.read_head().substr(0, 7), "POST /2");
  EXPECT_EQ(fresh.read_bytes(3), "abc");
  fresh.send("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n2");
  EXPECT_EQ(fresh.read_head().substr(0, 6), "GET /3");  // the one used last
  fresh.send("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n3");
  for (const char* expected : {"1", "2", "3"}) {
    client.read_head();
    EXPECT_EQ(client.read_bytes(1), expected);
  }
}

TEST_F(HttpSessionTest, ByteByByteIsTheSame) {
  start();
  Peer client = connect();
  const std::string request =
      "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: y\r\n\r\n";
  for (const char c : request) client.send({&c, 1});
  Peer app = application.accept();
  EXPECT_NE(app.read_head().find("Transfer-Encoding: chunked"), std::string::npos);
  BodyReader body(BodyFraming::chunked, 0);
  std::string content;
  while (!body.done()) ASSERT_EQ(body.feed(app.read_bytes(1), &content), 1U);
  EXPECT_EQ(content, "abc");
  EXPECT_EQ(body.trailers(), "X: y\r\n");
  const std::string response = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n";
  for (const char c : response) app.send({&c, 1});
  EXPECT_NE(client.read_head().find("Transfer-Encoding: chunked"), std::string::npos);
  // In chunks of our own: as it came.
  BodyReader answer(BodyFraming::chunked, 0);
  std::string said;
  while (!answer.done()) ASSERT_EQ(answer.feed(client.read_bytes(1), &said), 1U);
  EXPECT_EQ(said, "hi");
  // The connection is at a message boundary on both sides.
  client.send(kGet);
  app.read_head();
  app.send(kOk);
  client.read_until("ok");
}

TEST_F(HttpSessionTest, HeadHasNoBody) {
  start();
  Peer client = connect_and_send("HEAD / HTTP/1.1\r\nHost: h\r\n\r\n");
  Peer app = application.accept();
  app.read_head();
  app.send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
  EXPECT_NE(client.read_head().find("Content-Length: 1000"), std::string::npos);
  client.send(kGet);
  app.read_head();
  app.send(kOk);
  EXPECT_EQ(client.read_head().substr(0, 15), "HTTP/1.1 200 OK");
}

TEST_F(HttpSessionTest, InterimResponsesAndExpect) {
  start();
  Peer client = connect_and_send("PUT / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
  Peer app = application.accept();
  EXPECT_NE(app.read_head().find("Expect: 100-continue"), std::string::npos);
  app.send("HTTP/1.1 100 Continue\r\n\r\n");
  EXPECT_EQ(client.read_head().substr(0, 12), "HTTP/1.1 100");
  client.send("abc");
  EXPECT_EQ(app.read_bytes(3), "abc");
  app.send("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + kOk);
  EXPECT_NE(client.read_head().find("Link: x"), std::string::npos);
  EXPECT_EQ(client.read_head().substr(0, 12), "HTTP/1.1 200");
}

TEST_F(HttpSessionTest, UpgradeRelaysBothWaysWithHalfClose) {
  start();
  Peer client = connect_and_send("GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nearly");
  Peer app = application.accept();
  EXPECT_NE(app.read_head().find("Upgrade: websocket"), std::string::npos);
  app.send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nhello");
  EXPECT_NE(client.read_head().find("Connection: upgrade"), std::string::npos);
  EXPECT_EQ(client.read_bytes(5), "hello");
  EXPECT_EQ(app.read_bytes(5), "early");
  client.send("ping");
  EXPECT_EQ(app.read_bytes(4), "ping");
  client.half_close();
  EXPECT_TRUE(app.at_eof());
  app.send("last");
  app.close();
  EXPECT_EQ(client.read_all(), "last");
  EXPECT_TRUE(eventually([&] { return worker->active() == 0; }));
  EXPECT_EQ(sink.erased(), 1U);
}

TEST_F(HttpSessionTest, UnaskedUpgradeIsRefused) {
  start();
  Peer client = connect_and_send(kGet);
  Peer app = application.accept();
  app.read_head();
  app.send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n");
  EXPECT_EQ(client.read_head().substr(0, 12), "HTTP/1.1 502");
}

TEST_F(HttpSessionTest, EarlyResponseReachesAClientThatIsStillSending) {
  start();
  Peer client = connect_and_send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\nabc");
  Peer app = application.accept();
  app.read_head();
  app.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
  const auto head = client.read_head();
  EXPECT_EQ(head.substr(0, 12), "HTTP/1.1 403");
  EXPECT_NE(head.find("Connection: close"), std::string::npos);
  client.send(std::string(50000, 'x'));
  EXPECT_EQ(client.read_all(), "no");
  EXPECT_EQ(client.last_errno(), 0) << "a reset instead of a clean end";
}

TEST_F(HttpSessionTest, TruncatedResponseShows) {
  start();
  Peer client = connect_and_send(kGet);
  Peer app = application.accept();
  app.read_head();
  app.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc");
  app.close();
  client.read_head();
  EXPECT_EQ(client.read_all(), "abc");
}

TEST_F(HttpSessionTest, ResetOfACloseDelimitedResponseIsAReset) {
  start();
  Peer client = connect_and_send(kGet);
  Peer app = application.accept();
  app.read_head();
  app.send("HTTP/1.1 200 OK\r\n\r\nabc");
  client.read_until("abc");
  app.reset();
  client.read_all();
  EXPECT_EQ(client.last_errno(), ECONNRESET);
}

TEST_F(HttpSessionTest, CloseDelimitedResponseEndsWithFin) {
  start();
  Peer client = connect_and_send(kGet);
  Peer app = application.accept();
  app.read_head();
  app.send("HTTP/1.1 200 OK\r\n\r\nabc");
  app.close();
  EXPECT_NE(client.read_head().find("Connection: close"), std::string::npos);
  EXPECT_EQ(client.read_all(), "abc");
  EXPECT_EQ(client.last_errno(), 0);
}

TEST_F(HttpSessionTest, OldClientGetsNoChunks) {
  start();
  Peer client = connect_and_send("GET / HTTP/1.0\r\n\r\n");
  Peer app = application.accept();
  app.read_head();
  app.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n");
  EXPECT_EQ(client.read_head().find("chunked"), std::string::npos);
  EXPECT_EQ(client.read_all(), "abcde");
}

TEST_F(HttpSessionTest, HalfClosedClientStillGetsItsResponse) {
  start();
  Peer client = connect_and_send(kGet);
  client.half_close();
  Peer app = application.accept();
  app.read_head();
  app.send(kOk);
  client.read_head();
  EXPECT_EQ(client.read_all(), "ok");
  EXPECT_TRUE(eventually([&] { return worker->active() == 0; }));
}

TEST_F(HttpSessionTest, StaleConnectionIsRetriedOnceForIdempotentRequests) {
  start();
  Peer client = connect_and_send(kGet);
  Peer app = application.accept();
  app.read_head();
  app.send(kOk);
  client.read_until("ok");
  // The application takes the request on the kept connection and closes without a word.
  client.send(kGet);
  app.read_head();
  app.close();
  Peer second = application.accept();
  EXPECT_EQ(second.read_head().substr(0, 6), "GET /a");
  second.send(kOk);
  EXPECT_EQ(client.read_head().substr(0, 12), "HTTP/1.1 200");
  EXPECT_EQ(metric("suture_upstream_retries_total"), 1);
}

TEST_F(HttpSessionTest, PostIsNeverRepeated) {
  start();
  Peer client = connect_and_send(kGet);
  Peer app = application.accept();
  app.read_head();
  app.send(kOk);
  client.read_until("ok");
  // Not on the kept connection, which the application may be closing.
  client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx");
  Peer fresh = application.accept();
  fresh.read_until("\r\n\r\nx");
  fresh.close();
  EXPECT_EQ(client.read_head().substr(0, 12), "HTTP/1.1 502");
  EXPECT_EQ(metric("suture_upstream_retries_total"), 0);
  EXPECT_EQ(metric("suture_upstream_connects_total"), 2);
}

TEST_F(HttpSessionTest, ApplicationDownIs502) {
  application.stop_listening();
  start();
  Peer client = connect_and_send(kGet);
  EXPECT_EQ(client.read_head().substr(0, 12), "HTTP/1.1 502");
  EXPECT_EQ(metric("suture_upstream_errors_total", "reason=\"refused\""), 1);
}

TEST_F(HttpSessionTest, MalformedResponseIs502) {
  start();
  Peer client = connect_and_send(kGet);
  Peer app = application.accept();
  app.read_head();
  app.send("SSH-2.0-x\r\n\r\n");
  EXPECT_EQ(client.read_head().substr(0, 12), "HTTP/1.1 502");
}

TEST_F(HttpSessionTest, BytesBehindAResponseEndTheConnectionToTheApplication) {
  start();
  Peer client = connect_and_send(kGet);
  Peer app = application.accept();
  app.read_head();
  app.send(kOk + "HTTP/1.1 200 poisoned\r\n\r\n");
  client.read_until("ok");
  client.send(kGet);
  Peer second = application.accept();
  second.read_head();
  second.send(kOk);
  EXPECT_EQ(client.read_head().substr(0, 15), "HTTP/1.1 200 OK");
}

TEST_F(HttpSessionTest, SlowReaderBoundsMemory) {
  start();
  Peer client = connect(8192);
  client.send(kGet);
  Peer app = application.accept();
  app.read_head();
  const std::size_t size = 32 << 20;
  app.send("HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(size) + "\r\n\r\n");
  const timeval brief{0, 300000};
  ::setsockopt(app.fd(), SOL_SOCKET, SO_SNDTIMEO, &brief, sizeof brief);
  const std::string block(1 << 16, 'x');
  std::size_t sent = 0;
  for (ssize_t n = 0;
       sent < size && (n = ::send(app.fd(), block.data(), std::min(block.size(), size - sent), MSG_NOSIGNAL)) > 0;)
    sent += static_cast<std::size_t>(n);
  EXPECT_LT(sent, size) << "the proxy took everything although the client read nothing";
  // And nothing is lost once it reads.
  client.read_head();
  std::size_t got = 0;
  const timeval limit{5, 0};
  ::setsockopt(app.fd(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  while (got < size) {
    if (sent < size) {
      const ssize_t n =
          ::send(app.fd(), block.data(), std::min(block.size(), size - sent), MSG_NOSIGNAL | MSG_DONTWAIT);
      if (n > 0) sent += static_cast<std::size_t>(n);
    }
    const std::size_t part = std::min<std::size_t>(4096, size - got);
    ASSERT_EQ(client.read_bytes(part).size(), part);
    got += part;
  }
}

}  // namespace
}  // namespace suture::test
