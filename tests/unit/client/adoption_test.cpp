// Every rung of the ladder, carried out.
#include "adoption_fixture.hpp"

namespace suture::test {
namespace {

const std::string kGet = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n";
const std::string kPost = "POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx";
const std::string kOk = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

TEST_F(AdoptionTest, IdleGoesOnWithTheNextRequest) {
  start();
  Flow f = flow();
  adopt(idle_at(f));
  expect_outcome(ResumeRung::idle);
  EXPECT_TRUE(outcome().key == f.key);
  // The claim is announced before anything happens.
  const SessionRecord claimed = sink.records().front();
  EXPECT_EQ(claimed.epoch, 3U);
  EXPECT_TRUE(claimed.fenced);
  EXPECT_EQ(claimed.fence, 1234U);
  EXPECT_EQ(claimed.owner, NodeId{7});
  EXPECT_EQ(claimed.facts.iss, 77U);
  EXPECT_NE(claimed.session_id, 0U);
  EXPECT_EQ(claimed.in_known, kIn);
  EXPECT_EQ(claimed.out_sent, kOut);
  EXPECT_EQ(claimed.out_acked, kOut);
  EXPECT_EQ(worker->active(), 1U);
  EXPECT_EQ(metric("suture_connections_total", "mode=\"http\""), 0);

  f.client.send(kGet);
  Peer app = application.accept();
  const auto head = app.read_head();
  EXPECT_EQ(head.substr(0, 6), "GET /a");
  EXPECT_EQ(head.find("Suture-Replay"), std::string::npos);
  SessionRecord record = sink.last();
  EXPECT_EQ(record.http->request_start, kIn);
  EXPECT_EQ(record.http->request_head_end, kIn + kGet.size());
  app.send(kOk);
  const auto answer = f.client.read_head();
  f.client.read_bytes(2);
  EXPECT_TRUE(eventually([&] { return sink.last().out_acked == kOut + answer.size() + 2; }));
  EXPECT_EQ(sink.last().http->exchanges, 5U);

  f.client.close();
  EXPECT_TRUE(eventually([&] { return worker->active() == 0; }));
  EXPECT_EQ(sink.erased(), 1U);
}

TEST_F(AdoptionTest, TheLastExchangeEndsWithAFin) {
  options.fin_mark = 0x10000000;
  options.rst_mark = 0x20000000;
  start();
  Flow f = flow();
  Adoption a = idle_at(f);
  a.resume.close_after = true;
  adopt(a);
  EXPECT_TRUE(f.client.at_eof());
  expect_outcome(ResumeRung::idle);
  std::uint32_t mark = 0;
  socklen_t size = sizeof mark;
  ::getsockopt(f.fd, SOL_SOCKET, SO_MARK, &mark, &size);
  EXPECT_EQ(mark, ::geteuid() == 0 ? options.fin_mark : 0U);
  f.client.close();
  EXPECT_TRUE(eventually([&] { return worker->active() == 0; }));
}

TEST_F(AdoptionTest, ASecondFinIsNotSent) {
  start();
  Flow f = flow();
  Adoption a = idle_at(f);
  a.record.out_closed = true;
  a.resume.cursor = kOut + 1;
  a.resume.close_after = true;
  adopt(a);
  expect_outcome(ResumeRung::idle);
  EXPECT_TRUE(sink.last().out_closed);
  EXPECT_EQ(sink.last().out_sent, kOut);
  barrier();
  EXPECT_TRUE(silent(f.client));
  f.client.close();
  EXPECT_TRUE(eventually([&] { return worker->active() == 1; }));  // the barrier's
}

TEST_F(AdoptionTest, AHalfClosedIdleClientIsClosed) {
  start();
  Flow f = flow();
  Adoption a = idle_at(f);
  a.record.in_closed = true;
  a.resume.received = kIn + 1;
  adopt(a);
  EXPECT_TRUE(f.client.at_eof());
  EXPECT_EQ(sink.last().in_known, kIn);
  EXPECT_TRUE(eventually([&] { return worker->active() == 0; }));
}

TEST_F(AdoptionTest, ReplayAsksThisApplication) {
  start();
  Flow f = flow();
  adopt(waiting_at(f, kGet));
  Peer app = application.accept();
  const auto head = app.read_head();
  EXPECT_EQ(head.substr(0, 6), "GET /a");
  EXPECT_NE(head.find("Suture-Replay: 1\r\n"), std::string::npos);
  const SessionRecord claimed = sink.last();
  EXPECT_EQ(claimed.http->phase, HttpPhase::waiting);
  EXPECT_EQ(*claimed.http->request_head, kGet);
  EXPECT_EQ(claimed.http->request_head_end, kIn);
  EXPECT_EQ(claimed.http->response_end, kOut);
  EXPECT_TRUE(outcomes().empty()) << "nothing was written yet";
  f.client.send(kGet);  // pipelined meanwhile
  app.send(kOk);
  EXPECT_EQ(f.client.read_head().substr(0, 12), "HTTP/1.1 200");
  EXPECT_EQ(f.client.read_bytes(2), "ok");
  expect_outcome(ResumeRung::replay);
  EXPECT_EQ(app.read_head().find("Suture-Replay"), std::string::npos);
  app.send(kOk);
  EXPECT_EQ(f.client.read_until("ok").substr(0, 12), "HTTP/1.1 200");
}

TEST_F(AdoptionTest, ReplayThatMustBeTheLastSaysSo) {
  start();
  Flow f = flow();
  Adoption a = waiting_at(f, kGet);
  a.resume.close_after = true;
  adopt(a);
  Peer app = application.accept();
  app.read_head();
  app.send(kOk);
  EXPECT_NE(f.client.read_head().find("Connection: close"), std::string::npos);
  EXPECT_EQ(f.client.read_all(), "ok");
  EXPECT_EQ(f.client.last_errno(), 0);
}

TEST_F(AdoptionTest, ReplayOfAnAnsweredExchange) {
  start();
  Flow f = flow();
  Adoption a = idle_at(f);
  Exchange answered = *waiting_at(f, kGet).record.http;
  a.record.http->answered = {answered, answered};
  a.record.http->answered[1].request_head = std::make_shared<const std::string>("GET /2 HTTP/1.1\r\nHost: h\r\n\r\n");
  a.resume.rung = ResumeRung::replay;
  a.resume.exchange = 1;
  adopt(a);
  Peer app = application.accept();
  EXPECT_EQ(app.read_head().substr(0, 6), "GET /2");
  EXPECT_TRUE(sink.last().http->answered.empty());
  app.send(kOk);
  f.client.read_until("ok");
  expect_outcome(ResumeRung::replay);
}

// The dead owner had answered, and the client has none of it: that answer must not stand in our record as ours.
TEST_F(AdoptionTest, ReplayForgetsTheAnswerThatNobodyHas) {
  start();
  Flow f = flow();
  Adoption a = waiting_at(f, kGet);
  HttpState& http = *a.record.http;
  http.phase = HttpPhase::response;
  http.response_start = kOut;
  http.response_head_end = kOut + 40;
  http.response_end = kOut + 90;
  http.status = 200;
  http.response_framing = BodyFraming::length;
  http.response_length = 50;
  const std::string hint = "HTTP/1.1 103 Early Hints\r\n\r\n";
  http.journal_start = kOut - hint.size();
  http.journal = std::make_shared<const std::string>(hint + std::string(60, 'A'));
  adopt(a);
  Peer app = application.accept();
  app.read_head();
  ASSERT_TRUE(sink.last().http->journal);
  EXPECT_EQ(*sink.last().http->journal, hint);
  app.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf");
  const std::string head = f.client.read_head();
  EXPECT_EQ(f.client.read_bytes(4), "half");
  expect_outcome(ResumeRung::replay);
  const SessionRecord record = sink.last();
  ASSERT_TRUE(record.http->journal);
  const std::string& journal = *record.http->journal;
  const std::string told = hint + head + "half";
  ASSERT_GE(record.http->journal_start, kOut - hint.size());
  EXPECT_EQ(journal, told.substr(record.http->journal_start - (kOut - hint.size())));
}

TEST_F(AdoptionTest, ReplayOfAnUpgrade) {
  start();
  Flow f = flow();
  adopt(waiting_at(f, "GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"));
  Peer app = application.accept();
  app.read_head();
  app.send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nhello");
  f.client.read_head();
  EXPECT_EQ(f.client.read_bytes(5), "hello");
  f.client.send("ping");
  EXPECT_EQ(app.read_bytes(4), "ping");
  expect_outcome(ResumeRung::replay);
}

TEST_F(AdoptionTest, ReplayWithoutAnApplicationIsACleanError) {
  application.stop_listening();
  start();
  Flow f = flow();
  adopt(waiting_at(f, kGet));
  EXPECT_EQ(f.client.read_all().substr(0, 12), "HTTP/1.1 502");
  expect_outcome(ResumeRung::refuse, heal_reason::application);
}

TEST_F(AdoptionTest, ReplayHasADeadline) {
  options.timeouts.response_ms = 150;
  start();
  Flow f = flow();
  adopt(waiting_at(f, kGet));
  EXPECT_EQ(f.client.read_all().substr(0, 12), "HTTP/1.1 504");
}

TEST_F(AdoptionTest, AHalfClosedClientGetsItsReplay) {
  start();
  Flow f = flow();
  Adoption a = waiting_at(f, kGet);
  a.record.in_closed = true;
  a.resume.received = kIn + 1;
  adopt(a);
  Peer app = application.accept();
  app.read_head();
  app.send(kOk);
  f.client.read_head();
  EXPECT_EQ(f.client.read_all(), "ok");
  EXPECT_EQ(f.client.last_errno(), 0);
}

TEST_F(AdoptionTest, RefuseReachesAClientThatIsStillSending) {
  start();
  Flow f = flow();
  Adoption a = waiting_at(f, kPost);
  a.record.http->phase = HttpPhase::body;
  a.resume.rung = ResumeRung::refuse;
  a.resume.reason = heal_reason::not_idempotent;
  adopt(a);
  const auto head = f.client.read_head();
  EXPECT_EQ(head.substr(0, 12), "HTTP/1.1 503");
  EXPECT_NE(head.find("Retry-After: 1\r\n"), std::string::npos);
  EXPECT_NE(head.find("Connection: close\r\n"), std::string::npos);
  EXPECT_NE(head.find("Content-Length: 0\r\n"), std::string::npos);
  f.client.send(std::string(100000, 'x'));
  EXPECT_EQ(f.client.read_all(), "");
  EXPECT_EQ(f.client.last_errno(), 0) << "a reset instead of a clean end";
  expect_outcome(ResumeRung::refuse, heal_reason::not_idempotent);
  const SessionRecord record = sink.last();
  EXPECT_EQ(record.http->response_start, kOut);
  EXPECT_EQ(record.http->response_end, kOut + head.size());
  EXPECT_FALSE(record.http->keep_alive);
  EXPECT_EQ(metric("suture_upstream_connects_total"), 0);
}

TEST_F(AdoptionTest, ResetIsAnRst) {
  start();
  Flow f = flow();
  Adoption a = response_at(f, kGet);
  a.resume.rung = ResumeRung::reset;
  a.resume.reason = heal_reason::partial_head;
  adopt(a);
  EXPECT_EQ(f.client.read_all(), "");
  EXPECT_EQ(f.client.last_errno(), ECONNRESET);
  expect_outcome(ResumeRung::reset, heal_reason::partial_head);
  EXPECT_EQ(sink.records().size(), 1U) << "the claim is announced all the same, or the old record would stay";
  EXPECT_TRUE(eventually([&] { return sink.erased() == 1; }));
}

TEST_F(AdoptionTest, TcpModeIsAReset) {
  options.listeners[0].mode = SessionMode::tcp;
  start();
  Flow f = flow();
  Adoption a = idle_at(f);
  a.record.mode = SessionMode::tcp;
  a.record.http.reset();
  adopt(a);
  f.client.read_all();
  EXPECT_EQ(f.client.last_errno(), ECONNRESET);
  expect_outcome(ResumeRung::reset, heal_reason::mode_tcp);
}

TEST_F(AdoptionTest, AVipThatIsNotOursIsAReset) {
  start();
  Flow f = flow();
  f.key.vip_port = htons(1);
  adopt(idle_at(f));
  f.client.read_all();
  EXPECT_EQ(f.client.last_errno(), ECONNRESET);
  expect_outcome(ResumeRung::reset, heal_reason::no_listener);
}

TEST_F(AdoptionTest, AClientThatIsGoneBeforeItsReplay) {
  start();
  Flow f = flow();
  adopt(waiting_at(f, kGet));
  Peer app = application.accept();
  app.read_head();
  f.client.reset();
  expect_outcome(ResumeRung::reset, heal_reason::client_gone);
}

// The S rule: [kIn, S) may have been with the dead owner.
TEST_F(AdoptionTest, WhatMayHaveRunAndMustNotRunTwiceIsRefused) {
  start();
  Flow f = flow();
  const std::size_t head_bytes = kPost.size() - 1;
  Adoption a = idle_at(f);
  a.resume.client_sent = kIn + kGet.size() + head_bytes;  // the head of the POST ends exactly at S
  adopt(a);
  f.client.send(kGet + kPost);
  Peer app = application.accept();
  EXPECT_NE(app.read_head().find("Suture-Replay: 1"), std::string::npos) << "it may have run, and says so";
  app.send(kOk);
  f.client.read_until("ok");
  const auto head = f.client.read_head();
  EXPECT_EQ(head.substr(0, 12), "HTTP/1.1 503");
  EXPECT_NE(head.find("Retry-After: 1\r\n"), std::string::npos);
  EXPECT_EQ(f.client.read_all(), "");
  EXPECT_EQ(f.client.last_errno(), 0);
  EXPECT_EQ(metric("suture_replay_refusals_total"), 1);
  EXPECT_EQ(metric("suture_upstream_connects_total"), 1);
  expect_outcome(ResumeRung::idle);
}

TEST_F(AdoptionTest, WhatEndsBehindSCannotHaveRun) {
  start();
  Flow f = flow();
  Adoption a = idle_at(f);
  a.resume.client_sent = kIn + kPost.size() - 2;  // one byte of the head was not sent yet
  adopt(a);
  f.client.send(kPost);
  Peer app = application.accept();
  EXPECT_EQ(app.read_head().find("Suture-Replay"), std::string::npos);
  EXPECT_EQ(app.read_bytes(1), "x");
  app.send(kOk);
  f.client.read_until("ok");
  EXPECT_EQ(metric("suture_replay_refusals_total"), 0);
}

// Its application's chunks need not be the former owner's. An heir's heir that has heard only the first record must not
// believe they are (found by the simulation: seed 512 of `tests/sim http`).
TEST_F(AdoptionTest, ARefetchPromisesNoMoreThanItKeepsTo) {
  start();
  Flow f = flow();
  Adoption a = waiting_at(f, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  HttpState& http = *a.record.http;
  http.phase = HttpPhase::response;
  http.response_start = kOut - 50;
  http.response_head_end = kOut;
  http.status = 200;
  http.response_framing = BodyFraming::chunked;
  BodyTrack track;
  track.chunks_wire = kOut;
  track.chunks = {10, 20, 30};
  track.marks = {{kOut + 15, 10, {}, 0}, {kOut + 15 + 26 + 36, 60, {}, 0}};
  track.tail = "0\r\n\r\n";
  http.body = std::make_shared<const BodyTrack>(track);
  a.resume.rung = ResumeRung::refetch;
  adopt(a);
  const Peer asked = application.accept();
  const auto body = sink.last().http->body;
  ASSERT_TRUE(body);
  EXPECT_EQ(body->chunks, std::vector<std::uint32_t>{10});
  ASSERT_EQ(body->marks.size(), 1U);
  EXPECT_EQ(body->marks[0].content, 10U);
  EXPECT_EQ(body->tail, "");
}

}  // namespace
}  // namespace suture::test
