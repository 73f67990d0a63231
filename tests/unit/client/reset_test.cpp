// Resets of silent clients: the egress program would drop them, so the client is made to speak first. What plays the
// silent client is a socket filter that drops every segment before its TCP sees it.
#include <atomic>

#include <linux/filter.h>
#include <proxy/client/closing.hpp>
#include <suture/clock.hpp>

#include "proxy_fixture.hpp"

namespace suture::test {
namespace {

class ResetTest : public ProxyTest {
 protected:
  ResetTest() {
    options.listeners[0].mode = SessionMode::tcp;
    options.lease = Millis{200};
    options.reset_patience = Millis{60'000};  // longer than any test waits
  }
  struct Flow {
    Peer client, app;
    int fd = -1;  // the worker's end
  };
  Flow flow() {
    Flow f;
    f.client = connect_and_send("x");
    f.app = application.accept();
    EXPECT_EQ(f.app.read_bytes(1), "x");
    f.fd = hook.fds().back();
    return f;
  }
  bool falls_silent(const Flow& f) {
    return eventually([&] { return closing::silence(f.fd) > options.lease; });
  }
  static void deafen(const Peer& client) {
    sock_filter drop{BPF_RET | BPF_K, 0, 0, 0};
    const sock_fprog program{1, &drop};
    ASSERT_EQ(::setsockopt(client.fd(), SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program), 0);
  }
  static void hear(const Peer& client) {
    const int ignored = 0;
    ASSERT_EQ(::setsockopt(client.fd(), SOL_SOCKET, SO_DETACH_FILTER, &ignored, sizeof ignored), 0);
  }
  bool asked(double n) {
    return eventually([&] { return metric("suture_resets_asked_total") == n; });
  }
  bool over(std::size_t erased = 1) {
    return eventually([&] { return worker->active() == 0 && sink.erased() == erased; });
  }
  static void expect_reset(Peer& client) {
    client.read_all();
    EXPECT_EQ(client.last_errno(), ECONNRESET);
  }
};

TEST_F(ResetTest, ASilentClientIsMadeToSpeakFirst) {
  start();
  Flow f = flow();
  deafen(f.client);
  ASSERT_TRUE(falls_silent(f));
  f.app.reset();
  ASSERT_TRUE(asked(1));
  const auto ticks = worker->ticks();
  ASSERT_TRUE(eventually([&] { return worker->ticks() > ticks + 40; }));
  EXPECT_EQ(worker->active(), 1U) << "an RST into the void";
  EXPECT_EQ(sink.erased(), 0U);
  hear(f.client);
  expect_reset(f.client);
  EXPECT_TRUE(over());
  EXPECT_EQ(metric("suture_resets_silent_total"), 0);
  EXPECT_EQ(metric("suture_closes_total", "cause=\"upstream_reset\""), 1);
}

TEST_F(ResetTest, WaitsForAHeartbeatThatIsStale) {
  std::atomic<bool> beats{false};
  options.beats = [&] { return beats.load(); };
  options.reset_patience = Millis{1200};  // Linux answers such questions once in 500 ms (tcp_invalid_ratelimit)
  start();
  Flow f = flow();
  const auto began = Clock::now();
  f.app.reset();
  // Until it has answered a question of the time beyond that patience.
  ASSERT_TRUE(eventually([&] {
    const auto waited = Clock::now() - began;
    return waited > options.reset_patience * 3 / 2 && closing::silence(f.fd) < waited - options.reset_patience;
  }));
  EXPECT_EQ(worker->active(), 1U) << "an RST that the egress program drops";
  EXPECT_EQ(sink.erased(), 0U);
  beats = true;
  expect_reset(f.client);
  EXPECT_TRUE(over());
}

TEST_F(ResetTest, AHalfClosedClientIsAskedToo) {
  start();
  Flow f = flow();
  f.client.half_close();
  EXPECT_TRUE(f.app.at_eof());
  ASSERT_TRUE(falls_silent(f));
  f.app.reset();
  expect_reset(f.client);
  EXPECT_TRUE(over());
  EXPECT_EQ(metric("suture_resets_asked_total"), 1);
}

TEST_F(ResetTest, AClientThatHasJustSpokenIsResetAtOnce) {
  options.lease = Millis{60'000};
  start();
  Flow f = flow();
  f.app.reset();
  expect_reset(f.client);
  EXPECT_TRUE(over());
  EXPECT_EQ(metric("suture_resets_asked_total"), 0);
}

TEST_F(ResetTest, WhatTheClientSaysByItselfIsEnough) {
  start();
  Flow f = flow();
  deafen(f.client);  // it hears no question
  ASSERT_TRUE(falls_silent(f));
  f.app.reset();
  ASSERT_TRUE(asked(1));
  f.client.send("hello?");
  EXPECT_TRUE(over());
  EXPECT_EQ(metric("suture_resets_silent_total"), 0);
}

TEST_F(ResetTest, AClientThatStaysSilentIsGivenUpInTheEnd) {
  options.reset_patience = Millis{300};
  start();
  Flow f = flow();
  deafen(f.client);
  ASSERT_TRUE(falls_silent(f));
  const auto before = Clock::now();
  f.app.reset();
  EXPECT_TRUE(over());
  EXPECT_GE(Clock::now() - before, options.reset_patience);
  EXPECT_EQ(metric("suture_resets_silent_total"), 1);
}

TEST_F(ResetTest, AFrozenSessionIsNotReset) {
  start();
  Flow f = flow();
  const auto key = sink.last().facts.key;
  deafen(f.client);
  ASSERT_TRUE(falls_silent(f));
  f.app.reset();
  ASSERT_TRUE(asked(1));
  worker->freeze(key);
  const auto ticks = worker->ticks();
  ASSERT_TRUE(eventually([&] { return worker->ticks() > ticks + 2; }));
  hear(f.client);
  ASSERT_TRUE(eventually([&] { return closing::silence(f.fd) < options.lease / 2; })) << "the kernel went on asking";
  const auto heard = worker->ticks();
  ASSERT_TRUE(eventually([&] { return worker->ticks() > heard + 10; }));
  EXPECT_EQ(worker->active(), 1U) << "another node may be serving this client";
  worker->thaw(key);
  expect_reset(f.client);
  EXPECT_TRUE(over());
}

TEST_F(ResetTest, StoppingWaitsForTheSilentOnes) {
  options.at_stop = [](const SessionRecord&) { return StopAction::reset; };
  start();
  Flow quiet = flow(), deaf = flow();
  deafen(quiet.client);
  deafen(deaf.client);
  ASSERT_TRUE(falls_silent(quiet));
  ASSERT_TRUE(falls_silent(deaf));
  worker->begin_stop(Millis{60'000});
  ASSERT_TRUE(asked(2));
  EXPECT_FALSE(worker->accepting());
  hear(quiet.client);
  expect_reset(quiet.client);
  EXPECT_TRUE(eventually([&] { return worker->active() == 1; }));
  EXPECT_FALSE(worker->stopped());
  worker->stop();  // the patience of the caller is over
  EXPECT_TRUE(worker->stopped());
  EXPECT_EQ(sink.erased(), 2U);
}

TEST_F(ResetTest, StoppingEndsByItself) {
  options.at_stop = [](const SessionRecord&) { return StopAction::reset; };
  start();
  Flow f = flow();
  deafen(f.client);
  ASSERT_TRUE(falls_silent(f));
  worker->begin_stop(Millis{200});
  EXPECT_TRUE(eventually([&] { return worker->stopped(); }));
  EXPECT_EQ(sink.erased(), 1U);
}

TEST_F(ResetTest, StoppingWaitsForAFullSink) {
  options.at_stop = [](const SessionRecord&) { return StopAction::close; };
  start();
  Flow f = flow();
  sink.refuse_next(5);
  worker->begin_stop(Millis{60'000});
  EXPECT_TRUE(eventually([&] { return worker->stopped(); }));
  EXPECT_EQ(sink.erased(), 1U);
}

}  // namespace
}  // namespace suture::test
