// Routes as sessions use them: where requests go, failover, timeouts, and what may be sent twice.
#include "adoption_fixture.hpp"

namespace suture::test {
namespace {

const std::string kGet = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n";
const std::string kOk = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

std::string request(const std::string& method, const std::string& host, const std::string& path,
                    const std::string& fields = "") {
  return method + ' ' + path + " HTTP/1.1\r\nHost: " + host + "\r\n" + fields + "\r\n";
}

class RouteTest : public AdoptionTest {
 protected:
  static config::UpstreamAddress address(const Application& app) {
    return config::TcpEndpoint(boost::asio::ip::make_address("127.0.0.1"), app.port());
  }
  // Before start(). The listener's own upstream stays the fixture's application.
  config::Route& add_route(const std::string& host, const std::string& path, const Application& app) {
    auto& routes = options.listeners[0].routes;
    config::Route& route = *routes.insert(routes.end() - 1, config::Route{});
    route.host = host;
    route.path = path;
    route.upstreams = {address(app)};
    return route;
  }
  static void answer(Peer& app, Peer& client, const std::string& target) {
    EXPECT_EQ(app.read_head().substr(0, 5 + target.size()), "GET " + target + ' ');
    app.send(kOk);
    client.read_until("ok");
  }
  Application second, third;
};

TEST_F(RouteTest, ByHostAndPathOnOneConnection) {
  add_route("", "/api", second);
  add_route("*.example.org", "", third);
  start();
  Peer client = connect_and_send(request("GET", "h", "/x"));
  Peer first_app = application.accept();
  answer(first_app, client, "/x");
  client.send(request("GET", "h", "/api/1"));
  Peer second_app = second.accept();
  answer(second_app, client, "/api/1");
  client.send(request("GET", "A.Example.ORG.:80", "/api/2"));
  Peer third_app = third.accept();
  answer(third_app, client, "/api/2");
  // Each kept connection serves its own upstream again.
  client.send(request("GET", "h", "/api?3"));
  answer(second_app, client, "/api?3");
  client.send(request("GET", "h", "/apix"));
  answer(first_app, client, "/apix");
  EXPECT_EQ(metric("suture_upstream_connects_total"), 3);
  EXPECT_EQ(metric("suture_upstream_reuses_total"), 2);
}

TEST_F(RouteTest, AnAbsoluteTargetDecides) {
  add_route("a.example", "", second);
  start();
  Peer client = connect_and_send("GET http://a.example/x HTTP/1.1\r\nHost: a.example\r\n\r\n");
  Peer app = second.accept();
  answer(app, client, "/x");
}

TEST_F(RouteTest, RoutesOfOneUpstreamShareItsConnections) {
  add_route("", "/api", application);
  start();
  Peer client = connect_and_send(request("GET", "h", "/api"));
  Peer app = application.accept();
  answer(app, client, "/api");
  client.send(request("GET", "h", "/x"));
  answer(app, client, "/x");
  EXPECT_EQ(metric("suture_upstream_connects_total"), 1);
}

TEST_F(RouteTest, SeveralUpstreamsTakeTurns) {
  add_route("", "/", application).upstreams = {address(second), address(third)};
  options.listeners[0].routes[0].path = "";
  options.listeners[0].limits.upstream_idle_max = 0;
  start();
  Peer client = connect();
  for (const Application* next : {&second, &third, &second}) {
    client.send(kGet);
    Peer app = next->accept();
    answer(app, client, "/a");
  }
}

TEST_F(RouteTest, WhatCannotBeConnectedToIsPassedOver) {
  add_route("", "/a", application).upstreams = {address(second), address(third)};
  second.stop_listening();
  start();
  Peer client = connect_and_send("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc");
  Peer app = third.accept();
  EXPECT_EQ(app.read_head().substr(0, 8), "POST /a ") << "nothing has left before: a POST may go on as well";
  EXPECT_EQ(app.read_bytes(3), "abc");
  app.send(kOk);
  client.read_until("ok");
  EXPECT_EQ(metric("suture_upstream_failovers_total"), 1);
  EXPECT_EQ(metric("suture_upstream_errors_total", "reason=\"refused\""), 1);
  // And is not tried again at once, though it is its turn.
  client.send(kGet);
  answer(app, client, "/a");
  client.send(kGet);
  answer(app, client, "/a");
  EXPECT_EQ(metric("suture_upstream_connects_total"), 2);
}

// An upstream whose machine is gone: nothing answers the SYN.
TEST_F(RouteTest, ASilentUpstreamIsPassedOverAfterItsTimeout) {
  const int full = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in name{};
  socklen_t size = sizeof name;
  name.sin_family = AF_INET;
  name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(::bind(full, reinterpret_cast<sockaddr*>(&name), size), 0);
  ::getsockname(full, reinterpret_cast<sockaddr*>(&name), &size);
  ::listen(full, 0);
  // The one that the backlog takes: the kernel drops every further SYN.
  const int taken = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  ASSERT_EQ(::connect(taken, reinterpret_cast<sockaddr*>(&name), size), 0);
  const config::TcpEndpoint silent_one(boost::asio::ip::make_address("127.0.0.1"), ntohs(name.sin_port));
  add_route("", "/a", application).upstreams = {silent_one, address(second)};
  options.timeouts.connect_ms = 150;
  start();
  Peer client = connect_and_send(kGet);
  Peer app = second.accept();
  answer(app, client, "/a");
  EXPECT_EQ(metric("suture_upstream_errors_total", "reason=\"timeout\""), 1);
  EXPECT_EQ(metric("suture_upstream_failovers_total"), 1);
  ::close(taken);
  ::close(full);
}

TEST_F(RouteTest, WhereEachWasTriedOnceItIsA502) {
  add_route("", "/a", application).upstreams = {address(second), address(third)};
  second.stop_listening();
  third.stop_listening();
  start();
  Peer client = connect_and_send(kGet);
  EXPECT_EQ(client.read_all().substr(0, 12), "HTTP/1.1 502");
  EXPECT_EQ(metric("suture_upstream_connects_total"), 2);
  EXPECT_EQ(metric("suture_upstream_errors_total", "reason=\"refused\""), 2);
}

TEST_F(RouteTest, FailoverOfAMissingSocketFile) {
  auto& upstreams = options.listeners[0].default_route().upstreams;
  start_with([&] { upstreams = {config::UnixPath{"/nowhere/app.sock"}, address(second)}; });
  Peer client = connect_and_send(kGet);
  Peer app = second.accept();
  answer(app, client, "/a");
}

TEST_F(RouteTest, TcpModeFailsOverAsWell) {
  options.listeners[0].mode = SessionMode::tcp;
  auto& upstreams = options.listeners[0].default_route().upstreams;
  second.stop_listening();
  start_with([&] { upstreams = {address(second), address(third)}; });
  Peer client = connect_and_send("hello");
  Peer app = third.accept();
  EXPECT_EQ(app.read_bytes(5), "hello");
}

TEST_F(RouteTest, TimeoutsOfTheRoute) {
  config::Route& route = add_route("", "/slow", second);
  route.response_ms = 150;
  route.request_body_ms = 150;
  start();
  Peer client = connect_and_send(request("GET", "h", "/slow"));
  Peer app = second.accept();
  app.read_head();
  EXPECT_EQ(client.read_all().substr(0, 12), "HTTP/1.1 504");
  Peer uploading = connect_and_send("POST /slow HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\na");
  EXPECT_EQ(uploading.read_all().substr(0, 12), "HTTP/1.1 408");
}

TEST_F(RouteTest, TheOwnersDecisionIsInTheRecord) {
  add_route("", "/keyed", application).replay = config::Replay::keyed;
  add_route("", "/never", application).replay = config::Replay::never;
  start();
  const struct {
    std::string request;
    bool wanted;
  } rows[] = {
      {request("GET", "h", "/"), true},
      {request("POST", "h", "/"), false},
      {request("POST", "h", "/", "Idempotency-Key: \"k\"\r\n"), false},
      {request("POST", "h", "/keyed"), false},
      {request("POST", "h", "/keyed", "Idempotency-Key: \"k\"\r\n"), true},
      {request("GET", "h", "/never"), false},
  };
  Peer client = connect();
  for (const auto& row : rows) {
    client.send(row.request);
    ASSERT_TRUE(eventually([&] { return sink.last().http && sink.last().http->phase == HttpPhase::waiting; }));
    EXPECT_EQ(sink.last().http->replayable, row.wanted) << row.request;
    Peer app = application.accept();
    app.read_head();
    app.send("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
    client.read_head();
    ASSERT_TRUE(eventually([&] { return sink.last().http->phase == HttpPhase::idle; }));
  }
}

TEST_F(RouteTest, WhatMustNotRunTwiceGoesOnAFreshConnection) {
  options.listeners[0].default_route().replay = config::Replay::never;
  start();
  Peer client = connect_and_send(kGet);
  Peer app = application.accept();
  answer(app, client, "/a");
  client.send(kGet);
  Peer fresh = application.accept();
  fresh.read_head();
  fresh.close();
  EXPECT_EQ(client.read_all().substr(0, 12), "HTTP/1.1 502");
  EXPECT_EQ(metric("suture_upstream_retries_total"), 0);
}

// Every policy with every kind of request, at the heir: the rung was planned on the former owner's word.
TEST_F(RouteTest, TheHeirsRouteMustAllowAReplayToo) {
  using config::Replay;
  const std::pair<const char*, Replay> policies[] = {{"/safe", Replay::safe},
                                                     {"/idempotent", Replay::idempotent},
                                                     {"/keyed", Replay::keyed},
                                                     {"/always", Replay::always},
                                                     {"/never", Replay::never}};
  for (const auto& [path, policy] : policies) add_route("", path, application).replay = policy;
  start();
  const struct {
    const char *method, *fields, *allowed_by;
  } rows[] = {
      {"GET", "", "safe idempotent keyed always"},
      {"OPTIONS", "", "safe idempotent keyed always"},
      {"DELETE", "", "idempotent keyed always"},
      {"PUT", "", "idempotent keyed always"},
      {"POST", "", "always"},
      {"PATCH", "Idempotency-Key: k\r\n", "keyed always"},
      {"POST", "idempotency-key: \"k\"\r\n", "keyed always"},
      {"POST", "Idempotency-Key:\r\n", "always"},
      {"POST", "Idempotency-Key: a\r\nIdempotency-Key: a\r\n", "always"},
      {"POST", "Idempotency-Key: a\r\nConnection: idempotency-key\r\n", "always"},
  };
  std::size_t done = 0;
  for (const auto& row : rows) {
    for (const auto& [path, policy] : policies) {
      SCOPED_TRACE(std::string(row.method) + ' ' + path + ' ' + row.fields);
      const std::string wanted = row.allowed_by;
      const bool allowed = (' ' + wanted + ' ').find(' ' + std::string(path + 1) + ' ') != std::string::npos;
      Flow f = flow();
      Adoption a = waiting_at(f, request(row.method, "h", path, row.fields));
      a.record.http->replayable = true;
      adopt(a);
      if (allowed) {
        Peer app = application.accept();
        EXPECT_NE(app.read_head().find("Suture-Replay: 1\r\n"), std::string::npos);
        app.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
        EXPECT_EQ(f.client.read_until("ok").substr(0, 12), "HTTP/1.1 200");
      } else {
        const auto head = f.client.read_all();
        EXPECT_EQ(head.substr(0, 12), "HTTP/1.1 503");
        EXPECT_NE(head.find("Retry-After"), std::string::npos);
      }
      ++done;
      ASSERT_TRUE(eventually([&] { return outcomes().size() == done; }));
      const Outcome got = outcomes().back();
      EXPECT_EQ(to_label(got.rung), to_label(allowed ? ResumeRung::replay : ResumeRung::refuse));
      EXPECT_EQ(got.reason, allowed ? "" : policy_refusal(row.method));
    }
  }
}

// The client is in the middle of the response before it: a 503 stands behind that, or nowhere.
TEST_F(RouteTest, ARefusalComesBehindTheResponseBefore) {
  options.listeners[0].default_route().replay = config::Replay::never;
  start();
  const std::string first = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789";
  const std::string interim = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
  std::size_t done = 0;
  for (const bool no_head : {false, true}) {
    for (const bool hints : {false, true}) {
      SCOPED_TRACE(std::string(no_head ? "without a head" : "with a head") + (hints ? ", 103" : ", response"));
      const std::string known = hints ? interim : first;
      Flow f = flow();
      Adoption a = waiting_at(f, kGet);
      HttpState& http = *a.record.http;
      const auto journal = std::make_shared<const std::string>(known);
      constexpr std::uint64_t kHas = 12;
      Exchange& of = hints ? static_cast<Exchange&>(http) : http.answered.emplace_back(static_cast<Exchange&>(http));
      of.journal = journal;
      of.journal_start = of.response_start = kOut - kHas;
      of.response_end = of.journal_start + known.size();
      if (no_head) http.request_head = std::make_shared<const std::string>("no head\r\n\r\n");
      a.resume.exchange = http.answered.size();
      a.resume.journal = known.size() - kHas;
      adopt(a);
      const std::string got = f.client.read_all();
      EXPECT_EQ(got.substr(0, known.size() - kHas), known.substr(kHas));
      EXPECT_EQ(got.substr(std::min(got.size(), known.size() - kHas), 12), "HTTP/1.1 503");
      ++done;
      ASSERT_TRUE(eventually([&] { return outcomes().size() == done; }));
      EXPECT_EQ(to_label(outcomes().back().rung), to_label(ResumeRung::refuse));
    }
  }
}
TEST_F(RouteTest, TheHeirsRouteMustAllowARangeToo) {
  options.listeners[0].default_route().replay = config::Replay::never;
  start();
  Flow f = flow();
  adopt(response_at(f, kGet));
  f.client.read_all();
  EXPECT_EQ(f.client.last_errno(), ECONNRESET);
  expect_outcome(ResumeRung::reset, heal_reason::replay_policy);
  EXPECT_EQ(metric("suture_upstream_connects_total"), 0);
}

TEST_F(RouteTest, AReplayGoesWhereTheRouteSays) {
  add_route("a.example", "", second);
  start();
  Flow f = flow();
  adopt(waiting_at(f, request("GET", "a.example", "/x")));
  Peer app = second.accept();
  answer(app, f.client, "/x");
  expect_outcome(ResumeRung::replay);
}

TEST_F(RouteTest, AReplayFailsOver) {
  start_with([&] {
    second.stop_listening();
    options.listeners[0].default_route().upstreams = {address(second), address(third)};
  });
  Flow f = flow();
  adopt(waiting_at(f, kGet));
  Peer app = third.accept();
  answer(app, f.client, "/a");
  expect_outcome(ResumeRung::replay);
}

// The S rule asks the heir's route.
TEST_F(RouteTest, WhatMayHaveRunGoesByTheRoute) {
  add_route("", "/always", application).replay = config::Replay::always;
  add_route("", "/never", application).replay = config::Replay::never;
  start();
  Flow f = flow();
  Adoption a = idle_at(f);
  const std::string post = "POST /always HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n";
  const std::string get = request("GET", "h", "/never");
  a.resume.client_sent = kIn + post.size() + 1 + get.size();
  adopt(a);
  f.client.send(post + 'x' + get);
  Peer app = application.accept();
  EXPECT_NE(app.read_head().find("Suture-Replay: 1"), std::string::npos);
  EXPECT_EQ(app.read_bytes(1), "x");
  app.send(kOk);
  f.client.read_until("ok");
  EXPECT_EQ(f.client.read_all().substr(0, 12), "HTTP/1.1 503");
  EXPECT_EQ(metric("suture_replay_refusals_total"), 1);
}

}  // namespace
}  // namespace suture::test
