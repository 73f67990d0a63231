// A SACK list with no room left says nothing of what lies above its blocks (RFC 2018 section 4: as many as fit). So the
// highest edge told is no edge, and what rests on "nothing above it" is not done. From the client's answer to the rung.
#include <algorithm>

#include <suture/limits.hpp>

#include "heal_plan_rows.hpp"
#include "tests/unit/healing/claim_fixture.hpp"

namespace suture::healing {
namespace {

using namespace rows;

const auto kReattach = ResumeRung::reattach;
const auto kJournal = ResumeRung::journal;
const auto kRefetch = ResumeRung::refetch;

// ---- the claim: how many blocks are as many as fit

// `count` blocks of 10 bytes each 100 above c, the highest first, as Linux may send them; `duplicate`: the first one is
// the fence's own byte (RFC 2883), which takes a place of the list.
Segment with_blocks(Segment answer, unsigned count, bool duplicate) {
  if (duplicate) answer.sacks.push_back({answer.ack - 1, answer.ack});
  for (unsigned i = count; i > 0; --i) answer.sacks.push_back({answer.ack + 100 * i, answer.ack + 100 * i + 10});
  return answer;
}

Proof fenced_proof(unsigned blocks, bool duplicate) {
  Claim claim = Claim::claimant(test::kSelf, test::record(), {});
  claim.start(test::at(0));
  const Outcome asked = claim.on_packet(test::segment(test::kL, test::kSent, test::kNow - 5), test::at(10));
  const Segment answer = test::segment(test::kL, test::kSent, test::sent(asked).timestamps->value);
  const Outcome out = claim.on_packet(with_blocks(answer, blocks, duplicate), test::at(20));
  const auto* proven = test::find<action::Proven>(out);
  EXPECT_NE(proven, nullptr);
  return proven ? proven->proof : Proof{};
}

Proof unfenced_proof(unsigned blocks) {
  SessionRecord r = test::record();
  r.facts.timestamps = r.facts.hint = false;
  Claim claim = Claim::claimant(test::kSelf, r, {});
  claim.start(test::at(0));
  Segment answer = with_blocks(test::segment(test::kL, test::kSent, 0), blocks, false);
  answer.timestamps.reset();
  for (int ms = 20; ms <= 3500; ms += 20) {
    if (!test::find<action::Send>(claim.on_tick(test::at(ms)))) continue;
    const Outcome out = claim.on_packet(answer, test::at(ms));
    if (const auto* proven = test::find<action::Proven>(out)) return proven->proof;
  }
  ADD_FAILURE() << "not proven";
  return {};
}

TEST(SackFull, AListWithTimestampsHasRoomForThree) {
  struct Row {
    unsigned blocks;
    bool duplicate, above, full;
    std::uint32_t edge;
  };
  for (const Row& row : {Row{0, false, false, false, 0}, Row{0, true, false, false, 0}, Row{1, false, true, false, 110},
                         Row{1, true, true, false, 110}, Row{2, false, true, false, 210}, Row{2, true, true, true, 210},
                         Row{3, false, true, true, 310}}) {
    const Proof proof = fenced_proof(row.blocks, row.duplicate);
    EXPECT_EQ(proof.sack_above, row.above) << row.blocks << row.duplicate;
    EXPECT_EQ(proof.sack_full, row.full) << row.blocks << row.duplicate;
    EXPECT_EQ(proof.sack_edge, test::kSent + row.edge) << row.blocks << row.duplicate;
  }
}

TEST(SackFull, AListWithoutTimestampsHasRoomForFour) {
  for (const unsigned blocks : {1U, 3U, 4U}) {
    const Proof proof = unfenced_proof(blocks);
    EXPECT_TRUE(proof.sack_above) << blocks;
    EXPECT_EQ(proof.sack_full, blocks == 4) << blocks;
    EXPECT_EQ(proof.sack_edge, test::kSent + 100 * blocks + 10) << blocks;
  }
}

// ---- the plan: the same place, with an edge that is one and with one that is none

Change sack_to(std::uint64_t edge, bool full) {
  return [edge, full](SessionRecord&, ProofFacts& p) {
    p.sack_above = true;
    p.sack_edge = edge;
    p.sack_full = full;
  };
}

// A response of 1050 bytes, all of it in the journal, to a request that must not run twice.
SessionRecord journalled_post() {
  SessionRecord r = answered();
  become_post(r.http->answered[0]);
  r.http->answered[0].journal = std::make_shared<const std::string>(1050, 'j');
  return r;
}

// A body of 1000 bytes without a validator; `marked`: bytes of it that a digest covers.
SessionRecord unvouched(std::uint64_t marked) {
  SessionRecord r = response();
  r.http->etag.clear();
  BodyTrack body;
  body.marks.push_back({50 + marked, marked, {}, 0});
  r.http->body = std::make_shared<const BodyTrack>(body);
  return r;
}

TEST(SackFull, TheJournalEndsAboveTheEdgeOrNowhere) {
  check({
      {"what it holds is the journal's, and nothing can lie above", journalled_post(), 300, sack_to(900, false),
       kJournal},
      {"up to the journal's very end", journalled_post(), 300, sack_to(1050, false), kJournal},
      {"it may hold an answer to what it sent next", journalled_post(), 300, sack_to(900, true), kReset,
       heal_reason::sack_above},
  });
}

TEST(SackFull, ARepeatedResponseNeedsAMarkAboveTheEdge) {
  check({
      {"the mark covers it", unvouched(900), 300, sack_to(800, false), kRefetch},
      {"exactly", unvouched(900), 300, sack_to(950, false), kRefetch},
      {"it does not", unvouched(900), 300, sack_to(951, false), kReset, heal_reason::no_checkpoint},
      {"nobody knows what it would have to cover", unvouched(900), 300, sack_to(800, true), kReset,
       heal_reason::sack_above},
      {"a mark of the whole body neither", unvouched(1000), 300, sack_to(800, true), kReset, heal_reason::sack_above},
  });
}

TEST(SackFull, IdenticalBytesMayFollowAnyList) {
  check({
      {"of known length and tag", response(), 700, sack_to(900, false), kRange},
      {"whatever it holds above", response(), 700, sack_to(900, true), kRange},
      {"all of it of this response, though more was asked: a FIN behind it", response(), 700,
       both(kMoreSent, sack_to(1050, false)), kRange, "", true},
      {"of an answer to what else it has sent, too: it would never see our FIN", response(), 700,
       both(kMoreSent, sack_to(1051, false)), kReset, heal_reason::sack_above},
      {"or nobody knows how much", response(), 700, both(kMoreSent, sack_to(900, true)), kReset,
       heal_reason::sack_above},
  });
}

TEST(SackFull, NothingOfOurOwnFollowsOne) {
  check({
      {"a new response", waiting(), 0, sack_to(10, true), kReset, heal_reason::sack_above},
      {"between exchanges", idle(), 1050, sack_to(1060, true), kReset, heal_reason::sack_above},
  });
}

TEST(SackFull, AWebSocketGoesOnWhereItsEdgeIsOne) {
  // out: ... 1000 = journal_start [ journal 200 ] 1200 = out_frame
  SessionRecord r = idle();
  r.in_known = 200;
  r.out_sent = 1200;
  r.out_acked = 1000;
  HttpState& h = *r.http;
  h.phase = HttpPhase::upgraded;
  h.request_head = std::make_shared<const std::string>("GET / HTTP/1.1\r\n\r\n");
  h.journal_start = 1000;
  h.journal = std::make_shared<const std::string>(200, 'j');
  WebSocketState ws;
  ws.session = "s";
  ws.in_frame = 200;
  ws.out_frame = ws.out_frame_end = 1200;
  h.websocket = std::make_shared<const WebSocketState>(ws);
  SessionRecord closed = r;
  ws.out_close = true;
  closed.http->websocket = std::make_shared<const WebSocketState>(ws);
  for (const Row& row : std::vector<Row>{
           {"bytes of the journal", r, 1100, sack_to(1150, false), kReattach},
           {"new frames may lie above", r, 1100, sack_to(1150, true), kReset, heal_reason::sack_above},
           {"even where the edge is the journal's end", r, 1100, sack_to(1200, true), kReset, heal_reason::sack_above},
           {"the application's Close has passed: nothing is behind it", closed, 1100, sack_to(1150, true),
            ResumeRung::close}}) {
    const Resumption got = plan(row);
    EXPECT_EQ(to_label(got.rung), to_label(row.rung)) << row.why;
    EXPECT_STREQ(got.reason, row.reason) << row.why;
  }
}

// Wherever the client stands: a list that is full never allows more than one that is not.
TEST(SackFull, IsNeverMoreThanItsEdge) {
  for (const SessionRecord& base :
       {waiting(), response(), answered(), idle(), head(), answered_and_waiting(), journalled_post(), unvouched(900)})
    for (std::uint64_t c = base.out_acked; c <= 1100; ++c)
      for (const std::uint64_t above : {1U, 100U, 1000U}) {
        const Row row{"", base, c, sack_to(c + above, false), kReset};
        const Resumption told = plan(row), full = plan({"", base, c, sack_to(c + above, true), kReset});
        if (full.rung == kReset) continue;
        ASSERT_EQ(to_label(full.rung), to_label(told.rung)) << c << ' ' << above;
        ASSERT_EQ(to_label(full.rung), to_label(kRange)) << c << ' ' << above;
        ASSERT_GE(full.close_after, told.close_after) << c << ' ' << above;
      }
}

}  // namespace
}  // namespace suture::healing
