// What the relay passes on, and what it says of it in the record.
#include <gtest/gtest.h>
#include <proxy/client/websocket_relay.hpp>

#include "websocket_bytes.hpp"

namespace suture::test {
namespace {

constexpr std::uint64_t kIn = 300, kOut = 80;

WebSocketState terms(bool resumable = true) {
  WebSocketState state;
  if (resumable) state.session = "s";
  return state;
}
WebSocketRelay relay(bool resumable = true) {
  return {terms(resumable), kIn, kOut, ""};
}
HttpState described(const WebSocketRelay& of) {
  HttpState http;
  of.describe(http);
  return http;
}

TEST(WebSocketRelay, EverySplitPassesTheSame) {
  const std::string in = from_client(kText, "one") + from_client(kText, "tw", 0) + from_client(kPing, "p") +
                         from_client(kMore, "o") + from_client(kBinary, std::string(200, 'x'));
  const std::string out = from_application(kText, "a") + from_application(kBinary, std::string(300, 'b'), 0) +
                          from_application(kPong, "p") + from_application(kMore, "c");
  for (std::size_t split = 0; split <= in.size(); ++split) {
    WebSocketRelay r = relay();
    const auto first = r.from_client(std::string_view(in).substr(0, split)).bytes;
    EXPECT_EQ(in.compare(0, first.size(), first), 0);
    EXPECT_LE(first.size(), split);
    EXPECT_EQ(first + r.from_client(std::string_view(in).substr(split)).bytes, in);
    EXPECT_EQ(r.state().received, 3U);
    EXPECT_EQ(r.state().in_frame, kIn + in.size());
    EXPECT_EQ(*r.state().messages[1], from_client(kText, "tw", 0) + from_client(kMore, "o"))
        << "without the Ping between";
  }
  for (std::size_t split = 0; split <= out.size(); ++split) {
    WebSocketRelay r = relay();
    const auto first = r.from_application(std::string_view(out).substr(0, split)).bytes;
    EXPECT_EQ(described(r).journal ? *described(r).journal : "", first) << "in the record before it is written";
    EXPECT_EQ(first + r.from_application(std::string_view(out).substr(split)).bytes, out);
    EXPECT_EQ(r.state().delivered, 2U);
    EXPECT_EQ(r.state().out_frame, kOut + out.size());
  }
}

TEST(WebSocketRelay, PendingReachesBackToTheMessagesBeginning) {
  WebSocketRelay r = relay();
  const std::string a = from_client(kText, "a", 0), ping = from_client(kPing, ""), b = from_client(kMore, "bcd");
  r.from_client(from_client(kText, "before") + a + ping + b.substr(0, 3));
  const HttpState http = described(r);
  EXPECT_EQ(*http.pending, a + ping + b.substr(0, 3));
  EXPECT_TRUE(http.websocket->in_fragmented);
  EXPECT_EQ(http.websocket->ping, ping);
  // The next instance gets the message from its beginning, and the Ping that nobody has answered.
  WebSocketRelay heir(http, http.websocket->in_frame + 3, kOut);
  EXPECT_EQ(heir.reattach(1, 0), a + ping);
  EXPECT_EQ(heir.from_client(b.substr(3)).bytes, b);
  EXPECT_EQ(*heir.state().messages.back(), a + b);
  // What it has counted already it does not get again.
  WebSocketRelay other(http, http.websocket->in_frame + 3, kOut);
  EXPECT_EQ(other.reattach(2, http.websocket->in_frame + b.size()), ping);
  EXPECT_EQ(other.from_client(b.substr(3) + from_client(kText, "new")).bytes, from_client(kText, "new"));
}

TEST(WebSocketRelay, TheLastPingIsKeptUntilItIsAnswered) {
  WebSocketRelay r = relay();
  r.from_client(from_client(kPing, "1") + from_client(kPing, "2"));
  r.from_application(from_application(kPong, "1"));
  EXPECT_EQ(r.state().ping, from_client(kPing, "2"));
  r.from_application(from_application(kPong, "2"));
  EXPECT_EQ(r.state().ping, "");
}

TEST(WebSocketRelay, MessagesAreBounded) {
  WebSocketRelay r = relay();
  for (unsigned i = 0; i < 100; ++i) r.from_client(from_client(kText, std::to_string(i)));
  EXPECT_EQ(r.state().messages.size(), WebSocketState::kMessagesMax);
  EXPECT_EQ(*r.state().messages.back(), from_client(kText, "99"));
  r.from_client(from_client(kText, std::string(12000, 'x')));
  EXPECT_LE(content_bytes(r.state()), WebSocketRelay::kMessagesBytesMax);
  r.from_client(from_client(kText, std::string(12000, 'y')));
  EXPECT_EQ(r.state().messages.size(), 1U);
  EXPECT_FALSE(r.reattach(r.state().received - 2, 0)) << "one that is gone";
  r.from_client(from_client(kText, std::string(70000, 'z')));
  EXPECT_TRUE(r.state().messages.empty());
  EXPECT_EQ(r.state().received, 103U);
  EXPECT_EQ(r.reattach(103, 0), "");
  // A message in many fragments, in all too long.
  for (unsigned i = 0; i < 3; ++i) r.from_client(from_client(i == 0 ? kText : kMore, std::string(30000, 'f'), 0));
  EXPECT_FALSE(described(r).pending);
  r.from_client(from_client(kMore, ""));
  EXPECT_TRUE(r.state().messages.empty());
  r.from_client(from_client(kText, "small"));
  EXPECT_EQ(r.state().messages.size(), 1U) << "it starts again";
}

TEST(WebSocketRelay, WithoutOptInNothingOfTheClientsIsKept) {
  WebSocketRelay r = relay(false);
  r.from_client(from_client(kText, "a") + from_client(kPing, "p") + "\x81");
  EXPECT_TRUE(r.state().messages.empty());
  EXPECT_EQ(r.state().ping, "");
  EXPECT_FALSE(described(r).pending);
  r.from_application(from_application(kText, "b"));
  EXPECT_EQ(*described(r).journal, from_application(kText, "b")) << "a clean end needs it all the same";
}

TEST(WebSocketRelay, TheJournalIsWhatIsNotAcknowledged) {
  WebSocketRelay r = relay();
  const std::string one = from_application(kText, "one"), big = from_application(kText, std::string(40000, 'x'));
  r.from_application(one);
  r.acknowledged(kOut + 2);
  EXPECT_EQ(*described(r).journal, one.substr(2));
  EXPECT_EQ(described(r).journal_start, kOut + 2);
  r.from_application(big);
  EXPECT_EQ(*described(r).journal, one.substr(2) + big);
  r.from_application(big);
  EXPECT_FALSE(described(r).journal) << "too much is under way";
  EXPECT_EQ(described(r).journal_start, r.state().out_frame);
  r.from_application(one);
  EXPECT_EQ(*described(r).journal, one) << "from here on again";
  r.acknowledged(r.state().out_frame);
  EXPECT_FALSE(described(r).journal);
}

TEST(WebSocketRelay, WhatTheBudgetDoesNotTakeIsNotRecorded) {
  const JournalBudget budget(100);
  WebSocketRelay r = relay();
  r.set_budget(budget);
  r.from_client(from_client(kText, "kept") + from_client(kText, std::string(200, 'x')));
  EXPECT_TRUE(r.state().messages.empty());
  r.from_client(from_client(kText, "again"));
  EXPECT_EQ(r.state().messages.size(), 1U);
  const std::string answer = from_application(kText, std::string(200, 'y'));
  EXPECT_EQ(r.from_application(answer).bytes, answer);
  EXPECT_FALSE(described(r).journal);
}

TEST(WebSocketRelay, LongFramesPassInPieces) {
  WebSocketRelay r = relay();
  const std::string limit = from_application(kBinary, std::string(WebSocketRelay::kHeldBytesMax - 4, 'x'));
  ASSERT_EQ(limit.size(), WebSocketRelay::kHeldBytesMax);
  EXPECT_EQ(r.from_application(std::string_view(limit).substr(0, limit.size() - 1)).bytes, "")
      << "held until it is whole";
  EXPECT_EQ(r.from_application("x").bytes, limit);
  const std::string longer = from_application(kBinary, std::string(WebSocketRelay::kHeldBytesMax, 'x'), 0);
  const std::uint64_t at = r.state().out_frame;
  const auto begun = r.from_application(std::string_view(longer).substr(0, 100));
  EXPECT_EQ(begun.bytes.size(), 100U);
  EXPECT_TRUE(begun.changed);
  EXPECT_EQ(r.state().out_frame, at);
  EXPECT_EQ(r.state().out_frame_end, at + longer.size());
  EXPECT_FALSE(r.ping()) << "inside a frame";
  EXPECT_FALSE(r.close(1012));
  EXPECT_FALSE(r.from_application(std::string_view(longer).substr(100, 100)).changed);
  EXPECT_TRUE(r.from_application(std::string_view(longer).substr(200)).changed);
  EXPECT_EQ(r.state().out_frame, at + longer.size());
  EXPECT_TRUE(r.state().out_fragmented);
  EXPECT_TRUE(r.ping()) << "between fragments";

  const std::string upload = from_client(kBinary, std::string(WebSocketRelay::kHeldBytesMax, 'x'));
  EXPECT_EQ(r.from_client(std::string_view(upload).substr(0, 100)).bytes.size(), 100U);
  EXPECT_FALSE(described(r).pending);
  EXPECT_EQ(r.state().in_frame, kIn);
  r.from_client(std::string_view(upload).substr(100));
  EXPECT_EQ(r.state().in_frame, kIn + upload.size());
  EXPECT_EQ(r.state().received, 1U);
}

TEST(WebSocketRelay, OwnPingsAndTheirPongs) {
  WebSocketRelay r = relay();
  const auto ping = r.ping();
  ASSERT_TRUE(ping);
  EXPECT_EQ(*described(r).journal, *ping) << "in the record like any other frame";
  const std::string pong = from_client(kPong, std::string_view(*ping).substr(2));
  EXPECT_EQ(r.from_client(pong).bytes, "");
  EXPECT_EQ(r.state().in_frame, kIn + pong.size());
  // Also an heir knows it.
  WebSocketRelay heir(described(r), r.state().in_frame, r.state().out_frame);
  EXPECT_EQ(heir.from_client(pong).bytes, "");
  EXPECT_EQ(heir.from_client(from_client(kPong, "other")).bytes, from_client(kPong, "other"));
}

TEST(WebSocketRelay, BothCloses) {
  WebSocketRelay r = relay();
  r.from_client(from_client(kCloseFrame, close_of(1000)));
  EXPECT_TRUE(r.state().in_close);
  EXPECT_FALSE(r.ping());
  r.from_application(from_application(kCloseFrame, close_of(1000)));
  EXPECT_TRUE(r.state().out_close);
  EXPECT_EQ(r.close(1012), "") << "one has passed";
}

TEST(WebSocketRelay, WhatIsBrokenComesOutAsItCame) {
  WebSocketRelay r = relay();
  const std::string good = from_client(kText, "good"), bad = "\x83 and more";
  EXPECT_EQ(r.from_client(good.substr(0, 4)).bytes, "");
  EXPECT_EQ(r.from_application("\x81\x05 hal").bytes, "");
  const auto passed = r.from_client(good.substr(4) + bad);
  EXPECT_TRUE(passed.broken);
  EXPECT_EQ(passed.bytes, good + bad);
  EXPECT_EQ(r.release_from_application(), "\x81\x05 hal");
  EXPECT_EQ(r.release_from_client(), "");
}

// The application has a message that the client is about to repeat; passed on unchanged it would be had twice.
TEST(WebSocketRelay, NothingPassesUnseenWhileTheClientRepeats) {
  const std::string again = from_client(kText, "again"), good = from_application(kText, "good");
  const HttpState http = described(relay());
  for (const bool application_breaks : {false, true}) {
    WebSocketRelay heir(http, kIn, kOut);
    ASSERT_EQ(heir.reattach(1, kIn + again.size()), "");
    const auto passed =
        application_breaks ? heir.from_application(good + "\xc1\x01z") : heir.from_client("\x83 and more");
    EXPECT_TRUE(passed.contradiction);
    if (application_breaks) {
      EXPECT_EQ(passed.bytes, good) << "whole frames, behind which a Close may stand";
    }
  }
  WebSocketRelay heir(http, kIn, kOut);
  ASSERT_EQ(heir.reattach(1, kIn + again.size()), "");
  EXPECT_EQ(heir.from_client(again).bytes, "");
  EXPECT_FALSE(heir.from_application("\xc1\x01z").contradiction) << "it has repeated all";
}

}  // namespace
}  // namespace suture::test
