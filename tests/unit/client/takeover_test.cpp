// What the control thread does with sessions by their key, and adoption's own edges.
#include <suture/clock.hpp>

#include "adoption_fixture.hpp"

namespace suture::test {
namespace {

const std::string kGet = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n";
const std::string kOk = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

class TakeoverTest : public AdoptionTest {
 protected:
  // What the event loop had before is done: a whole exchange of another session has passed through it.
  void exchange_elsewhere() {
    Peer other = connect_and_send("GET /other HTTP/1.1\r\nHost: h\r\n\r\n");
    Peer app = application.accept();
    EXPECT_EQ(app.read_head().substr(0, 10), "GET /other");
    app.send("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
    other.read_head();
  }
  std::size_t records_of(const suture_flow_key& key) const {
    std::size_t n = 0;
    for (const auto& record : sink.records())
      if (record.facts.key == key) ++n;
    return n;
  }
};

TEST_F(TakeoverTest, AFrozenSessionKeepsWhatArrives) {
  start();
  Flow f = flow();
  adopt(idle_at(f));
  expect_outcome(ResumeRung::idle);
  worker->freeze(f.key);
  barrier();
  const std::size_t published = records_of(f.key);
  f.client.send(kGet);
  exchange_elsewhere();  // would have got the frozen request's connection
  EXPECT_EQ(records_of(f.key), published);
  worker->thaw(f.key);
  Peer app = application.accept();
  EXPECT_EQ(app.read_head().substr(0, 6), "GET /a");
  // In the middle of an exchange.
  worker->freeze(f.key);
  barrier();
  app.send(kOk);
  exchange_elsewhere();
  EXPECT_TRUE(silent(f.client));
  worker->thaw(f.key, Epoch{9});
  f.client.read_until("ok");
  EXPECT_TRUE(eventually([&] {
    const auto record = sink.last();
    return record.facts.key == f.key && record.epoch == 9 && record.http->phase == HttpPhase::idle;
  }));
}

TEST_F(TakeoverTest, ForAFrozenSessionTimeStandsStill) {
  constexpr auto kIdle = Millis(600), kSlack = Millis(100);
  options.timeouts.keep_alive_ms = static_cast<std::uint32_t>(kIdle.count());
  start();
  Flow frozen = flow(), other = flow();
  const auto adopted = Clock::now();
  adopt(idle_at(frozen));
  worker->freeze(frozen.key);
  barrier();
  const auto left = kIdle - (Clock::now() - adopted);  // at least
  adopt(idle_at(other));
  EXPECT_TRUE(other.client.at_eof()) << "its deadline, the later one, has passed";
  EXPECT_TRUE(silent(frozen.client));
  const auto thawed = Clock::now();
  worker->thaw(frozen.key);
  EXPECT_TRUE(frozen.client.at_eof()) << "deadlines count again";
  EXPECT_GE(Clock::now() - thawed, left - kSlack) << "the time in which it was frozen counted";
}

TEST_F(TakeoverTest, FrozenWhileConnecting) {
  start();
  Flow f = flow();
  adopt(waiting_at(f, kGet));
  worker->freeze(f.key);  // perhaps before the application's connection is there
  barrier();
  Peer app = application.accept();
  worker->thaw(f.key);
  app.read_head();
  app.send(kOk);
  f.client.read_until("ok");
}

TEST_F(TakeoverTest, ReleaseIsSilent) {
  ASSERT_EQ(::geteuid(), 0U) << "repair mode needs CAP_NET_ADMIN";
  start();
  Flow f = flow();
  adopt(waiting_at(f, kGet));
  Peer app = application.accept();
  app.read_head();
  f.client.send("unread bytes would make a close an RST");
  worker->freeze(f.key);
  worker->release(f.key, false);
  EXPECT_TRUE(app.at_eof()) << "the application's connection stays open";
  EXPECT_TRUE(eventually([&] { return worker->active() == 0; }));
  EXPECT_TRUE(silent(f.client)) << "a segment left";
  EXPECT_EQ(sink.erased(), 0U) << "the record has another owner";
  EXPECT_EQ(metric("suture_closes_total", "cause=\"released\""), 1);
  worker->abort(f.key);  // it is not known any more
  barrier();
  EXPECT_TRUE(silent(f.client));
}

TEST_F(TakeoverTest, ReleaseMayEraseTheRecord) {
  start();
  Flow f = flow();
  adopt(idle_at(f));
  worker->release(f.key, true);
  EXPECT_TRUE(eventually([&] { return worker->active() == 0 && sink.erased() == 1; }));
}

TEST_F(TakeoverTest, AbortIsAnRst) {
  start();
  Flow f = flow();
  adopt(idle_at(f));
  worker->abort(f.key);
  f.client.read_all();
  EXPECT_EQ(f.client.last_errno(), ECONNRESET);
  EXPECT_TRUE(eventually([&] { return sink.erased() == 1; }));
}

TEST_F(TakeoverTest, AcceptedSessionsHearTheSameWords) {
  start();
  Peer client = connect();
  ASSERT_TRUE(eventually([&] { return sink.records().size() == 1; }));
  const auto key = sink.last().facts.key;
  worker->freeze(key);
  barrier();
  client.send(kGet);
  exchange_elsewhere();
  worker->thaw(key);
  Peer app = application.accept();
  EXPECT_EQ(app.read_head().substr(0, 6), "GET /a");
  worker->abort(key);
  client.read_all();
  EXPECT_EQ(client.last_errno(), ECONNRESET);
}

TEST_F(TakeoverTest, AnUnknownKeyHasNoEffect) {
  start();
  Flow f = flow();
  adopt(idle_at(f));
  suture_flow_key unknown = f.key;
  unknown.client_port ^= 1;
  worker->freeze(unknown);
  worker->thaw(unknown);
  worker->thaw(f.key);  // not frozen
  worker->release(unknown, true);
  worker->abort(unknown);
  f.client.send(kGet);
  Peer app = application.accept();
  app.read_head();
  app.send(kOk);
  f.client.read_until("ok");
  EXPECT_EQ(sink.erased(), 0U);
}

TEST_F(TakeoverTest, ManyAtOnce) {
  start();
  std::vector<Flow> flows;
  for (int i = 0; i < 300; ++i) flows.push_back(flow());
  for (const Flow& f : flows) adopt(idle_at(f));
  for (const Flow& f : flows) worker->freeze(f.key);
  for (const Flow& f : flows) f.client.send(kGet);
  for (const Flow& f : flows) worker->release(f.key, false);
  EXPECT_TRUE(eventually([&] { return worker->active() == 0; }));
  EXPECT_EQ(metric("suture_heals_total", "rung=\"idle\""), 300);
}

TEST_F(TakeoverTest, AdoptedSessionsDoNotFillTheListener) {
  options.listeners[0].limits.connections_max = 1;
  start();
  Flow f = flow();
  adopt(idle_at(f));
  expect_outcome(ResumeRung::idle);
  Peer client = connect_and_send(kGet);
  Peer app = application.accept();
  app.read_head();
  f.client.close();
  ASSERT_TRUE(eventually([&] { return worker->active() == 1; }));
  // Its end is not counted there either: the listener is still full.
  Peer second = connect_and_send("GET /2 HTTP/1.1\r\nHost: h\r\n\r\n");
  EXPECT_TRUE(eventually([&] { return metric("suture_rejected_total", "reason=\"connections_max\"") > 0; }));
  app.send("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
  client.read_head();
  client.close();
  Peer next = application.accept();
  EXPECT_EQ(next.read_head().substr(0, 6), "GET /2");
}

TEST_F(TakeoverTest, AFullSinkIsAskedAgain) {
  start();
  sink.refuse_next(2);
  Flow f = flow();
  adopt(idle_at(f));
  EXPECT_TRUE(eventually([&] { return sink.records().size() == 1; }));
  EXPECT_EQ(sink.last().epoch, 3U);
}

TEST_F(TakeoverTest, AStoppedWorkerTakesNothing) {
  start();
  Flow f = flow();
  const Adoption a = idle_at(f);
  worker->stop();
  EXPECT_FALSE(worker->adopt(a));
  EXPECT_EQ(::fcntl(f.fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC) << "the descriptor is still the caller's";
  ::close(f.fd);
}

TEST_F(TakeoverTest, WhatWasQueuedIsNotLeaked) {
  start();
  const auto ports = worker->bound_ports();
  worker->stop();
  auto idle_worker = std::make_unique<Worker>(options, sink, hook);
  ASSERT_TRUE(idle_worker->open());  // never started
  worker = std::move(idle_worker);
  Flow f = flow();
  EXPECT_TRUE(worker->adopt(idle_at(f)));
  worker.reset();
  EXPECT_EQ(::fcntl(f.fd, F_GETFD), -1);
  ASSERT_EQ(outcomes().size(), 1U);
  EXPECT_EQ(outcomes().front().reason, heal_reason::stopped);
  if (::geteuid() == 0) {
    EXPECT_TRUE(silent(f.client));
  }
}

TEST_F(TakeoverTest, AFrozenSessionStopsInSilence) {
  ASSERT_EQ(::geteuid(), 0U) << "repair mode needs CAP_NET_ADMIN";
  options.at_stop = [](const SessionRecord&) { return StopAction::close; };
  start();
  Flow f = flow();
  adopt(idle_at(f));
  expect_outcome(ResumeRung::idle);  // or the barrier takes it for its own
  worker->freeze(f.key);
  barrier();
  const std::size_t published = records_of(f.key);
  worker->stop();
  EXPECT_TRUE(silent(f.client)) << "another node may be serving this client";
  EXPECT_EQ(records_of(f.key), published);
}

}  // namespace
}  // namespace suture::test
