// Records at each stage of an exchange, and the form of a row of the ladder's table.
#pragma once

#include <algorithm>
#include <functional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "proxy/client/heal_reasons.hpp"
#include "proxy/healing/heal_plan.hpp"

namespace suture::healing::rows {

using Change = std::function<void(SessionRecord&, ProofFacts&)>;

// in:  0 [ head 100 ] 100 = L = S            out: 0 [ head 50 ] 50 [ body 1000 ] 1050
inline SessionRecord waiting() {
  SessionRecord r;
  r.mode = SessionMode::http;
  r.facts.sack_ok = true;
  r.in_known = 100;
  HttpState& h = r.http.emplace();
  h.phase = HttpPhase::waiting;
  h.request_head_end = 100;
  h.request_head = std::make_shared<const std::string>("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  h.method = "GET";
  h.replayable = true;
  return r;
}

inline SessionRecord response() {
  SessionRecord r = waiting();
  HttpState& h = *r.http;
  h.phase = HttpPhase::response;
  h.response_head_end = 50;
  h.response_end = 1050;
  h.response_framing = BodyFraming::length;
  h.response_length = 1000;
  h.status = 200;
  h.etag = "\"e\"";
  r.out_sent = 1050;
  return r;
}

// The response was written, and not acknowledged as far as the record knows.
inline SessionRecord answered() {
  SessionRecord r = response();
  r.http->answered.push_back(*r.http);
  r.http->phase = HttpPhase::idle;
  r.http->request_head.reset();
  r.http->exchanges = 1;
  return r;
}

inline SessionRecord idle() {
  SessionRecord r = answered();
  r.http->answered.clear();
  r.out_acked = 1050;
  return r;
}

// The head of a second request has begun: 30 bytes of it.
inline SessionRecord head() {
  SessionRecord r = idle();
  r.http->phase = HttpPhase::head;
  r.http->request_start = 100;
  r.http->request_head_end = 0;
  r.in_known = 130;
  return r;
}

// Two pipelined GETs: the first answered (0..1050), the second waits (its head is in [100, 200)).
inline SessionRecord answered_and_waiting() {
  SessionRecord r = answered();
  HttpState& h = *r.http;
  h.phase = HttpPhase::waiting;
  h.request_start = 100;
  h.request_head_end = 200;
  h.request_head = h.answered[0].request_head;
  h.response_head_end = 0;
  h.status = 0;
  r.in_known = 200;
  return r;
}

struct Row {
  const char* why;
  SessionRecord record;
  std::uint64_t c;
  Change change;
  ResumeRung rung;
  const char* reason = "";
  bool close_after = false;
  std::size_t exchange = 0;
};

inline Resumption plan(Row row) {
  ProofFacts proof;
  proof.cursor = row.c;
  proof.client_sent = row.record.in_known;
  proof.fenced = true;
  if (row.change) row.change(row.record, proof);
  if (proof.sack_above && proof.sack_edge == 0) proof.sack_edge = proof.cursor + 1000;
  proof.client_sent = std::max(proof.client_sent, row.record.in_known);
  proof.received = proof.lost_bytes ? proof.client_sent : row.record.in_known;
  return plan_healing(row.record, proof);
}

inline void check(const std::vector<Row>& rows) {
  for (const Row& row : rows) {
    const Resumption got = plan(row);
    EXPECT_EQ(to_label(got.rung), to_label(row.rung)) << row.why << " (reason " << got.reason << ')';
    EXPECT_STREQ(got.reason, row.reason) << row.why;
    EXPECT_EQ(got.cursor, row.c) << row.why;
    if (got.rung == ResumeRung::refuse || got.rung == ResumeRung::reset) {
      // Every label can be exported.
      EXPECT_EQ(heal_reason::kAll[heal_reason::index_of(got.reason)], got.reason) << row.why;
      continue;
    }
    EXPECT_EQ(got.close_after, row.close_after) << row.why;
    EXPECT_EQ(got.exchange, row.exchange) << row.why;
  }
}

inline const auto kReset = ResumeRung::reset;
inline const auto kRefuse = ResumeRung::refuse;
inline const auto kIdle = ResumeRung::idle;
inline const auto kReplay = ResumeRung::replay;
inline const auto kRange = ResumeRung::range;

// As the owner records it where the route has no policy of its own.
inline void become_post(Exchange& e) {
  e.method = "POST";
  e.replayable = false;
}

inline const Change kNoSack = [](SessionRecord& r, ProofFacts&) { r.facts.sack_ok = false; };
inline const Change kSackAbove = [](SessionRecord&, ProofFacts& p) { p.sack_above = true; };
inline const Change kMoreSent = [](SessionRecord& r, ProofFacts& p) { p.client_sent = r.in_known + 40; };
inline const Change kLost = [](SessionRecord& r, ProofFacts& p) {
  p.client_sent = r.in_known + 40;
  p.lost_bytes = true;
};
inline const Change kIdenticalOnly = [](SessionRecord&, ProofFacts& p) {
  p.fenced = false;
  p.identical_only = true;
};
// ... that owner took over somewhere from `out_acked` on.
inline Change unknown_from(std::uint64_t out_acked) {
  return [out_acked](SessionRecord& r, ProofFacts& p) {
    r.out_acked = out_acked;
    p.unknown_owner = true;
  };
}
inline Change both(Change a, Change b) {
  return [a, b](SessionRecord& r, ProofFacts& p) {
    a(r, p);
    b(r, p);
  };
}
inline Change http(std::function<void(HttpState&)> change) {
  return [change](SessionRecord& r, ProofFacts&) { change(*r.http); };
}

}  // namespace suture::healing::rows
