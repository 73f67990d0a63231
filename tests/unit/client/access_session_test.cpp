// Lines of the access log, and Server-Timing, as sessions write them.
#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>

#include "adoption_fixture.hpp"

namespace suture::test {
namespace {

const std::string kGet = "GET /a HTTP/1.1\r\nHost: h\r\nUser-Agent: u\r\nReferer: r\r\n\r\n";
const std::string kOk = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

class Lines final : public AccessSink {
 public:
  bool write(std::string_view line) override {
    const std::lock_guard lock(mutex_);
    lines_.emplace_back(line);
    return true;
  }
  std::vector<std::string> all() const {
    const std::lock_guard lock(mutex_);
    return lines_;
  }

 private:
  mutable std::mutex mutex_;
  std::vector<std::string> lines_;
};

class AccessTest : public AdoptionTest {
 protected:
  AccessTest() {
    options.access_log = &lines;
    options.access_format = config::AccessLog::Format::json;
    options.peer_names[NodeId{9}] = "pop9";
  }
  ~AccessTest() override {
    if (worker) worker->stop();
  }
  boost::json::object line(std::size_t n) {
    EXPECT_TRUE(eventually([&] { return lines.all().size() > n; })) << "no line " << n;
    const auto all = lines.all();
    return n < all.size() ? boost::json::parse(all[n]).as_object() : boost::json::object{};
  }
  static std::string text(const boost::json::object& line, const char* key) {
    const auto* value = line.if_contains(key);
    return value && value->is_string() ? std::string(value->as_string()) : "not there";
  }
  static std::int64_t number(const boost::json::object& line, const char* key) {
    const auto* value = line.if_contains(key);
    return value && value->is_int64() ? value->as_int64() : -1;
  }
  std::string upstream_name() const { return "127.0.0.1:" + std::to_string(application.port()); }
  Lines lines;
};

TEST_F(AccessTest, OneLineAResponse) {
  start();
  Peer client = connect_and_send(kGet);
  Peer app = application.accept();
  const auto head = app.read_head();
  EXPECT_TRUE(lines.all().empty());
  app.send(kOk);
  client.read_until("ok");
  const auto first = line(0);
  EXPECT_EQ(text(first, "client"), "127.0.0.1");
  EXPECT_EQ(text(first, "request"), "GET /a HTTP/1.1");
  EXPECT_EQ(text(first, "host"), "h");
  EXPECT_EQ(text(first, "referer"), "r");
  EXPECT_EQ(text(first, "user_agent"), "u");
  EXPECT_EQ(number(first, "status"), 200);
  EXPECT_EQ(number(first, "bytes"), 2);
  EXPECT_EQ(text(first, "upstream"), upstream_name());
  EXPECT_NE(head.find("X-Request-Id: " + text(first, "request_id") + "\r\n"), std::string::npos);
  EXPECT_EQ(text(first, "request_id").size(), 32U);
  EXPECT_EQ(text(first, "pop"), "pop7");
  EXPECT_EQ(text(first, "owner"), "pop7");
  EXPECT_EQ(text(first, "healed"), "");
  EXPECT_EQ(number(first, "heals"), 0);
  EXPECT_EQ(text(first, "close"), "") << "the connection stays";

  client.send("GET /b HTTP/1.1\r\nHost: h\r\nX-Request-Id: mine\r\nConnection: close\r\n\r\n");
  app.read_head();
  app.send("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
  client.read_all();
  const auto second = line(1);
  EXPECT_EQ(text(second, "request"), "GET /b HTTP/1.1");
  EXPECT_EQ(number(second, "status"), 404);
  EXPECT_EQ(number(second, "bytes"), 0);
  EXPECT_EQ(text(second, "request_id"), "mine");
  EXPECT_EQ(text(second, "user_agent"), "");
  EXPECT_EQ(text(second, "close"), "response_complete");
  client.close();
  ASSERT_TRUE(eventually([&] { return worker->active() == 0; }));
  EXPECT_EQ(lines.all().size(), 2U);
}

TEST_F(AccessTest, RefusedRequests) {
  start();
  const struct {
    std::string sent, request;
    int status;
  } rows[] = {
      {"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "GET / HTTP/1.1", 400},
      {"GET / HTTP/1.1\nHost: a\n\n", "GET / HTTP/1.1", 400},
      {"nonsense \"\x01\r\n\r\n", "nonsense \"\x01", 400},
      {"GET / HTTP/2.0\r\nHost: a\r\n\r\n", "GET / HTTP/2.0", -1},
      {"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", "CONNECT a:1 HTTP/1.1", 501},
      {"GET / HTTP/1.1\r\nX: " + std::string(40000, 'x') + "\r\n\r\n", "GET / HTTP/1.1", 431},
  };
  std::size_t n = 0;
  for (const auto& row : rows) {
    Peer client = connect_and_send(row.sent);
    const auto answer = client.read_all();
    const auto body = answer.substr(answer.find("\r\n\r\n") + 4);
    const auto got = line(n++);
    EXPECT_EQ(text(got, "request"), row.request);
    if (row.status > 0) {
      EXPECT_EQ(number(got, "status"), row.status);
    }
    EXPECT_EQ(number(got, "bytes"), static_cast<std::int64_t>(body.size()));
    EXPECT_EQ(text(got, "upstream"), "");
    EXPECT_EQ(text(got, "close"), "request_refused");
  }
  EXPECT_EQ(lines.all().size(), n);
}

TEST_F(AccessTest, NoApplication) {
  application.stop_listening();
  start();
  Peer client = connect_and_send(kGet);
  client.read_all();
  const auto got = line(0);
  EXPECT_EQ(number(got, "status"), 502);
  EXPECT_EQ(text(got, "upstream"), "");
  EXPECT_EQ(text(got, "user_agent"), "u");
  EXPECT_EQ(text(got, "close"), "upstream_unavailable");
}

TEST_F(AccessTest, WhatIsCutOff) {
  start();
  Peer client = connect_and_send(kGet);
  Peer app = application.accept();
  app.read_head();
  app.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc");
  client.read_until("abc");
  client.reset();
  const auto got = line(0);
  EXPECT_EQ(number(got, "status"), 200);
  EXPECT_EQ(number(got, "bytes"), 3);
  EXPECT_EQ(text(got, "close"), "client_reset");
  // Before any response.
  Peer second = connect_and_send(kGet);
  Peer second_app = application.accept();
  second_app.read_head();
  second.reset();
  EXPECT_EQ(number(line(1), "status"), 0);
  // Nothing was asked: no line.
  connect().close();
  connect_and_send("GE").close();
  ASSERT_TRUE(eventually([&] { return worker->active() == 0; }));
  EXPECT_EQ(lines.all().size(), 2U);
}

TEST_F(AccessTest, AnUpgradeHasItsLineAtItsEnd) {
  start();
  Peer client = connect_and_send("GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n");
  Peer app = application.accept();
  app.read_head();
  app.send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nhello");
  client.read_until("hello");
  EXPECT_TRUE(lines.all().empty());
  client.half_close();
  app.close();
  client.read_all();
  const auto got = line(0);
  EXPECT_EQ(number(got, "status"), 101);
  EXPECT_EQ(number(got, "bytes"), 5);
  EXPECT_EQ(text(got, "upstream"), upstream_name());
  EXPECT_EQ(text(got, "close"), "upstream_closed");
}

TEST_F(AccessTest, CombinedAsConfigured) {
  options.access_format = config::AccessLog::Format::combined;
  start();
  Peer client = connect_and_send(kGet);
  Peer app = application.accept();
  app.read_head();
  app.send(kOk);
  client.read_until("ok");
  ASSERT_TRUE(eventually([&] { return lines.all().size() == 1; }));
  const auto got = lines.all().front();
  EXPECT_EQ(got.substr(0, 15), "127.0.0.1 - - [");
  EXPECT_EQ(got.substr(got.find(']')), "] \"GET /a HTTP/1.1\" 200 2 \"r\" \"u\"\n");
}

TEST_F(AccessTest, AReplaySaysSoInTheLogAndToTheClient) {
  start();
  Flow f = flow();
  Adoption a = waiting_at(f, kGet);
  a.from = NodeId{9};
  adopt(a);
  Peer app = application.accept();
  app.read_head();
  ::usleep(20000);
  app.send("HTTP/1.1 200 OK\r\nServer-Timing: db;dur=53\r\nContent-Length: 2\r\n\r\nok");
  const auto head = f.client.read_until("ok");
  EXPECT_NE(head.find("Server-Timing: db;dur=53\r\n"), std::string::npos);
  const std::string ours = "Server-Timing: heal;desc=\"replay\";dur=";
  const auto at = head.find(ours);
  ASSERT_NE(at, std::string::npos) << head;
  EXPECT_GE(std::stod(head.substr(at + ours.size())), 20.0);
  EXPECT_LT(std::stod(head.substr(at + ours.size())), 5000.0);
  const auto healed = line(0);
  EXPECT_EQ(text(healed, "request"), "GET /a HTTP/1.1");
  EXPECT_EQ(text(healed, "user_agent"), "u");
  EXPECT_EQ(number(healed, "status"), 200);
  EXPECT_EQ(text(healed, "pop"), "pop7");
  EXPECT_EQ(text(healed, "owner"), "pop9");
  EXPECT_EQ(text(healed, "healed"), "replay");
  EXPECT_EQ(number(healed, "heals"), 3) << "the record's epoch";
  // The next request on this connection was not healed.
  f.client.send(kGet);
  app.read_head();
  app.send(kOk);
  EXPECT_EQ(f.client.read_until("ok").find("Server-Timing"), std::string::npos);
  const auto next = line(1);
  EXPECT_EQ(text(next, "healed"), "");
  EXPECT_EQ(text(next, "owner"), "pop9");
  EXPECT_EQ(number(next, "heals"), 3);
}

TEST_F(AccessTest, ARefusedHeal) {
  start();
  Flow f = flow();
  Adoption a = waiting_at(f, "POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n");
  a.resume.rung = ResumeRung::refuse;
  a.resume.reason = heal_reason::not_idempotent;
  adopt(a);
  EXPECT_NE(f.client.read_head().find("Server-Timing: heal;desc=\"refuse\";dur="), std::string::npos);
  const auto got = line(0);
  EXPECT_EQ(text(got, "request"), "POST /p HTTP/1.1");
  EXPECT_EQ(number(got, "status"), 503);
  EXPECT_EQ(text(got, "healed"), "refuse");
  EXPECT_EQ(text(got, "close"), "refused_heal");
}

TEST_F(AccessTest, AReplayWithoutAnApplication) {
  application.stop_listening();
  start();
  Flow f = flow();
  adopt(waiting_at(f, kGet));
  const auto head = f.client.read_head();
  EXPECT_EQ(head.substr(0, 12), "HTTP/1.1 502");
  EXPECT_NE(head.find("Server-Timing: heal;desc=\"refuse\";dur="), std::string::npos);
  EXPECT_EQ(text(line(0), "healed"), "refuse");
}

TEST_F(AccessTest, ARangeCountsWhatTheFormerOwnerSent) {
  start();
  Flow f = flow();
  adopt(response_at(f, kGet));
  Peer app = application.accept();
  app.read_head();
  app.send(
      "HTTP/1.1 206 Partial Content\r\nETag: \"e\"\r\nContent-Range: bytes 4-9/10\r\nContent-Length: 6\r\n\r\n456789");
  EXPECT_EQ(f.client.read_bytes(6), "456789");
  const auto got = line(0);
  EXPECT_EQ(number(got, "status"), 200);
  EXPECT_EQ(number(got, "bytes"), 10);
  EXPECT_EQ(text(got, "healed"), "range");
}

TEST_F(AccessTest, IdleIsNoLine) {
  start();
  Flow f = flow();
  adopt(idle_at(f));
  expect_outcome(ResumeRung::idle);
  f.client.send(kGet);
  Peer app = application.accept();
  app.read_head();
  app.send(kOk);
  EXPECT_EQ(f.client.read_until("ok").find("Server-Timing"), std::string::npos);
  EXPECT_EQ(text(line(0), "healed"), "");
  EXPECT_EQ(number(line(0), "heals"), 3);
  EXPECT_EQ(lines.all().size(), 1U);
}

// It goes on elsewhere, and its line is written there.
TEST_F(AccessTest, AReleasedSessionLeavesNone) {
  start();
  Flow f = flow();
  adopt(waiting_at(f, kGet));
  Peer app = application.accept();
  app.read_head();
  worker->release(f.key, false);
  ASSERT_TRUE(eventually([&] { return worker->active() == 0; }));
  EXPECT_TRUE(lines.all().empty());
}

}  // namespace
}  // namespace suture::test
