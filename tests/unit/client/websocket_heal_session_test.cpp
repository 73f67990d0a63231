// WebSocket sessions on sockets: all that an heir does.
#include <poll.h>

#include "websocket_session_fixture.hpp"

namespace suture::test {
namespace {

TEST_F(WebSocketSession, ReattachAsksAndGoesOn) {
  start();
  Flow f = flow();
  f.client.send(from_client(kText, "meanwhile"));
  const Adoption a = at_rest(f);
  ASSERT_EQ(a.resume.rung, ResumeRung::reattach) << a.resume.reason;
  adopt(a);
  Peer app = application.accept();
  const std::string head = app.read_head();
  EXPECT_EQ(head.substr(0, 9), "GET /chat");
  EXPECT_EQ(field_of(head, "Suture-Session"), "session");
  EXPECT_EQ(field_of(head, "Suture-Replay"), "1");
  const auto& ws = *a.record.http->websocket;
  EXPECT_EQ(field_of(head, "Suture-Resume"),
            "session; received=" + std::to_string(ws.received) + "; delivered=" + std::to_string(ws.delivered));
  EXPECT_NE(field_of(head, "Sec-WebSocket-Key"), "dGhlIHNhbXBsZSBub25jZQ==");
  EXPECT_TRUE(silent(app)) << "before it has answered";
  EXPECT_TRUE(outcomes().empty());
  EXPECT_EQ(sink.last().in_known, a.record.in_known) << "the client was read";
  // It lacks the last two messages, and has one more for the client.
  app.send("HTTP/1.1 103 Early Hints\r\n\r\n" + resumed(head, ws.received - 2) + from_application(kText, "news"));
  const std::string last = from_client(kText, "") + from_client(kBinary, "late");
  EXPECT_EQ(app.read_bytes(last.size()), last);
  EXPECT_EQ(app.read_bytes(15), from_client(kText, "meanwhile"));
  EXPECT_EQ(f.client.read_bytes(6), from_application(kText, "news"));
  expect_outcome(ResumeRung::reattach);
  EXPECT_TRUE(eventually([&] {
    return state_published().received == ws.received + 1 && state_published().delivered == ws.delivered + 1;
  }));
  EXPECT_EQ(sink.last().epoch, a.record.epoch);
  EXPECT_EQ(sink.last().owner, NodeId{7});
}

TEST_F(WebSocketSession, TheJournalsRestComesFirst) {
  start();
  Flow f = flow();
  Adoption a = at_rest(f);
  // The last 20 bytes have not arrived.
  a.record.out_acked = a.resume.cursor - 20;
  a.record.http->journal_start = a.record.out_acked;
  const std::string rest = talk().out.substr(talk().out.size() - 20);
  a.record.http->journal = std::make_shared<const std::string>(rest);
  a = adoption_of(f, a.record, a.record.out_acked, a.record.in_known);
  ASSERT_EQ(a.resume.rung, ResumeRung::reattach) << a.resume.reason;
  adopt(a);
  EXPECT_EQ(f.client.read_bytes(20), rest);
  Peer app = application.accept();
  app.read_head();
  app.close();
  expect_closed(f, heal_reason::application);
}

// PROTOCOL.md, the S rule: the application has a message of which no record tells.
TEST_F(WebSocketSession, WhatTheApplicationHasIsNotPassedOnAgain) {
  start();
  Flow f = flow();
  const std::string again = from_client(kText, "again");
  Adoption a = at_rest(f);
  a = adoption_of(f, a.record, a.resume.cursor, a.record.in_known + again.size());
  f.client.send(again + from_client(kPing, "ping") + from_client(kText, "new"));
  adopt(a);
  Peer app = application.accept();
  app.send(resumed(app.read_head(), a.record.http->websocket->received + 1));
  EXPECT_EQ(app.read_bytes(19), from_client(kPing, "ping") + from_client(kText, "new"));
  EXPECT_TRUE(eventually([&] { return state_published().received == a.record.http->websocket->received + 2; }));
}

TEST_F(WebSocketSession, ACountThatTheClientContradicts) {
  start();
  Flow f = flow();
  Adoption a = at_rest(f);
  a = adoption_of(f, a.record, a.resume.cursor, a.record.in_known + 8);
  f.client.send(from_client(kText, "longer than that"));
  adopt(a);
  Peer app = application.accept();
  app.send(resumed(app.read_head(), a.record.http->websocket->received + 1));
  EXPECT_EQ(f.client.read_all(), from_application(kCloseFrame, close_of(1012)));
  EXPECT_TRUE(app.at_eof());
}

// Opaque from then on, the message that the client repeats would reach the application a second time.
TEST_F(WebSocketSession, AnApplicationThatBreaksTheProtocolWhileTheClientRepeats) {
  start();
  Flow f = flow();
  Adoption a = at_rest(f);
  const std::string again = from_client(kText, "again");
  a = adoption_of(f, a.record, a.resume.cursor, a.record.in_known + again.size());
  adopt(a);
  Peer app = application.accept();
  const std::string good = from_application(kText, "good");
  app.send(resumed(app.read_head(), a.record.http->websocket->received + 1) + good +
           from_application(3, "no such opcode"));
  EXPECT_EQ(f.client.read_bytes(good.size()), good);
  f.client.send(again);
  EXPECT_EQ(f.client.read_all(), from_application(kCloseFrame, close_of(1012)));
  EXPECT_TRUE(app.at_eof());
}

TEST_F(WebSocketSession, AnswersThatAreNone) {
  start();
  const auto received = talk().records.back().http->websocket->received;
  struct Row {
    const char* why;
    std::function<std::string(const std::string& head)> answer;
    const char* reason;
  };
  std::vector<Row> rows;
  rows.push_back(
      {"404", [](auto&) { return "HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n"; }, heal_reason::resume_refused});
  rows.push_back({"an upgrade that is no resumption",
                  [](auto& head) { return answer_to(head, "Sec-WebSocket-Extensions: permessage-deflate\r\n"); },
                  heal_reason::resume_refused});
  rows.push_back({"another extension",
                  [](auto& head) { return answer_to(head, "Suture-Resume: session; received=1\r\n"); },
                  heal_reason::resume_mismatch});
  rows.push_back({"another key's answer", [this, received](auto&) { return resumed(kUpgrade, received); },
                  heal_reason::resume_mismatch});
  rows.push_back({"more than the client sent", [this, received](auto& head) { return resumed(head, received + 1); },
                  heal_reason::resume_mismatch});
  rows.push_back({"garbage", [](auto&) { return "\x16\x03\x01"; }, heal_reason::application});
  rows.push_back({"no HTTP head", [](auto&) { return "HTTP/1.1 banana\r\n\r\n"; }, heal_reason::application});
  rows.push_back(
      {"too long a head", [](auto&) { return "HTTP/1.1 101 " + std::string(70000, 'x'); }, heal_reason::application});
  std::size_t n = 0;
  for (const Row& row : rows) {
    SCOPED_TRACE(row.why);
    Flow f = flow();
    adopt(at_rest(f));
    Peer app = application.accept();
    app.send(row.answer(app.read_head()));
    EXPECT_EQ(f.client.read_all(), from_application(kCloseFrame, close_of(1012)));
    EXPECT_EQ(f.client.last_errno(), 0) << "not a FIN";
    ASSERT_TRUE(eventually([&] { return outcomes().size() == n + 1; }));
    EXPECT_EQ(to_label(outcomes()[n].rung), "close");
    EXPECT_EQ(outcomes()[n].reason, row.reason);
    ++n;
  }
}

TEST_F(WebSocketSession, NobodyThere) {
  start();
  application.stop_listening();
  Flow f = flow();
  adopt(at_rest(f));
  expect_closed(f, heal_reason::application);
}

TEST_F(WebSocketSession, NobodyAnswers) {
  options.timeouts.response_ms = 300;
  start();
  Flow f = flow();
  adopt(at_rest(f));
  Peer app = application.accept();
  app.read_head();
  expect_closed(f, heal_reason::application);
}

TEST_F(WebSocketSession, NotOptedIn) {
  start();
  Flow f = flow();
  SessionRecord record = at_rest(f).record;
  WebSocketState ws = *record.http->websocket;
  ws.session.clear();
  record.http->websocket = std::make_shared<const WebSocketState>(ws);
  f.client.send(from_client(kText, "lost"));
  adopt(adoption_of(f, record, kOut0 + talk().out.size(), record.in_known));
  expect_closed(f, heal_reason::not_resumable);
}

TEST_F(WebSocketSession, AfterTheApplicationsCloseOnlyAFinIsMissing) {
  start();
  const Conversation whole(small_talk(), 100);
  Flow f = flow();
  const SessionRecord& record = whole.records.back();
  const std::uint64_t end = kOut0 + whole.out.size();
  adopt(adoption_of(f, record, end - 4, record.in_known));
  EXPECT_EQ(f.client.read_all(), from_application(kCloseFrame, close_of(1000)));
  EXPECT_EQ(f.client.last_errno(), 0);
  expect_outcome(ResumeRung::close);
}

TEST_F(WebSocketSession, FrozenWhileItAsks) {
  start();
  Flow f = flow();
  adopt(at_rest(f));
  Peer app = application.accept();
  const std::string head = app.read_head();
  worker->freeze(f.key);
  barrier();
  app.send(resumed(head, talk().records.back().http->websocket->received));
  f.client.send(from_client(kText, "x"));
  ::usleep(50000);
  EXPECT_TRUE(silent(app));
  worker->thaw(f.key);
  EXPECT_EQ(app.read_bytes(7), from_client(kText, "x"));
}

// --- cut at every byte, through sockets ------------------------------------------------------------------------------

struct Played {
  std::string view;    // of the client, in all
  SharedState shared;  // of the application, at the end
  bool reset = false;
};

// The client has `cut.cursor` and goes on with what its kernel would repeat; the application's new instance answers.
class WebSocketCutSession : public WebSocketSession {
 protected:
  static std::string drain(const Peer& peer, bool& over, bool& reset) {
    char buffer[4096];
    const ssize_t n = ::recv(peer.fd(), buffer, sizeof buffer, MSG_DONTWAIT);
    if (n > 0) return {buffer, static_cast<std::size_t>(n)};
    if (n == 0 || errno != EAGAIN) over = true;
    if (n < 0 && errno == ECONNRESET) reset = true;
    return {};
  }
  Played play(const Conversation& whole, const Instant& instant, const SessionRecord& record, std::uint64_t cursor) {
    Played out;
    out.shared = whole.shared_at(instant);
    out.view = whole.out.substr(0, static_cast<std::size_t>(cursor - kOut0));
    Flow f = flow();
    const Adoption a = adoption_of(f, record, cursor, instant.in_read);
    const ResumeRung rung = a.resume.rung;
    f.client.send(std::string_view(whole.in).substr(static_cast<std::size_t>(a.resume.received - kIn0)));
    adopt(a);
    ChatInstance chat(out.shared);
    std::optional<Peer> app;
    if (rung == ResumeRung::reattach) {
      app.emplace(application.accept());
      app->send(resumed(app->read_head(), out.shared.processed.size()) +
                chat.resume(a.record.http->websocket->delivered));
    }
    bool over = false, app_over = false;
    for (int idle = 0; !over && idle < 500;) {
      pollfd fds[2] = {{f.client.fd(), POLLIN, 0}, {app && !app_over ? app->fd() : -1, POLLIN, 0}};
      if (::poll(fds, 2, 10) == 0) ++idle;
      if (fds[0].revents) out.view += drain(f.client, over, out.reset);
      bool unused = false;
      if (fds[1].revents)
        for (const std::string& answer : chat.read(drain(*app, app_over, unused))) app->send(answer);
      const Reading got =
          read_frames(std::string_view(out.view).substr(std::min(out.view.size(), out.view.find("\r\n\r\n") + 4)));
      if (!got.frames.empty() && got.frames.back().opcode() == kCloseFrame && rung == ResumeRung::reattach) break;
    }
    return out;
  }
};

TEST_F(WebSocketCutSession, EveryByteOfTheAnswers) {
  start();
  const Conversation whole(small_talk(), 1);
  const Reading all = read_frames(std::string_view(whole.out).substr(whole.out.find("\r\n\r\n") + 4));
  std::size_t cuts = 0, continued = 0, closed = 0, reset = 0, wrong = 0;
  for (const Instant& instant : whole.instants) {
    if (instant.out_written == instant.out_before && &instant - whole.instants.data() != 0 && instant.in_read % 5 != 0)
      continue;
    for (std::size_t lag = 0; lag <= 3 && lag < instant.records; ++lag) {
      const SessionRecord& record = whole.records[instant.records - 1 - lag];
      const bool wrote = instant.out_written != instant.out_before;
      const std::uint64_t from = wrote ? instant.out_before + 1 : instant.out_written;
      for (std::uint64_t c = from; c <= instant.out_written; c += lag == 0 ? 1 : 7) {
        ++cuts;
        const Played got = play(whole, instant, record, c);
        const Reading seen =
            read_frames(std::string_view(got.view).substr(std::min(got.view.size(), got.view.find("\r\n\r\n") + 4)));
        const bool ended = !seen.frames.empty() && seen.frames.back().opcode() == kCloseFrame && seen.rest.empty();
        std::string why;
        if (got.reset) {
          ++reset;
          if (whole.out.compare(0, got.view.size(), got.view) != 0) why = "own words before an RST";
        } else if (!ended) {
          why = "no end";
        } else if (seen.frames.back().payload == close_of(1012)) {
          ++closed;
          if (!std::equal(seen.messages.begin(), seen.messages.end(), all.messages.begin()))
            why = "wrong before the Close";
        } else if (seen.messages != all.messages) {
          why = "other messages";
        } else {
          ++continued;
        }
        if (why.empty() && !got.reset && seen.frames.back().payload != close_of(1012) &&
            got.shared.processed != whole.shared.processed)
          why = "processed otherwise";
        if (why.empty() || ++wrong > 3) continue;
        ADD_FAILURE() << why << ": instant " << &instant - whole.instants.data() << ", lag " << lag << ", c " << c
                      << ", rest " << seen.rest.size();
      }
    }
  }
  std::printf("through sockets: %zu cuts, %zu continued, %zu closed, %zu reset, %zu wrong\n", cuts, continued, closed,
              reset, wrong);
  EXPECT_EQ(wrong, 0U);
  EXPECT_GT(continued, cuts / 4);
}

}  // namespace
}  // namespace suture::test
