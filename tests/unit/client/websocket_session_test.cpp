// WebSocket sessions on sockets: handshake, records, keep-alive.
#include "websocket_session_fixture.hpp"

namespace suture::test {
namespace {

constexpr std::size_t kPingBytes = 2 + std::string_view("suture keep-alive").size();

TEST_F(WebSocketSession, TheHandshake) {
  start();
  Ends ends =
      upgraded("Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Extensions: permessage-deflate\r\nSuture-Resume: 1\r\n",
               kUpgrade.substr(0, kUpgrade.size() - 2) +
                   "Suture-Resume: forged\r\nSuture-Session: forged\r\nSuture-Whatever: x\r\n\r\n");
  const std::string session = field_of(ends.asked, "Suture-Session");
  EXPECT_EQ(session.size(), 32U);
  EXPECT_EQ(ends.asked.find("forged"), std::string::npos) << ends.asked;
  EXPECT_EQ(ends.asked.find("Whatever"), std::string::npos);
  EXPECT_EQ(field_of(ends.asked, "Suture-Resume"), "");
  EXPECT_EQ(field_of(ends.asked, "Sec-WebSocket-Key"), "dGhlIHNhbXBsZSBub25jZQ==");
  EXPECT_EQ(field_of(ends.answered, "Sec-WebSocket-Extensions"), "permessage-deflate; client_no_context_takeover");
  EXPECT_EQ(field_of(ends.answered, "Sec-WebSocket-Accept"), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
  EXPECT_EQ(ends.answered.find("Suture"), std::string::npos);
  const WebSocketState state = state_published();
  EXPECT_EQ(state.session, session);
  EXPECT_EQ(state.subprotocol, "chat");
  EXPECT_EQ(state.extensions, "permessage-deflate");
  EXPECT_EQ(*sink.last().http->journal, ends.answered) << "the 101 is not acknowledged yet as far as this record knows";
  EXPECT_EQ(sink.last().http->request_head->substr(0, 9), "GET /chat");
  EXPECT_EQ(metric("suture_websocket_untracked_total"), 0);
}

TEST_F(WebSocketSession, ARouteMayNotWantIt) {
  options.listeners[0].default_route().websocket.resume = false;
  start();
  const Ends ends = upgraded();
  EXPECT_EQ(ends.asked.find("Suture"), std::string::npos);
  EXPECT_EQ(state_published().session, "");
  ASSERT_TRUE(sink.last().http->websocket) << "frames are followed all the same";
  // Nor may the heir's.
  Flow f = flow();
  adopt(at_rest(f));
  expect_closed(f, heal_reason::not_resumable);
}

TEST_F(WebSocketSession, FramesPassWholeAndAreRecordedFirst) {
  start();
  Ends ends = upgraded();
  const std::string hello = from_client(kText, "hello"), image = from_client(kBinary, std::string(70000, 'i'));
  ends.client.send(hello.substr(0, 7));
  ASSERT_TRUE(eventually([&] { return sink.last().http->pending && sink.last().http->pending->size() == 7; }));
  EXPECT_TRUE(silent(ends.app)) << "half a frame was passed on";
  ends.client.send(hello.substr(7));
  EXPECT_EQ(ends.app.read_bytes(hello.size()), hello);
  EXPECT_EQ(state_published().received, 1U);
  EXPECT_EQ(*state_published().messages.back(), hello);
  // A long one passes as it comes.
  ends.client.send(image.substr(0, 1000));
  EXPECT_EQ(ends.app.read_bytes(1000), image.substr(0, 1000));
  ends.client.send(image.substr(1000));
  EXPECT_EQ(ends.app.read_bytes(image.size() - 1000), image.substr(1000));
  EXPECT_TRUE(eventually([&] { return state_published().received == 2; }));
  EXPECT_TRUE(state_published().messages.empty()) << "a message that is missing makes the older ones useless";
  const std::string answer = from_application(kText, "answer");
  ends.app.send(answer);
  EXPECT_EQ(ends.client.read_bytes(answer.size()), answer);
  EXPECT_EQ(state_published().delivered, 1U) << "written before it was recorded";
  EXPECT_TRUE(eventually([&] { return !sink.last().http->journal; })) << "acknowledged";
  ends.client.half_close();
  EXPECT_TRUE(ends.app.at_eof());
}

// In the middle of a fragmented message, and the record leaves because time has passed or another node may own the
// connection: what it says of the message's bytes lies right below in_known.
TEST_F(WebSocketSession, EveryRecordOfAMessageUnderWayIsExact) {
  start();
  const std::string first = from_client(kText, "ten bytes!", 0), next = from_client(kMore, std::string(2000, 'b'));
  Ends ends = upgraded();
  const std::uint64_t begin = kUpgrade.size();
  const auto known = [&](std::uint64_t bytes) {
    return eventually([&] { return sink.last().in_known == begin + bytes; });
  };
  ends.client.send(first + next.substr(0, 1100));
  EXPECT_EQ(ends.app.read_bytes(first.size()), first);
  ASSERT_TRUE(known(first.size() + 1100));
  ends.client.send(next.substr(1100, 1));  // not worth a record of its own
  ASSERT_TRUE(known(first.size() + 1101)) << "the sweep";
  ends.client.send(next.substr(1101, 1));
  ASSERT_TRUE(eventually([&] { return read_of_clients() == begin + first.size() + 1102; }));
  worker->freeze(sink.last().facts.key);
  ASSERT_TRUE(known(first.size() + 1102)) << "the last word";
  std::size_t seen = 0;
  for (const auto& record : sink.records()) {
    if (!record.http->websocket || record.in_known <= begin) continue;
    EXPECT_EQ(record.http->pending ? *record.http->pending : "", (first + next).substr(0, record.in_known - begin));
    ++seen;
  }
  EXPECT_GE(seen, 3U);
}

// The beginning of the message is with the application, and so is what has come of the long frame.
TEST_F(WebSocketSession, ALongFrameUnderWayIsNotPending) {
  start();
  const std::string first = from_client(kText, std::string(60000, 'a'), 0);
  const std::string next = from_client(kMore, std::string(70000, 'b'));
  Ends ends = upgraded();
  ends.client.send(first + next.substr(0, 20000));
  EXPECT_EQ(ends.app.read_bytes(first.size()), first);
  EXPECT_EQ(ends.app.read_bytes(20000), next.substr(0, 20000));
  ASSERT_TRUE(eventually([&] { return sink.last().in_known == kUpgrade.size() + first.size() + 20000; }))
      << "the sweep";
  SessionRecord record = sink.last();
  record.facts.sack_ok = true;
  EXPECT_FALSE(record.http->pending);
  healing::ProofFacts proof;
  proof.cursor = record.out_sent;
  proof.received = proof.client_sent = record.in_known;
  proof.fenced = true;
  const Resumption to = healing::plan_healing(record, proof);
  EXPECT_EQ(to_label(to.rung), to_label(ResumeRung::close));
  EXPECT_STREQ(to.reason, heal_reason::websocket_upload);
}

TEST_F(WebSocketSession, BytesBehindTheHeadsAreFrames) {
  start();
  Peer client = connect_and_send(kUpgrade + from_client(kText, "early"));
  Peer app = application.accept();
  const std::string head = app.read_head();
  app.send(answer_to(head, "Suture-Resume: 1\r\n") + from_application(kText, "welcome"));
  client.read_head();
  EXPECT_EQ(client.read_bytes(9), from_application(kText, "welcome"));
  EXPECT_EQ(app.read_bytes(11), from_client(kText, "early"));
  EXPECT_EQ(state_published().received, 1U);
  EXPECT_EQ(state_published().delivered, 1U);
}

TEST_F(WebSocketSession, WhatBreaksTheProtocolPassesAndIsCounted) {
  start();
  Ends ends = upgraded();
  ends.client.send(from_client(kText, "half").substr(0, 8));
  ASSERT_TRUE(eventually([&] { return sink.last().http->pending != nullptr; }));
  ends.app.send("no frame");
  EXPECT_EQ(ends.client.read_bytes(8), "no frame");
  EXPECT_EQ(ends.app.read_bytes(8), from_client(kText, "half").substr(0, 8)) << "what was held";
  EXPECT_FALSE(sink.last().http->websocket);
  EXPECT_FALSE(sink.last().http->pending);
  EXPECT_EQ(metric("suture_websocket_untracked_total"), 1);
  ends.client.send("anything");
  EXPECT_EQ(ends.app.read_bytes(8), "anything");

  Ends other = upgraded("Sec-WebSocket-Extensions: x-unknown\r\n");
  EXPECT_FALSE(sink.last().http->websocket);
  EXPECT_EQ(metric("suture_websocket_untracked_total"), 2);
}

TEST_F(WebSocketSession, AnIdleClientIsAsked) {
  options.listeners[0].default_route().websocket.ping_ms = 200;
  start();
  Ends ends = upgraded();
  const std::string ping = ends.client.read_bytes(kPingBytes);
  ASSERT_EQ(static_cast<unsigned char>(ping[0]), 0x80 | kPing);
  ends.client.send(from_client(kPong, ping.substr(2)));
  EXPECT_EQ(ends.client.read_bytes(kPingBytes), ping) << "it lives, and is idle again";
  EXPECT_TRUE(silent(ends.app)) << "the application did not ask";
  ends.client.send(from_client(kPong, "unasked"));
  EXPECT_EQ(ends.app.read_bytes(13), from_client(kPong, "unasked"));
  EXPECT_EQ(ends.client.read_bytes(kPingBytes), ping);
  // No answer to this one.
  EXPECT_TRUE(eventually([&] { return worker->active() == 0; }));
  ends.client.read_all();
  EXPECT_EQ(ends.client.last_errno(), ECONNRESET);
  EXPECT_EQ(metric("suture_closes_total", "cause=\"ping_timeout\""), 1);
  EXPECT_EQ(metric("suture_websocket_pings_total"), 3);
}

TEST_F(WebSocketSession, NoPingInsideALongFrame) {
  options.listeners[0].default_route().websocket.ping_ms = 100;
  start();
  Ends ends = upgraded();
  const std::string image = from_application(kBinary, std::string(70000, 'i'));
  ends.app.send(image.substr(0, 30000));
  EXPECT_EQ(ends.client.read_bytes(30000), image.substr(0, 30000));
  ::usleep(400000);
  EXPECT_TRUE(silent(ends.client));
  ends.app.send(image.substr(30000));
  EXPECT_EQ(ends.client.read_bytes(40000 + image.size() - 70000), image.substr(30000));
  EXPECT_EQ(static_cast<unsigned char>(ends.client.read_bytes(kPingBytes)[0]), 0x80 | kPing);
}

// --- taken over ------------------------------------------------------------------------------------------------------

}  // namespace
}  // namespace suture::test
