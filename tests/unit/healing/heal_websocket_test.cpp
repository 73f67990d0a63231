// The ladder of an upgraded connection, as a table.
#include <set>

#include "heal_plan_rows.hpp"

namespace suture::healing {
namespace {

using namespace rows;

const auto kReattach = ResumeRung::reattach;
const auto kCloseIt = ResumeRung::close;

// in:  0 [ head 100 ] 100 [ frames ] 180 [ pending 20 ] 200 = L
// out: 0 [ 101 ] 50 [ frames ] 1000 = journal_start [ journal 200 ] 1200 = out_frame
SessionRecord upgraded() {
  SessionRecord r;
  r.mode = SessionMode::http;
  r.facts.sack_ok = true;
  r.in_known = 200;
  r.out_sent = 1200;
  r.out_acked = 1000;
  HttpState& h = r.http.emplace();
  h.phase = HttpPhase::upgraded;
  h.request_head_end = 100;
  h.request_head = std::make_shared<const std::string>("GET / HTTP/1.1\r\n\r\n");
  h.method = "GET";
  h.response_head_end = 50;
  h.status = 101;
  h.pending = std::make_shared<const std::string>(20, 'p');
  h.journal_start = 1000;
  h.journal = std::make_shared<const std::string>(200, 'j');
  WebSocketState ws;
  ws.session = "s";
  ws.in_frame = 180;
  ws.out_frame = ws.out_frame_end = 1200;
  h.websocket = std::make_shared<const WebSocketState>(ws);
  return r;
}
Change ws(std::function<void(WebSocketState&)> change) {
  return [change](SessionRecord& r, ProofFacts&) {
    WebSocketState state = *r.http->websocket;
    change(state);
    r.http->websocket = std::make_shared<const WebSocketState>(state);
  };
}
Change record(std::function<void(SessionRecord&)> change) {
  return [change](SessionRecord& r, ProofFacts&) { change(r); };
}
Change sack(std::uint64_t edge) {
  return [edge](SessionRecord&, ProofFacts& p) {
    p.sack_above = true;
    p.sack_edge = edge;
  };
}
const Change kLong = ws([](WebSocketState& w) { w.out_frame_end = 90000; });
const Change kNoJournal = http([](HttpState& h) { h.journal.reset(); });

void check_rows(const std::vector<Row>& rows) {
  for (const Row& row : rows) {
    const Resumption got = plan(row);
    EXPECT_EQ(to_label(got.rung), to_label(row.rung)) << row.why << " (reason " << got.reason << ')';
    EXPECT_STREQ(got.reason, row.reason) << row.why;
    EXPECT_EQ(got.cursor, row.c) << row.why;
    if (*got.reason) {
      EXPECT_EQ(heal_reason::kAll[heal_reason::index_of(got.reason)], got.reason) << row.why;
    }
  }
}

TEST(HealWebSocket, WhereTheClientStands) {
  check_rows({
      {"it has everything", upgraded(), 1200, {}, kReattach},
      {"inside the journal", upgraded(), 1100, {}, kReattach},
      {"at its beginning", upgraded(), 1000, {}, kReattach},
      {"below what it had acknowledged", upgraded(), 999, {}, kReset, heal_reason::cursor_behind},
      {"above the record", upgraded(), 1201, {}, kReset, heal_reason::cursor_beyond},
      {"everything, without a journal", upgraded(), 1200, kNoJournal, kReattach},
      {"less, without a journal", upgraded(), 1199, kNoJournal, kReset, heal_reason::websocket_frame},
      {"below a journal that begins later", upgraded(), 1000, http([](HttpState& h) {
         h.journal_start = 1100;
         h.journal = std::make_shared<const std::string>(100, 'j');
       }),
       kReset, heal_reason::websocket_frame},
      {"a journal that ends too early", upgraded(), 1100,
       http([](HttpState& h) { h.journal = std::make_shared<const std::string>(150, 'j'); }), kReset,
       heal_reason::websocket_frame},
      {"before a long frame", upgraded(), 1200, kLong, kReattach},
      {"before it, frames missing", upgraded(), 1100, kLong, kReattach},
      {"inside it", upgraded(), 1201, kLong, kReset, heal_reason::websocket_frame},
      {"one byte short of its end", upgraded(), 89999, kLong, kReset, heal_reason::websocket_frame},
      {"at its end: a boundary, but is the message over?", upgraded(), 90000, kLong, kCloseIt,
       heal_reason::websocket_frame},
      {"behind it", upgraded(), 90001, kLong, kReset, heal_reason::cursor_beyond},
      {"another protocol", upgraded(), 1200, http([](HttpState& h) { h.websocket.reset(); }), kReset,
       heal_reason::upgraded},
  });
}

TEST(HealWebSocket, WhatItMayHoldAbove) {
  check_rows({
      {"no SACK", upgraded(), 1200, kNoSack, kReset, heal_reason::no_sack},
      {"no SACK, frames missing", upgraded(), 1100, kNoSack, kReset, heal_reason::no_sack},
      {"bytes above the end", upgraded(), 1200, sack(1300), kReset, heal_reason::sack_above},
      {"bytes of the journal", upgraded(), 1100, sack(1200), kReattach},
      {"and one more", upgraded(), 1100, sack(1201), kReset, heal_reason::sack_above},
      {"served by one of whom nothing is known", upgraded(), 1200, kIdenticalOnly, kReset, heal_reason::identical_only},
      {"... who wrote nothing", upgraded(), 1200, unknown_from(1200), kReattach},
      {"... who may have written this", upgraded(), 1200, unknown_from(1100), kReset, heal_reason::identical_only},
  });
  EXPECT_EQ(plan({"", upgraded(), 1100, sack(1200), kReattach}).sack_edge, 1200U);
  EXPECT_EQ(plan({"", upgraded(), 1100, {}, kReattach}).sack_edge, 0U);
}

TEST(HealWebSocket, WhatTheClientSent) {
  const Change fragmented = ws([](WebSocketState& w) { w.in_fragmented = true; });
  const auto pending = [](std::size_t n) {
    return http([n](HttpState& h) { h.pending = n ? std::make_shared<const std::string>(n, 'p') : nullptr; });
  };
  check_rows({
      {"more than L, and it will say it again: the application's count decides", upgraded(), 1200, kMoreSent,
       kReattach},
      {"more than L, acknowledged and lost", upgraded(), 1200, kLost, kCloseIt, heal_reason::lost_bytes},
      {"the beginning of a frame that no record has", upgraded(), 1200, pending(0), kCloseIt,
       heal_reason::websocket_upload},
      {"another beginning", upgraded(), 1200, pending(19), kCloseIt, heal_reason::websocket_upload},
      {"more than there can be", upgraded(), 1200, pending(201), kCloseIt, heal_reason::websocket_upload},
      {"a message under way, all of it recorded", upgraded(), 1200, both(fragmented, pending(60)), kReattach},
      {"a message under way, its first frames not", upgraded(), 1200, fragmented, kCloseIt,
       heal_reason::websocket_upload},
      {"no request head", upgraded(), 1200, http([](HttpState& h) { h.request_head.reset(); }), kCloseIt,
       heal_reason::no_head},
  });
}

TEST(HealWebSocket, WhatTheApplicationSaid) {
  check_rows({
      {"not opted in", upgraded(), 1100, ws([](WebSocketState& w) { w.session.clear(); }), kCloseIt,
       heal_reason::not_resumable},
      {"half a message", upgraded(), 1200, ws([](WebSocketState& w) { w.out_fragmented = true; }), kCloseIt,
       heal_reason::websocket_fragmented},
      {"half a message, the frame inside the journal", upgraded(), 1100,
       ws([](WebSocketState& w) { w.out_fragmented = true; }), kCloseIt, heal_reason::websocket_fragmented},
  });
}

TEST(HealWebSocket, TheEnd) {
  const Change closed = ws([](WebSocketState& w) { w.out_close = true; });
  const Change fin = record([](SessionRecord& r) { r.out_closed = true; });
  check_rows({
      {"the client's Close", upgraded(), 1200, ws([](WebSocketState& w) { w.in_close = true; }), kCloseIt,
       heal_reason::websocket_closing},
      {"the client's FIN", upgraded(), 1200, record([](SessionRecord& r) { r.in_closed = true; }), kCloseIt,
       heal_reason::websocket_closing},
      {"the application's Close, all of it there", upgraded(), 1200, closed, kCloseIt},
      {"the application's Close, under way", upgraded(), 1100, closed, kCloseIt},
      {"... what else it may hold is discarded", upgraded(), 1100, both(closed, kNoSack), kCloseIt},
      {"both Closes", upgraded(), 1100, both(closed, ws([](WebSocketState& w) { w.in_close = true; })), kCloseIt},
      {"a Close and the FIN", upgraded(), 1201, both(closed, fin), kCloseIt},
      {"a FIN without a Close", upgraded(), 1100, fin, kCloseIt},
      {"its end is not known", upgraded(), 1202, both(closed, fin), kReset, heal_reason::cursor_beyond},
      {"a FIN inside a long frame", upgraded(), 1201, both(fin, kLong), kReset, heal_reason::websocket_frame},
  });
}

TEST(HealWebSocket, WhoCanOnlyEndWaits) {
  EXPECT_FALSE(ends_as_known(upgraded()));
  SessionRecord poor = upgraded();
  ProofFacts unused;
  ws([](WebSocketState& w) { w.session.clear(); })(poor, unused);
  EXPECT_TRUE(ends_as_known(poor));
}

// Whatever is combined: new bytes only behind a frame boundary with nothing above.
TEST(HealWebSocket, NoCombinationBreaksTheRules) {
  std::set<ResumeRung> seen;
  for (std::uint64_t c = 990; c <= 1220; ++c)
    for (unsigned bits = 0; bits < 1024; ++bits) {
      SessionRecord r = upgraded();
      ProofFacts p;
      p.cursor = c;
      p.sack_above = bits & 1;
      p.sack_edge = (bits & 2) ? 1200 : 1300;
      r.facts.sack_ok = !(bits & 4);
      p.identical_only = bits & 8;
      p.lost_bytes = bits & 16;
      p.client_sent = r.in_known + ((bits & 16) ? 40 : 0);
      p.received = p.client_sent;
      ws([&](WebSocketState& w) {
        if (bits & 32) w.session.clear();
        w.out_fragmented = bits & 64;
        w.out_close = bits & 128;
        w.in_close = bits & 256;
        if (bits & 512) w.out_frame_end = 1210;
      })(r, p);
      const Resumption got = plan_healing(r, p);
      seen.insert(got.rung);
      const bool inside = c > 1200 && c != 1210;
      const bool clear = r.facts.sack_ok && !p.identical_only && (!p.sack_above || (c < 1200 && p.sack_edge <= 1200));
      if (got.rung == ResumeRung::reattach) {
        ASSERT_TRUE(c >= 1000 && c <= 1200 && clear && !(bits & (16 | 32 | 64 | 128 | 256))) << c << ' ' << bits;
      } else if (got.rung == ResumeRung::close) {
        ASSERT_TRUE(c >= 1000 && (!inside || (bits & 128)) && (clear || (bits & 128))) << c << ' ' << bits;
        ASSERT_EQ(*got.reason == '\0', (bits & 128) != 0) << c << ' ' << bits;
      } else {
        ASSERT_EQ(got.rung, ResumeRung::reset) << c << ' ' << bits;
      }
    }
  EXPECT_EQ(seen.size(), 3U);
}

}  // namespace
}  // namespace suture::healing
