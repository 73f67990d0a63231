// PROXY protocol in sessions: the header from a front balancer (every client of these tests is one, unless a test says
// otherwise), the one to the application, and both after the owner's death.
#include <proxy/client/proxy_protocol.hpp>

#include "adoption_fixture.hpp"

namespace suture::test {
namespace {

using proxy_protocol::build_v1;
using proxy_protocol::build_v2;
using proxy_protocol::Endpoint;

const Endpoint kSource(boost::asio::ip::make_address("192.168.0.1"), 56324);
const Endpoint kDestination(boost::asio::ip::make_address("192.168.0.11"), 443);
const Endpoint kSource6(boost::asio::ip::make_address("2001:db8::1"), 4096);
const Endpoint kDestination6(boost::asio::ip::make_address("2001:db8::2"), 80);
const std::string kLocal = std::string("\r\n\r\n\0\r\nQUIT\n\x20\0\0\0", 16);
const std::string kGet = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n";
const std::string kEmpty = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

class ProxyHeaderTest : public AdoptionTest {
 protected:
  ProxyHeaderTest() { accept_from("127.0.0.0", 8); }
  void accept_from(const char* prefix, unsigned bits) {
    options.listeners[0].proxy_protocol_from = {{boost::asio::ip::make_address(prefix), bits}};
  }
  void serve_tcp() { options.listeners[0].mode = SessionMode::tcp; }
  void greet(config::ProxyProtocol version) { options.listeners[0].upstream_proxy_protocol = version; }
  static Endpoint name_of(const Peer& peer, decltype(::getsockname) ask = ::getsockname) {
    Endpoint name;
    socklen_t size = static_cast<socklen_t>(name.capacity());
    EXPECT_EQ(ask(peer.fd(), name.data(), &size), 0);
    return name;
  }
  static Endpoint vip_of_peer(const Peer& peer) { return name_of(peer, ::getpeername); }
  void expect_reset(Peer& client) {
    EXPECT_EQ(client.read_all(), "");
    EXPECT_EQ(client.last_errno(), ECONNRESET);
    EXPECT_TRUE(eventually([&] { return worker->active() == 0; }));
  }
  double refused(const char* reason) const {
    return metric("suture_rejected_total", std::string("reason=\"") + reason + '"');
  }
  double taken(const char* kind) const {
    return metric("suture_proxy_headers_total", std::string("kind=\"") + kind + '"');
  }
};

void expect_proxied(const SessionRecord& record, const Endpoint& source, const Endpoint& destination) {
  ASSERT_TRUE(record.proxied);
  EXPECT_EQ(*record.proxied, make_flow_key(source, destination));
}

// --- from a front balancer -------------------------------------------------------------------------------------------

// limits.connections_per_client_max is for those behind the balancer, not for the balancer.
TEST_F(ProxyHeaderTest, ClientsAreCountedByTheirOwnAddress) {
  options.listeners[0].limits.connections_per_client_max = 1;
  start();
  Peer balancers_check = connect_and_send(kLocal + kGet);
  Peer first = connect_and_send(build_v1(kSource, kDestination) + kGet);
  Peer other = connect_and_send(build_v1(kSource6, kDestination6) + kGet);
  std::vector<Peer> asked;
  for (int i = 0; i < 3; ++i) {
    asked.push_back(application.accept());
    EXPECT_EQ(asked.back().read_head().substr(0, 6), "GET /a");
  }
  Peer second = connect_and_send(build_v2(kSource, kDestination) + kGet);
  EXPECT_EQ(second.read_all(), "");
  EXPECT_EQ(second.last_errno(), ECONNRESET);
  EXPECT_EQ(refused("connections_per_client"), 1);
}

TEST_F(ProxyHeaderTest, TheFirstRequestBeginsBehindIt) {
  start();
  for (const std::string& header : {build_v1(kSource, kDestination), build_v2(kSource, kDestination)}) {
    Peer client = connect_and_send(header + kGet);
    Peer app = application.accept();
    const std::string head = app.read_head();
    EXPECT_EQ(head.substr(0, 8), "GET /a H");
    EXPECT_NE(head.find("X-Forwarded-For: 192.168.0.1\r\n"), std::string::npos) << head;
    const SessionRecord record = sink.last();
    expect_proxied(record, kSource, kDestination);
    EXPECT_EQ(record.in_known, header.size() + kGet.size());
    EXPECT_EQ(record.http->request_start, header.size());
    EXPECT_EQ(record.http->request_head_end, header.size() + kGet.size());
    EXPECT_EQ(record.facts.key, make_flow_key(name_of(client), vip_of_peer(client)));
    app.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
    client.read_until("ok");
  }
  EXPECT_EQ(taken("v1"), 1);
  EXPECT_EQ(taken("v2"), 1);
}

TEST_F(ProxyHeaderTest, ByteByByteAndRecordedBeforeAnythingIsPassedOn) {
  start();
  for (const std::string& header : {build_v1(kSource6, kDestination6), build_v2(kSource6, kDestination6)}) {
    Peer client = connect();
    for (const char c : header + kGet) {
      client.send({&c, 1});
      ::usleep(300);
    }
    Peer app = application.accept();
    EXPECT_NE(app.read_head().find("X-Forwarded-For: 2001:db8::1\r\n"), std::string::npos);
    expect_proxied(sink.last(), kSource6, kDestination6);
  }
  bool alone = false;
  for (const SessionRecord& record : sink.records()) {
    EXPECT_EQ(record.in_known > 0, record.proxied.has_value());
    alone = alone || (record.proxied && record.http->request_head_end == 0);
  }
  EXPECT_TRUE(alone) << "an heir learns of the header before a request is complete";
}

TEST_F(ProxyHeaderTest, LocalKeepsTheSocketsAddresses) {
  start();
  for (const std::string& header : {kLocal, std::string("PROXY UNKNOWN\r\n")}) {
    Peer client = connect_and_send(header + kGet);
    Peer app = application.accept();
    EXPECT_NE(app.read_head().find("X-Forwarded-For: 127.0.0.1\r\n"), std::string::npos);
    expect_proxied(sink.last(), name_of(client), vip_of_peer(client));
  }
  EXPECT_EQ(taken("local"), 2);
}

class EitherModeTest : public ProxyHeaderTest, public ::testing::WithParamInterface<SessionMode> {
 protected:
  EitherModeTest() { options.listeners[0].mode = GetParam(); }
};

INSTANTIATE_TEST_SUITE_P(ProxyHeader, EitherModeTest, ::testing::Values(SessionMode::http, SessionMode::tcp),
                         [](const auto& mode) { return mode.param == SessionMode::http ? "http" : "tcp"; });

TEST_P(EitherModeTest, WithoutAHeaderItIsReset) {
  start();
  unsigned n = 0;
  for (const std::string& bytes : {kGet, std::string("PROXY TCP4 1.2.3.4\r\n"), kLocal.substr(0, 12) + '\x11',
                                   "PROXY TCP4 010.0.0.1 10.0.0.2 1 2\r\n" + kGet}) {
    Peer client = connect_and_send(bytes);
    expect_reset(client);
    EXPECT_EQ(refused("proxy_header"), ++n);
  }
  EXPECT_EQ(metric("suture_closes_total", "cause=\"request_refused\""), 4);
  EXPECT_EQ(metric("suture_upstream_connects_total"), 0);
  EXPECT_EQ(sink.erased(), 4U);
}

TEST_P(EitherModeTest, IncompleteInTime) {
  options.timeouts.request_head_ms = 150;
  start();
  Peer silent = connect();
  expect_reset(silent);
  Peer slow = connect_and_send(build_v2(kSource, kDestination).substr(0, 27));
  expect_reset(slow);
  EXPECT_EQ(refused("proxy_header_timeout"), 2);
  EXPECT_EQ(metric("suture_closes_total", "cause=\"request_timeout\""), 2);
}

TEST_F(ProxyHeaderTest, ClosedBeforeItIsComplete) {
  start();
  Peer nothing = connect();
  nothing.half_close();
  EXPECT_TRUE(nothing.at_eof());
  EXPECT_EQ(refused("proxy_header"), 0) << "a look at the port is no mistake";
  Peer part = connect_and_send("PROXY TCP4 1");
  part.half_close();
  expect_reset(part);
  EXPECT_EQ(refused("proxy_header"), 1);
}

TEST_F(ProxyHeaderTest, RequestAndHalfCloseBehindIt) {
  start();
  Peer client = connect_and_send(build_v1(kSource, kDestination) + kGet);
  client.half_close();
  Peer app = application.accept();
  app.read_head();
  app.send(kEmpty);
  EXPECT_NE(client.read_all().find("200 OK"), std::string::npos);
}

TEST_F(ProxyHeaderTest, NobodyElseMaySendOne) {
  accept_from("10.0.0.0", 8);
  start();
  for (const std::string& header : {build_v1(kSource, kDestination), build_v2(kSource, kDestination), kLocal}) {
    Peer client = connect_and_send(header + kGet);
    EXPECT_EQ(client.read_all().substr(0, 12), "HTTP/1.1 400");
    EXPECT_FALSE(sink.last().proxied);
  }
  EXPECT_EQ(metric("suture_upstream_connects_total"), 0);
  Peer plain = connect_and_send(kGet);
  Peer app = application.accept();
  EXPECT_NE(app.read_head().find("X-Forwarded-For: 127.0.0.1\r\n"), std::string::npos);
}

TEST_F(ProxyHeaderTest, NobodyElsesIsUnderstoodInModeTcp) {
  accept_from("10.0.0.0", 8);
  serve_tcp();
  start();
  const std::string header = build_v1(kSource, kDestination);
  Peer client = connect_and_send(header);
  Peer app = application.accept();
  EXPECT_EQ(app.read_bytes(header.size()), header);
  EXPECT_FALSE(sink.last().proxied);
}

TEST_F(ProxyHeaderTest, ModeTcpConnectsBehindIt) {
  serve_tcp();
  start();
  for (const std::string& header : {build_v1(kSource, kDestination), build_v2(kSource, kDestination)}) {
    Peer client = connect_and_send(header.substr(0, 14));
    ::usleep(20000);
    const double connects = metric("suture_upstream_connects_total");
    client.send(header.substr(14) + "hello");
    Peer app = application.accept();
    EXPECT_EQ(metric("suture_upstream_connects_total"), connects + 1);
    EXPECT_EQ(app.read_bytes(5), "hello");
    app.send("welcome");
    EXPECT_EQ(client.read_bytes(7), "welcome");
    expect_proxied(sink.last(), kSource, kDestination);
    client.half_close();
    EXPECT_TRUE(app.at_eof());
  }
}

// A protocol in which the server speaks first (ssh, SMTP).
TEST_F(ProxyHeaderTest, ModeTcpWithNothingBehindIt) {
  serve_tcp();
  greet(config::ProxyProtocol::v1);
  start();
  Peer client = connect_and_send(build_v2(kSource, kDestination));
  Peer app = application.accept();
  EXPECT_EQ(app.read_until("\r\n"), build_v1(kSource, kDestination));
  app.send("220 hello\r\n");
  EXPECT_EQ(client.read_until("\r\n"), "220 hello\r\n");
}

TEST_F(ProxyHeaderTest, FrozenMeanwhile) {
  start();
  Peer client = connect();
  ASSERT_TRUE(eventually([&] { return !sink.records().empty(); }));
  const auto key = sink.last().facts.key;
  worker->freeze(key);
  barrier();
  client.send(build_v1(kSource, kDestination) + kGet);
  ::usleep(20000);
  EXPECT_EQ(metric("suture_upstream_connects_total"), 0);
  worker->thaw(key);
  Peer app = application.accept();
  EXPECT_NE(app.read_head().find("X-Forwarded-For: 192.168.0.1\r\n"), std::string::npos);
}

// --- to the application ----------------------------------------------------------------------------------------------

class UpstreamHeaderTest : public ProxyHeaderTest {
 protected:
  UpstreamHeaderTest() { options.listeners[0].proxy_protocol_from.clear(); }
};

TEST_F(UpstreamHeaderTest, SaysClientAndVip) {
  greet(config::ProxyProtocol::v1);
  start();
  Peer client = connect_and_send(kGet);
  Peer app = application.accept();
  EXPECT_EQ(app.read_until("\r\n"), build_v1(name_of(client), vip_of_peer(client)));
  EXPECT_EQ(app.read_head().substr(0, 8), "GET /a H");
  app.send(kEmpty);
  EXPECT_EQ(client.read_head().substr(0, 12), "HTTP/1.1 200");
}

TEST_F(UpstreamHeaderTest, OnceAConnectionThatStaysWithItsSession) {
  greet(config::ProxyProtocol::v1);
  start();
  Peer first = connect_and_send(kGet);
  Peer app = application.accept();
  EXPECT_EQ(app.read_until("\r\n"), build_v1(name_of(first), vip_of_peer(first)));
  app.read_head();
  app.send(kEmpty);
  first.read_head();
  // Idle now, and still not another session's.
  Peer second = connect_and_send(kGet);
  Peer app2 = application.accept();
  EXPECT_EQ(app2.read_until("\r\n"), build_v1(name_of(second), vip_of_peer(second)));
  app2.read_head();
  first.send("GET /again HTTP/1.1\r\nHost: h\r\n\r\n");
  EXPECT_EQ(app.read_head().substr(0, 10), "GET /again");
  app.send(kEmpty);
  first.read_head();
  EXPECT_EQ(metric("suture_upstream_reuses_total"), 1);
  EXPECT_EQ(metric("suture_upstream_connects_total"), 2);
  first.close();
  EXPECT_TRUE(app.at_eof()) << "kept for nobody";
  app2.send(kEmpty);
  second.read_head();
}

TEST_F(UpstreamHeaderTest, AgainWhereAStaleConnectionIsReplaced) {
  greet(config::ProxyProtocol::v2);
  start();
  Peer client = connect_and_send(kGet);
  const std::string wanted = build_v2(name_of(client), vip_of_peer(client));
  Peer app = application.accept();
  EXPECT_EQ(app.read_bytes(wanted.size()), wanted);
  app.read_head();
  app.send(kEmpty);
  client.read_head();
  client.send(kGet);
  app.read_head();
  app.close();
  Peer fresh = application.accept();
  EXPECT_EQ(fresh.read_bytes(wanted.size()), wanted);
  EXPECT_EQ(fresh.read_head().substr(0, 8), "GET /a H");
  fresh.send(kEmpty);
  client.read_head();
  EXPECT_EQ(metric("suture_upstream_retries_total"), 1);
}

TEST_F(UpstreamHeaderTest, WithARequestBodyAndToAUnixSocket) {
  const std::string path = "/tmp/suture-greeting-" + std::to_string(::getpid()) + ".sock";
  ::unlink(path.c_str());
  Application local(path);
  upstream = config::UnixPath{path};
  greet(config::ProxyProtocol::v1);
  start();
  Peer client = connect_and_send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody");
  Peer app = local.accept();
  EXPECT_EQ(app.read_until("\r\n"), build_v1(name_of(client), vip_of_peer(client)));
  EXPECT_EQ(app.read_head().substr(0, 4), "POST");
  EXPECT_EQ(app.read_bytes(4), "body");
  ::unlink(path.c_str());
}

TEST_F(UpstreamHeaderTest, SaysWhatTheFrontSaid) {
  accept_from("127.0.0.1", 32);
  greet(config::ProxyProtocol::v1);
  start();
  Peer client = connect_and_send(build_v2(kSource6, kDestination6) + kGet);
  Peer app = application.accept();
  EXPECT_EQ(app.read_until("\r\n"), build_v1(kSource6, kDestination6));
  EXPECT_NE(app.read_head().find("X-Forwarded-For: 2001:db8::1\r\n"), std::string::npos);
}

TEST_F(UpstreamHeaderTest, ModeTcp) {
  serve_tcp();
  greet(config::ProxyProtocol::v2);
  start();
  Peer client = connect();
  const std::string wanted = build_v2(name_of(client), vip_of_peer(client));
  Peer app = application.accept();
  EXPECT_EQ(app.read_bytes(wanted.size()), wanted) << "without a byte from the client";
  client.send("hello");
  EXPECT_EQ(app.read_bytes(5), "hello");
}

// --- taken over ------------------------------------------------------------------------------------------------------

TEST_F(ProxyHeaderTest, AnHeirTellsItsApplicationTheSame) {
  greet(config::ProxyProtocol::v2);
  start();
  const std::string wanted = build_v2(kSource6, kDestination6);
  Flow idle = flow(), waiting = flow();
  Adoption a = idle_at(idle);
  a.record.proxied = make_flow_key(kSource6, kDestination6);
  adopt(a);
  idle.client.send(kGet);
  Peer app = application.accept();
  EXPECT_EQ(app.read_bytes(wanted.size()), wanted);
  EXPECT_NE(app.read_head().find("X-Forwarded-For: 2001:db8::1\r\n"), std::string::npos);
  expect_proxied(sink.last(), kSource6, kDestination6);

  Adoption b = waiting_at(waiting, kGet);
  b.record.proxied = make_flow_key(kSource6, kDestination6);
  adopt(b);
  Peer app2 = application.accept();
  EXPECT_EQ(app2.read_bytes(wanted.size()), wanted);
  const std::string head = app2.read_head();
  EXPECT_NE(head.find("X-Forwarded-For: 2001:db8::1\r\n"), std::string::npos);
  EXPECT_NE(head.find("Suture-Replay: 1\r\n"), std::string::npos);
}

TEST_F(ProxyHeaderTest, AnHeirGoesOnFromTheRecordAlone) {
  start();
  // Its own listener would call this client a front; the record says that its stream did not begin so.
  Flow f = flow();
  adopt(idle_at(f));
  f.client.send(kGet);
  Peer app = application.accept();
  EXPECT_NE(app.read_head().find("X-Forwarded-For: 127.0.0.1\r\n"), std::string::npos);
}

TEST_F(ProxyHeaderTest, AnHeirReadsAHeaderThatTheOwnerHadNotBegun) {
  start();
  Flow f = flow();
  Adoption a = idle_at(f);
  a.record.in_known = a.record.out_sent = a.record.out_acked = 0;
  *a.record.http = {};
  a.resume = {ResumeRung::idle, "", 0, 0, 0, 0, 0, false};
  adopt(a);
  f.client.send(build_v1(kSource, kDestination) + kGet);
  Peer app = application.accept();
  EXPECT_NE(app.read_head().find("X-Forwarded-For: 192.168.0.1\r\n"), std::string::npos);
  expect_proxied(sink.last(), kSource, kDestination);

  Flow g = flow();
  a.fd = g.fd;
  a.record.facts.key = g.key;
  adopt(a);
  g.client.send(kGet);
  g.client.read_all();
  EXPECT_EQ(g.client.last_errno(), ECONNRESET);
  EXPECT_EQ(refused("proxy_header"), 1);
}

}  // namespace
}  // namespace suture::test
