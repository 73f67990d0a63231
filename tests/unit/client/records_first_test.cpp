// Bytes that an heir must know leave for the client behind their record (RecordSink::hurry), and not much later.
#include <atomic>
#include <thread>

#include <sys/socket.h>

#include "proxy_fixture.hpp"

namespace suture::test {
namespace {

// Records leave when the test says so.
class SlowSink final : public RecordSink {
 public:
  bool upsert(const SessionRecord& record) override {
    const std::lock_guard lock(mutex_);
    last_ = record;
    ++taken_;
    return true;
  }
  bool erase(const suture_flow_key&, std::uint64_t) override {
    const std::lock_guard lock(mutex_);
    ++taken_;
    return true;
  }
  std::uint64_t hurry() override {
    const std::lock_guard lock(mutex_);
    awaited_ = true;
    hurried_ = taken_;
    return listened_ ? taken_ : 0;
  }
  bool left(std::uint64_t changes) const override {
    const std::lock_guard lock(mutex_);
    return left_ >= changes;
  }
  void set_on_left(std::function<void()> call) override { on_left_ = std::move(call); }
  void rest() override {
    const std::lock_guard lock(mutex_);
    awaited_ = false;
  }

  void leave() {
    {
      const std::lock_guard lock(mutex_);
      left_ = taken_;
    }
    on_left_();
  }
  void listen(bool listened) {
    const std::lock_guard lock(mutex_);
    listened_ = listened;
  }
  std::uint64_t hurried() const {
    const std::lock_guard lock(mutex_);
    return hurried_;
  }
  bool awaited() const {
    const std::lock_guard lock(mutex_);
    return awaited_;
  }
  SessionRecord last() const {
    const std::lock_guard lock(mutex_);
    return last_;
  }

 private:
  mutable std::mutex mutex_;
  std::function<void()> on_left_;
  SessionRecord last_;
  std::uint64_t taken_ = 0, left_ = 0, hurried_ = 0;
  bool awaited_ = false, listened_ = true;
};

const std::string kGet = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n";

class RecordsFirstTest : public ProxyTest {
 protected:
  ~RecordsFirstTest() override {
    if (worker) worker->stop();
    worker.reset();
  }
  void start(Millis patience = Millis{3600'000}) {
    options.record_patience = patience;
    const auto loopback = boost::asio::ip::make_address("127.0.0.1");
    options.listeners[0].default_route().upstreams = {config::TcpEndpoint(loopback, application.port())};
    worker = std::make_unique<Worker>(options, slow, hook);
    worker->register_metrics(registry);
    const auto opened = worker->open();
    ASSERT_TRUE(opened) << opened.error().message;
    worker->start();
  }
  // A client, its request, and the application that has sent `answer`.
  std::pair<Peer, Peer> asked(const std::string& answer) {
    Peer client = connect_and_send(kGet);
    Peer app = application.accept();
    app.read_head();
    app.send(answer);
    return {std::move(client), std::move(app)};
  }
  // Something waits for its record, and the client has nothing of it.
  bool held(const Peer& client, std::uint64_t before) {
    if (!eventually([&] { return slow.hurried() > before; })) return false;
    return nothing_for(client);
  }
  static bool nothing_for(const Peer& client) {
    char byte;
    return ::recv(client.fd(), &byte, 1, MSG_PEEK | MSG_DONTWAIT) == -1 && errno == EAGAIN;
  }

  SlowSink slow;
};

TEST_F(RecordsFirstTest, AResponseWaitsUntilItsRecordHasLeft) {
  start();
  auto [client, app] = asked("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc");
  ASSERT_TRUE(held(client, 0));
  const SessionRecord record = slow.last();
  ASSERT_TRUE(record.http && record.http->journal);
  EXPECT_TRUE(record.http->journal->ends_with("\r\n\r\nabc")) << "what waits is what the record holds";
  slow.leave();
  client.read_head();
  EXPECT_EQ(client.read_bytes(3), "abc");
  EXPECT_TRUE(eventually([&] { return !slow.awaited(); })) << "nobody is to be told any more";
  EXPECT_EQ(metric("suture_records_awaited_total"), 1);
  EXPECT_EQ(metric("suture_records_awaited_late_total"), 0);
  // The next one likewise.
  const auto before = slow.hurried();
  client.send(kGet);
  app.read_head();
  app.send("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\ndef");
  ASSERT_TRUE(held(client, before));
  slow.leave();
  client.read_head();
  EXPECT_EQ(client.read_bytes(3), "def");
}

TEST_F(RecordsFirstTest, WithoutAPeerNothingWaits) {
  slow.listen(false);
  start();
  auto [client, app] = asked("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc");
  client.read_head();
  EXPECT_EQ(client.read_bytes(3), "abc");
  EXPECT_EQ(metric("suture_records_awaited_total"), 0);
}

TEST_F(RecordsFirstTest, ARecordThatDoesNotLeaveIsNotWaitedForForEver) {
  start(Millis{100});
  auto [client, app] = asked("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc");
  client.read_head();
  EXPECT_EQ(client.read_bytes(3), "abc");
  EXPECT_EQ(metric("suture_records_awaited_late_total"), 1);
}

// Without journal and marks there is nothing in a record that the rest of the body would have to wait for.
TEST_F(RecordsFirstTest, ABodyThatRangeContinuesWaitsForItsHeadAlone) {
  start();
  auto [client, app] =
      asked("HTTP/1.1 200 OK\r\nETag: \"e\"\r\nAccept-Ranges: bytes\r\nContent-Length: 200000\r\n\r\n");
  ASSERT_TRUE(held(client, 0));
  slow.leave();
  client.read_head();
  const std::string body(200'000, 'x');
  app.send(body);
  EXPECT_TRUE(client.read_bytes(body.size()) == body);
  EXPECT_EQ(metric("suture_records_awaited_total"), 1);
}

// Of a body that ends with the connection, the FIN is the end: an heir must know that nothing follows.
TEST_F(RecordsFirstTest, TheEndOfTheConnectionWaitsToo) {
  start();
  Peer client = connect_and_send("GET /a HTTP/1.1\r\nHost: h\r\n\r\n");
  Peer app = application.accept();
  app.read_head();
  app.send("HTTP/1.1 200 OK\r\n\r\nall of it");
  app.close();
  ASSERT_TRUE(held(client, 0));
  std::atomic<bool> done{false};
  std::thread leaves([&] {
    while (!done) {
      if (slow.last().http->phase == HttpPhase::response) slow.leave();
      ::usleep(1000);
    }
  });
  client.read_head();
  EXPECT_EQ(client.read_bytes(9), "all of it");
  EXPECT_TRUE(eventually([&] { return slow.last().http->phase != HttpPhase::response; }));
  done = true;
  leaves.join();
  EXPECT_TRUE(nothing_for(client)) << "no FIN yet";
  slow.leave();
  EXPECT_TRUE(client.at_eof());
}

// ... and of a chunked one that neither journal nor digest covers.
TEST_F(RecordsFirstTest, TheLastChunkWaitsToo) {
  options.listeners[0].default_route().journal_bytes_max = 0;
  options.listeners[0].default_route().checkpoints = false;
  start();
  auto [client, app] = asked("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
  ASSERT_TRUE(held(client, 0));
  slow.leave();
  client.read_head();
  app.send("3\r\nabc\r\n");
  EXPECT_EQ(client.read_bytes(8), "3\r\nabc\r\n");
  const auto before = slow.hurried();
  app.send("0\r\n\r\n");
  ASSERT_TRUE(held(client, before));
  EXPECT_NE(slow.last().http->response_end, 0U);
  slow.leave();
  EXPECT_EQ(client.read_bytes(5), "0\r\n\r\n");
}

TEST_F(RecordsFirstTest, AnAnswerThatWaitsIsNotDroppedBehindALargeUpload) {
  application.stop_listening();
  start();
  Peer client = connect_and_send("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 100000000\r\n\r\n");
  ASSERT_TRUE(held(client, 0));
  client.send(std::string(6 << 20, 'x'));
  EXPECT_TRUE(eventually([&] { return metric("suture_bytes_total", "direction=\"in\"") > (4 << 20); }));
  slow.leave();
  EXPECT_TRUE(client.read_head().starts_with("HTTP/1.1 502"));
}

TEST_F(RecordsFirstTest, OurOwnAnswersWaitToo) {
  start();
  Peer client = connect_and_send("GET /a HTTP/1.1\r\n\r\n");  // no Host
  ASSERT_TRUE(held(client, 0));
  slow.leave();
  EXPECT_TRUE(client.read_head().starts_with("HTTP/1.1 400"));
}

TEST_F(RecordsFirstTest, AClientThatGoesMeanwhileIsForgotten) {
  start();
  {
    Peer client = connect_and_send(kGet);
    Peer app = application.accept();
    app.read_head();
    app.send("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc");
    ASSERT_TRUE(held(client, 0));
    client.reset();
  }
  EXPECT_TRUE(eventually([&] { return worker->active() == 0; }));
  slow.leave();
  EXPECT_TRUE(eventually([&] { return !slow.awaited(); }));
}

TEST_F(RecordsFirstTest, WhatLeftWhileTheSessionWasFrozenGoesOutWithTheThaw) {
  start();
  auto [client, app] = asked("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc");
  ASSERT_TRUE(held(client, 0));
  const auto key = slow.last().facts.key;
  worker->freeze(key);
  slow.leave();
  EXPECT_TRUE(eventually([&] { return !slow.awaited(); }));
  EXPECT_TRUE(nothing_for(client));
  worker->thaw(key);
  client.read_head();
  EXPECT_EQ(client.read_bytes(3), "abc");
}

}  // namespace
}  // namespace suture::test
