// Cut at every byte: the owner dies at every instant of a conversation, wherever the client stands, with records that
// are up to three updates late, and another node goes on. Nothing that the client sees may be wrong, and the
// application processes each message once. Engines only; websocket_session_test.cpp takes a part of it through sockets.
#include <cstdio>
#include <map>

#include <gtest/gtest.h>
#include <proxy/client/heal_reasons.hpp>
#include <proxy/healing/heal_plan.hpp>

#include "websocket_world.hpp"

namespace suture::test {
namespace {

constexpr std::uint64_t kIn = Conversation::kIn, kOut = Conversation::kOut;

struct Tally {
  std::size_t cuts = 0, continued = 0, closed = 0, reset = 0, wrong = 0;
  std::size_t pongs_twice = 0;
  std::map<std::string, std::size_t> reasons;
  void print(const char* kind) const {
    std::printf("%s: %zu cuts, %zu continued, %zu closed (1012), %zu reset, %zu wrong, %zu Pongs twice\n", kind, cuts,
                continued, closed, reset, wrong, pongs_twice);
    for (const auto& [reason, n] : reasons) std::printf("  %-40s %zu\n", reason.c_str(), n);
  }
};

struct Cut {
  const Instant& instant;
  const SessionRecord& record;
  std::uint64_t cursor;
  std::uint64_t client_sent;  // S
  bool lost;                  // the dead owner's kernel had acknowledged all that it read
};

class Cutter {
 public:
  explicit Cutter(const Conversation& talk) : talk_(talk) {}

  // Empty: right.
  std::string wrong(const Cut& cut) {
    ++tally.cuts;
    healing::ProofFacts proof;
    proof.cursor = cut.cursor;
    proof.client_sent = cut.client_sent;
    proof.lost_bytes = cut.lost;
    proof.received = cut.lost ? cut.client_sent : cut.record.in_known;
    proof.fenced = true;
    const Resumption to = healing::plan_healing(cut.record, proof);
    std::string view = talk_.out.substr(0, static_cast<std::size_t>(cut.cursor - kOut));
    if (to.rung == ResumeRung::reset) {
      ++tally.reset;
      ++tally.reasons["reset " + std::string(to.reason)];
      return {};
    }
    WebSocketRelay relay(*cut.record.http, to.received, to.cursor);
    view += relay.rest();
    if (talk_.out.compare(0, view.size(), view) != 0) return "the rest is not what was sent";
    if (to.rung == ResumeRung::close) return closed(view, relay, to.reason);
    if (to.rung != ResumeRung::reattach) return "rung " + std::string(to_label(to.rung));

    SharedState shared = talk_.shared_at(cut.instant);
    ChatInstance application(shared);
    const auto first = relay.reattach(shared.processed.size(), cut.client_sent);
    if (!first) return closed(view, relay, heal_reason::resume_mismatch);
    std::string error;
    const auto exchange = [&](const std::string& bytes) {
      for (const std::string& answer : application.read(bytes)) view += pass(relay.from_application(answer), error);
    };
    view += pass(relay.from_application(application.resume(relay.state().delivered)), error);
    exchange(*first);
    // The client's kernel repeats what was not acknowledged, the client says the rest.
    std::string_view in = std::string_view(talk_.in).substr(static_cast<std::size_t>(to.received - kIn));
    for (; !in.empty(); in.remove_prefix(std::min<std::size_t>(in.size(), 3000)))
      exchange(pass(relay.from_client(in.substr(0, 3000)), error));
    if (!error.empty()) return error;
    ++tally.continued;
    ++tally.reasons["continued"];
    if (shared.processed != talk_.shared.processed) return "messages of the client lost, doubled or out of order";
    return compare_whole(view);
  }

  Tally tally;

 private:
  static std::string pass(const WebSocketRelay::Passed& passed, std::string& error) {
    if (passed.broken) error = passed.broken;
    if (passed.contradiction) error = "a contradiction";
    return passed.bytes;
  }
  static Reading frames_of(const std::string& view) {
    return read_frames(std::string_view(view).substr(view.find("\r\n\r\n") + 4));
  }

  std::string closed(std::string view, WebSocketRelay& relay, const char* reason) {
    ++tally.closed;
    ++tally.reasons["close " + std::string(*reason ? reason : "(had ended)")];
    if (*reason) {
      const auto frame = relay.close(kWebSocketServiceRestart);
      if (!frame || frame->empty()) return "a Close cannot stand here";
      view += *frame;
    }
    if (view.find("\r\n\r\n") == std::string::npos) return "closed inside the 101";
    const Reading got = frames_of(view), whole = frames_of(talk_.out);
    if (!got.rest.empty()) return "closed inside a frame";
    if (got.frames.empty() || got.frames.back().opcode() != kCloseFrame) return "no Close frame at the end";
    if (*reason && got.frames.back().payload != close_of(1012)) return "not 1012";
    if (!std::equal(got.messages.begin(), got.messages.end(), whole.messages.begin(),
                    whole.messages.begin() + static_cast<long>(std::min(got.messages.size(), whole.messages.size()))))
      return "wrong messages before the Close";
    return {};
  }

  std::string compare_whole(const std::string& view) {
    const Reading got = frames_of(view), whole = frames_of(talk_.out);
    if (!got.rest.empty()) return "half a frame at the end";
    if (got.messages != whole.messages) return "the client's view has other messages";
    const auto of = [](const Reading& reading, unsigned opcode) {
      std::map<std::string, std::size_t> payloads;
      for (const ReadFrame& f : reading.frames)
        if (f.opcode() == opcode) ++payloads[f.payload];
      return payloads;
    };
    if (of(got, kCloseFrame) != of(whole, kCloseFrame)) return "other Close frames";
    auto pongs = of(got, kPong);
    for (const auto& [payload, n] : of(whole, kPong)) {
      if (pongs[payload] < n) return "a Ping without a Pong: " + payload;
      if (pongs[payload] > n) ++tally.pongs_twice;
      pongs.erase(payload);
    }
    return pongs.empty() ? "" : "a Pong nobody asked for";
  }

  const Conversation& talk_;
};

// `every`: of long stretches of bytes only each so many-th is a place to cut at, beside those near their ends.
Tally cut_everywhere(const Conversation& talk, std::uint64_t every) {
  Cutter cutter(talk);
  std::size_t& failures = cutter.tally.wrong;
  for (const Instant& instant : talk.instants)
    for (std::size_t lag = 0; lag <= 3 && lag < instant.records; ++lag) {
      const SessionRecord& record = talk.records[instant.records - 1 - lag];
      const bool wrote = instant.out_written != instant.out_before;
      for (std::uint64_t c = instant.acked; c <= instant.out_written; ++c) {
        const bool near_an_end = c < instant.acked + 20 || c + 20 > instant.out_written ||
                                 (c >= instant.out_before && c < instant.out_before + 20);
        if (!near_an_end && c % every != 0) continue;
        // Instants that wrote nothing: the edges.
        if (!wrote && c != instant.acked && c != instant.out_written && c != (instant.acked + instant.out_written) / 2)
          continue;
        const std::uint64_t more = std::min<std::uint64_t>(instant.in_read + 9, kIn + talk.in.size());
        for (const std::uint64_t sent : {instant.in_read, more})
          for (const bool lost : {false, true}) {
            if (lost && (sent != instant.in_read || record.in_known == instant.in_read)) continue;
            const std::string wrong = cutter.wrong({instant, record, c, sent, lost});
            if (wrong.empty() || ++failures > 5) continue;
            ADD_FAILURE() << wrong << ": instant " << &instant - talk.instants.data() << ", lag " << lag << ", c " << c
                          << " of " << instant.out_written << ", S " << sent << ", read " << instant.in_read
                          << ", known " << record.in_known << (lost ? ", lost" : "");
          }
      }
    }
  EXPECT_EQ(failures, 0U);
  EXPECT_EQ(cutter.tally.pongs_twice, 0U);
  return cutter.tally;
}

TEST(WebSocketCut, EveryByteOfSmallFrames) {
  const Tally tally = cut_everywhere(Conversation(small_talk(), 1), 1);
  tally.print("small frames");
  EXPECT_GT(tally.continued, tally.cuts / 3);
}

TEST(WebSocketCut, ManyFramesInOneRead) {
  const Tally tally = cut_everywhere(Conversation(small_talk(), 100), 1);
  tally.print("small frames, read together");
  EXPECT_GT(tally.continued, tally.cuts / 3);
}

TEST(WebSocketCut, FramesLongerThanTheLimit) {
  const Tally tally = cut_everywhere(Conversation(large_talk(), 7), 19997);
  tally.print("long frames");
  EXPECT_GT(tally.continued, 0U);
}

TEST(WebSocketCut, WithoutOptInOnlyCloses) {
  const Tally tally = cut_everywhere(Conversation(small_talk(), 3, false), 1);
  tally.print("not opted in");
  EXPECT_EQ(tally.continued, 0U);
  EXPECT_GT(tally.closed, tally.cuts / 2);
}

// The test can fail: an application that has lost a message without saying so.
TEST(WebSocketCut, AnApplicationThatMiscountsIsNoticed) {
  const Conversation talk(small_talk(), 1);
  const SessionRecord& record = talk.records.back();
  WebSocketRelay relay(*record.http, record.in_known, record.out_sent);
  EXPECT_FALSE(relay.reattach(relay.state().received + 1, record.in_known)) << "more than the client has sent";
  EXPECT_TRUE(relay.reattach(relay.state().received - 1, record.in_known));
  WebSocketState poor = *record.http->websocket;
  poor.messages.clear();
  HttpState http = *record.http;
  http.websocket = std::make_shared<const WebSocketState>(poor);
  EXPECT_FALSE(WebSocketRelay(http, record.in_known, record.out_sent).reattach(poor.received - 1, record.in_known));
  // One more is possible as far as bytes go, but the client's next message ends above S.
  WebSocketRelay late(*record.http, record.in_known, record.out_sent);
  ASSERT_TRUE(late.reattach(late.state().received + 1, record.in_known + 6));
  EXPECT_TRUE(late.from_client(from_client(kText, "longer")).contradiction);
}

}  // namespace
}  // namespace suture::test
