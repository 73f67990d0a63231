// The ladder as a table. Each row says why it is safe when the record is k updates old and the former owner has acted
// on everything up to S ("the owner may have ..."); what c and SACK then leave possible is what the rung must bear.
#include "proxy/healing/heal_plan.hpp"

#include <set>

#include <gtest/gtest.h>

#include "heal_plan_rows.hpp"

namespace suture::healing {
namespace {

using namespace rows;

TEST(HealPlan, NothingToGoOnWith) {
  SessionRecord tcp;
  tcp.mode = SessionMode::tcp;
  SessionRecord bare;
  bare.mode = SessionMode::http;
  check({
      {"opaque bytes: only their owner knew what comes next", tcp, 0, {}, kReset, heal_reason::mode_tcp},
      {"no HTTP state", bare, 0, {}, kReset, heal_reason::no_state},
      {"opaque bytes behind a 101", response(), 50, http([](HttpState& h) { h.phase = HttpPhase::upgraded; }), kReset,
       heal_reason::upgraded},
      {"an ACK below what was acknowledged before is no cursor", idle(), 1049, {}, kReset, heal_reason::cursor_behind},
  });
}

TEST(HealPlan, WhatEndsWhereverTheClientStands) {
  SessionRecord tcp;
  tcp.mode = SessionMode::tcp;
  EXPECT_TRUE(ends_as_known(tcp));
  SessionRecord upgraded = response();
  upgraded.http->phase = HttpPhase::upgraded;
  EXPECT_TRUE(ends_as_known(upgraded));
  SessionRecord upload = waiting();
  become_post(*upload.http);
  EXPECT_TRUE(ends_as_known(upload));
  EXPECT_FALSE(ends_as_known(waiting()));
  EXPECT_FALSE(ends_as_known(idle()));
  EXPECT_FALSE(ends_as_known(response()));
  SessionRecord plain = response();
  plain.http->etag.clear();
  EXPECT_FALSE(ends_as_known(plain)) << "the client may have nothing of the response yet";
  plain.out_acked = plain.out_sent = plain.http->response_head_end + 1;
  EXPECT_FALSE(ends_as_known(plain)) << "or all of it, and the record does not know yet";
  plain.http->response_end += 2 << 20;
  EXPECT_TRUE(ends_as_known(plain));
}

// The simulation's finds: a claimant that no peer heard of had answered, and died, or was cut off again.
TEST(HealPlan, BehindAnOwnerWithoutARecord) {
  SessionRecord chunked = response();
  chunked.http->response_framing = BodyFraming::chunked;
  SessionRecord post = answered();
  become_post(post.http->answered[0]);
  check({
      {"the client has nothing of it", waiting(), 0, unknown_from(0), kReplay},
      {"nor of it here", idle(), 1050, unknown_from(1050), kIdle},
      {"a body that the entity tag decides", response(), 500, unknown_from(50), kRange},
      {"all of it", answered(), 1050, unknown_from(50), kIdle},
      {"its head may be another's", response(), 500, unknown_from(49), kReset, heal_reason::identical_only},
      {"its chunks may be another's", chunked, 500, unknown_from(50), kReset, heal_reason::identical_only},
      {"instead of it there may be a 503", post, 154, unknown_from(0), kReset, heal_reason::identical_only},
      {"or one that happens to be as long", post, 1050, unknown_from(0), kReset, heal_reason::identical_only},
  });
}

TEST(HealPlan, BetweenExchanges) {
  SessionRecord fresh = waiting();
  fresh.in_known = 0;
  fresh.http.emplace();
  check({
      {"nothing asked, nothing sent: the owner cannot have written anything", fresh, 0, {}, kIdle},
      {"every answer is with the client and nothing more was asked", idle(), 1050, {}, kIdle},
      {"acknowledged, but the record does not know it yet", answered(), 1050, {}, kIdle},
      {"the owner may have answered [L, S): no byte of that is in order (c), none out of order (SACK), and the fence "
       "stops the rest",
       idle(), 1050, kMoreSent, kIdle},
      {"the same without SACK: such bytes may wait at the client", idle(), 1050, both(kMoreSent, kNoSack), kReset,
       heal_reason::no_sack},
      {"without SACK and S = L: the owner was asked for nothing above c", idle(), 1050, kNoSack, kIdle},
      {"no fence needed for that: the claim's majority stands for it", idle(), 1050,
       [](SessionRecord&, ProofFacts& p) { p.fenced = false; }, kIdle},
      {"the owner may live and read the next request as well", idle(), 1050, kIdenticalOnly, kReset,
       heal_reason::identical_only},
      {"the client holds bytes of an unknown response above c", idle(), 1050, kSackAbove, kReset,
       heal_reason::sack_above},
      {"the owner acknowledged [L, S): never idle, its first byte would be taken for a request's", idle(), 1050, kLost,
       kRefuse, heal_reason::lost_bytes},
      {"one place: the client's FIN, or the first byte of a request; an end fits both, an answer only one", idle(),
       1050, both(kLost, [](SessionRecord& r, ProofFacts& p) { p.client_sent = r.in_known + 1; }), kIdle, "", true},
      {"the same where the client cannot say", idle(), 1050,
       both(both(kLost, kNoSack), [](SessionRecord& r, ProofFacts& p) { p.client_sent = r.in_known + 1; }), kReset,
       heal_reason::no_sack},
      {"lost bytes may have been answered, and the client cannot say", idle(), 1050, both(kLost, kNoSack), kReset,
       heal_reason::no_sack},
      {"lost bytes, and their answer out of order", idle(), 1050, both(kLost, kSackAbove), kReset,
       heal_reason::sack_above},
      {"the owner has answered a request that the record does not know",
       idle(),
       1051,
       {},
       kReset,
       heal_reason::cursor_beyond},
      {"the last exchange: a FIN is all that is missing", idle(), 1050,
       http([](HttpState& h) { h.keep_alive = false; }), kIdle, "", true},
      {"its FIN was sent and lost", idle(), 1050, [](SessionRecord& r, ProofFacts&) { r.out_closed = true; }, kIdle, "",
       true},
      {"the client has the FIN too", idle(), 1051, [](SessionRecord& r, ProofFacts&) { r.out_closed = true; }, kIdle,
       "", true},
      {"a FIN behind the last response needs no SACK: the client discards what it holds behind it", idle(), 1050,
       both(kMoreSent, both(kNoSack, http([](HttpState& h) { h.keep_alive = false; }))), kIdle, "", true},
      {"but bytes above a last response contradict the record", idle(), 1050,
       both(kSackAbove, http([](HttpState& h) { h.keep_alive = false; })), kReset, heal_reason::sack_above},
      {"two beyond: not a FIN", idle(), 1052, [](SessionRecord& r, ProofFacts&) { r.out_closed = true; }, kReset,
       heal_reason::cursor_beyond},
      {"the client's FIN was read: the session closes by itself", idle(), 1050,
       [](SessionRecord& r, ProofFacts&) { r.in_closed = true; }, kIdle},
      {"and its place in the stream is not a lost byte", idle(), 1050,
       [](SessionRecord& r, ProofFacts& p) {
         r.in_closed = true;
         p.client_sent = r.in_known + 1;
         p.lost_bytes = true;
       },
       kIdle},
      {"nor one that may have been answered", idle(), 1050,
       [](SessionRecord& r, ProofFacts& p) {
         r.in_closed = true;
         r.facts.sack_ok = false;
         p.client_sent = r.in_known + 1;
       },
       kIdle},
  });
}

TEST(HealPlan, TheBeginningOfARequestWasSwallowed) {
  check({
      {"[100, 130) is with the dead owner: the client will not send it again; a 503 fits exactly at c",
       head(),
       1050,
       {},
       kRefuse,
       heal_reason::partial_request},
      {"the owner may have read the rest up to S and answered, and the client holds none of it", head(), 1050,
       kMoreSent, kRefuse, heal_reason::partial_request},
      {"without SACK and S = L: nobody ever had a whole request", head(), 1050, kNoSack, kRefuse,
       heal_reason::partial_request},
      {"without SACK: the rest in [L, S) may have been answered", head(), 1050, both(kNoSack, kMoreSent), kReset,
       heal_reason::no_sack},
      {"without SACK: what waited were whole requests, the owner may have answered them", head(), 1050,
       both(kNoSack, http([](HttpState& h) { h.pipelined = 1; })), kReset, heal_reason::no_sack},
      {"what is pending is a byte less than what was swallowed", head(), 1050,
       [](SessionRecord& r, ProofFacts&) {
         r.http->pending = std::make_shared<const std::string>(r.in_known - r.http->request_start - 1, 'G');
       },
       kRefuse, heal_reason::partial_request},
      {"all of it", head(), 1050,
       [](SessionRecord& r, ProofFacts&) {
         r.http->pending = std::make_shared<const std::string>(r.in_known - r.http->request_start, 'G');
       },
       kIdle},
      {"an answer that the record does not know", head(), 1100, {}, kReset, heal_reason::cursor_beyond},
      {"an answer out of order", head(), 1050, kSackAbove, kReset, heal_reason::sack_above},
  });
}

TEST(HealPlan, NoByteOfTheResponse) {
  const auto post = http([](HttpState& h) { become_post(h); });
  const auto put = http([](HttpState& h) {
    h.method = "PUT";
    h.request_framing = BodyFraming::length;
    h.request_length = 5;
  });
  const Change kSomeArrived = [](SessionRecord& r, ProofFacts&) { r.in_known = 103; };
  const Change kBodyArrived = [](SessionRecord& r, ProofFacts&) { r.in_known = 105; };
  const Change kBodyRecorded = [](SessionRecord& r, ProofFacts&) {
    r.http->request_body = std::make_shared<const std::string>(r.in_known - 100, 'b');
  };
  const Change kBodyUnderWay = http([](HttpState& h) { h.phase = HttpPhase::body; });
  check({
      {"the owner may have executed and answered it; the client has none of that; GET may run twice",
       waiting(),
       0,
       {},
       kReplay},
      {"the same, and the record knows the response", response(), 0, {}, kReplay},
      {"the same, written completely", answered(), 0, {}, kReplay},
      {"later requests in [L, S) come again from the client (S rule)", waiting(), 0, kMoreSent, kReplay},
      {"POST may have run: nobody runs it again", waiting(), 0, post, kRefuse, heal_reason::not_idempotent},
      {"POST ran, its answer is lost: the same", answered(), 0,
       [](SessionRecord& r, ProofFacts&) { become_post(r.http->answered[0]); }, kRefuse, heal_reason::not_idempotent},
      {"POST that the owner's route lets run twice: a key, or policy always", waiting(), 0,
       http([](HttpState& h) { h.method = "POST"; }), kReplay},
      {"GET on a route that lets nothing run twice", waiting(), 0, http([](HttpState& h) { h.replayable = false; }),
       kRefuse, heal_reason::replay_policy},
      {"a PUT's body is not in the record", waiting(), 0, both(put, kBodyArrived), kRefuse, heal_reason::request_body},
      {"it is", waiting(), 0, both(both(put, kBodyArrived), kBodyRecorded), kReplay},
      {"a POST's helps nobody", waiting(), 0, both(both(both(put, post), kBodyArrived), kBodyRecorded), kRefuse,
       heal_reason::not_idempotent},
      {"its body is under way: the client sends the rest to us", waiting(), 0, both(put, kBodyUnderWay), kReplay},
      {"the same, its beginning recorded", waiting(), 0,
       both(put, both(kBodyUnderWay, both(kSomeArrived, kBodyRecorded))), kReplay},
      {"its beginning is with the dead owner alone", waiting(), 0, both(put, both(kBodyUnderWay, kSomeArrived)),
       kRefuse, heal_reason::request_body},
      {"a byte of it, or two: no empty line", waiting(), 0,
       both(put, both(kBodyUnderWay, [](SessionRecord& r, ProofFacts&) { r.in_known = 101; })), kRefuse,
       heal_reason::request_body},
      {"two", waiting(), 0, both(put, both(kBodyUnderWay, [](SessionRecord& r, ProofFacts&) { r.in_known = 102; })),
       kRefuse, heal_reason::request_body},
      {"bytes of it are lost", waiting(), 0, both(both(put, kBodyUnderWay), kLost), kRefuse, heal_reason::request_body},
      {"the head was too long for the record", waiting(), 0, http([](HttpState& h) { h.request_head.reset(); }),
       kRefuse, heal_reason::no_head},
      {"part of the answer waits out of order: a new one would differ", waiting(), 0, kSackAbove, kReset,
       heal_reason::sack_above},
      {"and so it may where the client cannot say, although S = L: the record itself owes an answer", waiting(), 0,
       kNoSack, kReset, heal_reason::no_sack},
      {"a 503 over a half delivered answer neither", waiting(), 0, both(kNoSack, post), kReset, heal_reason::no_sack},
      {"the owner may live and answer", waiting(), 0, kIdenticalOnly, kReset, heal_reason::identical_only},
      {"part of an answer that the record does not know", waiting(), 10, {}, kReset, heal_reason::response_unknown},
      {"[100, 150) was swallowed: a pipelined request that nobody can run; announced with Connection: close", waiting(),
       0, [](SessionRecord& r, ProofFacts&) { r.in_known = 150; }, kReplay, "", true},
      {"[L, S) was acknowledged by the dead owner: the same", waiting(), 0, kLost, kReplay, "", true},
      {"our FIN was sent behind it", response(), 0, [](SessionRecord& r, ProofFacts&) { r.out_closed = true; }, kReplay,
       "", true},
      {"the client has half-closed: it still gets its answer", waiting(), 0,
       [](SessionRecord& r, ProofFacts& p) {
         r.in_closed = true;
         p.client_sent = r.in_known + 1;
         p.lost_bytes = true;
       },
       kReplay},
      {"a later exchange, the first response acknowledged", answered_and_waiting(), 1050, {}, kReplay, "", false, 1},
      {"an upgrade that the client knows nothing of is a GET", waiting(), 0, http([](HttpState& h) {
         h.request_head = std::make_shared<const std::string>("GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n");
       }),
       kReplay},
  });
}

TEST(HealPlan, InterimResponses) {
  // A 103 in [0, 20).
  const auto interim = http([](HttpState& h) { h.response_end = 20; });
  const auto before_response = http([](HttpState& h) {
    h.response_start = 20;
    h.response_head_end = 70;
    h.response_end = 1070;
  });
  check({
      {"the client has all interim responses and nothing else", waiting(), 20, interim, kReplay},
      {"or none", waiting(), 0, interim, kReplay},
      {"or a part that cannot be finished", waiting(), 7, interim, kReset, heal_reason::partial_interim},
      {"the final response begins behind them", response(), 20, before_response, kReplay},
      {"part of them", response(), 7, before_response, kReset, heal_reason::partial_interim},
      {"interim ones between two answered responses", answered_and_waiting(), 1050, http([](HttpState& h) {
         h.phase = HttpPhase::idle;
         h.answered.push_back(h.answered[0]);
         h.answered[1].response_start = 1070;
         h.answered[1].response_head_end = 1120;
         h.answered[1].response_end = h.response_end = 2120;
       }),
       kReplay, "", false, 1},
      {"interim ones between two responses", answered_and_waiting(), 1050, http([](HttpState& h) {
         h.response_start = 1050;
         h.response_end = 1070;
       }),
       kReplay, "", false, 1},
  });
}

TEST(HealPlan, InTheMiddleOfAResponse) {
  check({
      {"[c, 1050) is fixed by entity tag and length, whatever the owner did", response(), 700, {}, kRange},
      {"exactly behind the head", response(), 50, {}, kRange},
      {"its last byte", response(), 1049, {}, kRange},
      {"written completely", answered(), 700, {}, kRange},
      {"blocks above c are parts of the same bytes: nothing else was asked for", response(), 700, kSackAbove, kRange},
      {"without SACK the same", response(), 700, kNoSack, kRange},
      {"the owner may have answered [L, S); the client holds nothing above c", response(), 700, kMoreSent, kRange},
      {"without SACK it may hold such an answer behind this response, and would never see our FIN", response(), 700,
       both(kMoreSent, kNoSack), kReset, heal_reason::no_sack},
      {"the owner may live: identical bytes, then the end", response(), 700, kIdenticalOnly, kRange, "", true},
      {"[100, 150) was swallowed: too late for Connection: close, so a FIN", response(), 700,
       [](SessionRecord& r, ProofFacts&) { r.in_known = 150; }, kRange, "", true},
      {"lost bytes: the same", response(), 700, kLost, kRange, "", true},
      {"announced with Connection: close", response(), 700, http([](HttpState& h) { h.keep_alive = false; }), kRange,
       "", true},
      {"our FIN was sent behind it", answered(), 700, [](SessionRecord& r, ProofFacts&) { r.out_closed = true; },
       kRange, "", true},
      {"a second request was read (it waits): its answer would come next, but nothing is proven of it yet; clean end",
       answered_and_waiting(),
       700,
       {},
       kRange,
       "",
       true},
      {"part of the head: another answer's head would differ", response(), 49, {}, kReset, heal_reason::partial_head},
      {"one byte of the head", response(), 1, {}, kReset, heal_reason::partial_head},
      {"complete, and nothing more: between exchanges", response(), 1050, {}, kIdle},
      {"complete, and a swallowed request behind it", response(), 1050,
       [](SessionRecord& r, ProofFacts&) { r.in_known = 150; }, kRefuse, heal_reason::partial_request},
      {"the same without SACK: that request may have been answered", response(), 1050,
       both(kNoSack, [](SessionRecord& r, ProofFacts&) { r.in_known = 150; }), kReset, heal_reason::no_sack},
      {"complete, and the last", response(), 1050, http([](HttpState& h) { h.keep_alive = false; }), kIdle, "", true},
      {"beyond its end", response(), 1051, {}, kReset, heal_reason::cursor_beyond},
      {"not GET", response(), 700, http([](HttpState& h) { h.method = "PUT"; }), kReset, heal_reason::response_method},
      {"206, and not one range of a known length", response(), 700, http([](HttpState& h) { h.status = 206; }), kReset,
       heal_reason::response_status},
      {"206, one range: the rest of it", response(), 700, http([](HttpState& h) {
         h.status = 206;
         h.range_start = 5000;
         h.range_total = 10000;
       }),
       kRange},
      {"no strong entity tag", response(), 700, http([](HttpState& h) { h.etag.clear(); }), kReset,
       heal_reason::no_etag},
      {"chunk framing is the owner's", response(), 700, http([](HttpState& h) {
         h.response_framing = BodyFraming::chunked;
         h.response_end = 0;
       }),
       kReset, heal_reason::response_framing},
      {"the rest would have to be asked for again, and the route forbids it", response(), 700,
       http([](HttpState& h) { h.replayable = false; }), kReset, heal_reason::replay_policy},
      {"no length at all", response(), 700, http([](HttpState& h) {
         h.response_framing = BodyFraming::until_close;
         h.response_end = 0;
       }),
       kReset, heal_reason::response_framing},
      {"no head to ask with", response(), 700, http([](HttpState& h) { h.request_head.reset(); }), kReset,
       heal_reason::no_head},
      {"a GET with a body", response(), 700, http([](HttpState& h) { h.request_framing = BodyFraming::chunked; }),
       kReset, heal_reason::request_body},
  });
}

TEST(HealPlan, AnsweredResponsesInOrder) {
  // Three answered: [0, 1050) [1050, 2100) [2100, 3150).
  SessionRecord three = answered();
  const Exchange first = three.http->answered[0];
  for (std::uint64_t i = 1; i < 3; ++i) {
    Exchange e = first;
    e.request_start += 100 * i;
    e.request_head_end += 100 * i;
    e.response_start += 1050 * i;
    e.response_head_end += 1050 * i;
    e.response_end += 1050 * i;
    three.http->answered.push_back(e);
    three.http->response_start = e.response_start;
    three.http->response_head_end = e.response_head_end;
    three.http->response_end = e.response_end;
  }
  three.in_known = 300;
  SessionRecord oldest_left_out = three;
  oldest_left_out.http->answered.erase(oldest_left_out.http->answered.begin());
  check({
      {"inside the first: it is finished, the others end with it", three, 500, {}, kRange, "", true, 0},
      {"between first and second: the second again", three, 1050, {}, kReplay, "", true, 1},
      {"inside the second's head", three, 1060, {}, kReset, heal_reason::partial_head},
      {"inside the third: the last, the connection stays", three, 2500, {}, kRange, "", false, 2},
      {"all of them", three, 3150, {}, kIdle},
      {"in one that the record left out", oldest_left_out, 500, {}, kReset, heal_reason::response_unknown},
      {"before that", oldest_left_out, 0, {}, kReset, heal_reason::response_unknown},
  });
}

// Whatever the record and the proof say: a rung that writes own words has c at a boundary that the record knows, and
// the client cannot hold anything above; a range never starts inside a head.
TEST(HealPlan, NoCombinationBreaksTheRules) {
  const std::vector<SessionRecord> records{waiting(), response(), answered(), idle(), head(), answered_and_waiting()};
  std::set<ResumeRung> seen;
  for (const SessionRecord& base : records)
    for (std::uint64_t c = 0; c <= 1100; ++c)
      for (unsigned bits = 0; bits < 32; ++bits) {
        SessionRecord r = base;
        ProofFacts p;
        p.cursor = c;
        p.sack_above = bits & 1;
        r.facts.sack_ok = !(bits & 2);
        p.client_sent = r.in_known + ((bits & 4) ? 40 : 0);
        p.lost_bytes = (bits & 4) && (bits & 8);
        p.received = p.lost_bytes ? p.client_sent : r.in_known;
        p.identical_only = bits & 16;
        const Resumption got = plan_healing(r, p);
        seen.insert(got.rung);
        const bool boundary = c == 0 || c == 1050;
        const bool clear = r.facts.sack_ok && !p.sack_above && !p.identical_only;
        if (got.rung == ResumeRung::replay) {
          ASSERT_TRUE(boundary && clear) << c << ' ' << bits;
        }
        if (got.rung == ResumeRung::refuse) {
          ASSERT_TRUE(boundary && !p.sack_above && (clear || p.client_sent == r.in_known)) << c << ' ' << bits;
        }
        if (got.rung == ResumeRung::idle) {
          ASSERT_TRUE(c == r.http->response_end && !p.lost_bytes && !p.sack_above) << c << ' ' << bits;
        }
        if (got.rung == ResumeRung::range) {
          ASSERT_TRUE(c >= 50 && c < 1050) << c << ' ' << bits;
        }
      }
  EXPECT_EQ(seen, (std::set{kIdle, kReplay, kRange, kRefuse, kReset})) << "these records hold no content";
}

}  // namespace
}  // namespace suture::healing
