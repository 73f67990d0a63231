// A 503 that an heir wrote is nobody's answer but its own: the next heir may say it again, and never asks the
// application for what stands in its place.
#include "heir_fixture.hpp"

namespace suture::test {
namespace {

const std::string kPost = "POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n";
const std::string kGet = "GET /g HTTP/1.1\r\nHost: h\r\n\r\n";

class RefusalTest : public HeirTest {
 protected:
  void start(std::uint32_t journal_bytes_max = 0) {
    start_with([&] { options.listeners[0].default_route().journal_bytes_max = journal_bytes_max; });
  }
  // POST and GET, pipelined: the first was answered, the client has nothing of that, and nobody knows its bytes.
  static SessionRecord post_then_get(const Flow& f, HttpPhase phase) {
    SessionRecord record = waiting_at(f, kGet).record;
    HttpState& http = *record.http;
    Exchange post;
    post.method = "POST";
    post.request_head = std::make_shared<const std::string>(kPost);
    post.request_body = std::make_shared<const std::string>("x");
    post.request_framing = BodyFraming::length;
    post.request_length = 1;
    post.request_head_end = http.request_start - 1;
    post.request_start = post.request_head_end - kPost.size();
    post.status = 200;
    post.response_framing = BodyFraming::length;
    post.response_length = 20;
    post.response_start = kOut;
    post.response_head_end = kOut + 40;
    post.response_end = kOut + 60;
    http.answered = {post};
    http.phase = phase;
    http.response_start = http.response_end = record.out_sent = kOut + 60;
    if (phase == HttpPhase::waiting) return record;
    http.status = 200;
    http.response_head_end = kOut + 100;
    http.response_framing = BodyFraming::length;
    http.response_length = 20;
    http.response_end = record.out_sent = kOut + 120;
    http.etag = "\"e\"";
    if (phase == HttpPhase::response) return record;
    http.answered.push_back(http);
    http.request_head.reset();
    return record;
  }
  // All that the client gets: a 503 and the end of the connection. Its head.
  std::string refused(Heir& heir) {
    const std::string got = heir.flow.client.read_all();
    EXPECT_EQ(heir.flow.client.last_errno(), 0);
    EXPECT_EQ(got.substr(0, 12), "HTTP/1.1 503");
    EXPECT_NE(got.find("\r\nConnection: close\r\n"), std::string::npos) << got;
    EXPECT_EQ(got.find("\r\n\r\n") + 4, got.size()) << got;
    EXPECT_EQ(to_label(outcome_of(heir).rung), to_label(ResumeRung::refuse));
    EXPECT_FALSE(application_asked());
    return got;
  }
  // Heir after heir dies when the client has nothing of its 503.
  void refused_for_good(const SessionRecord& record, const Stand& stand, const char* reason) {
    Heir first = heal(record, stand);
    ASSERT_EQ(to_label(first.plan.rung), to_label(ResumeRung::refuse)) << first.plan.reason;
    EXPECT_EQ(first.plan.reason, std::string(reason));
    const std::string said = refused(first);
    SessionRecord told = last_of(first.flow.key);
    ASSERT_TRUE(told.http);
    told.out_acked = stand.cursor;
    for (const Exchange& e : told.http->answered) EXPECT_FALSE(e.journal);
    for (int n = 2; n <= 4; ++n) {
      Heir next = heal(told, {stand.cursor});
      ASSERT_EQ(to_label(next.plan.rung), to_label(ResumeRung::refuse)) << "heir " << n << ": " << next.plan.reason;
      EXPECT_EQ(refused(next), said) << "heir " << n;
      told = last_of(next.flow.key);
      ASSERT_TRUE(told.http);
      told.out_acked = stand.cursor;
    }
    // Of a client that has some of it, or all.
    EXPECT_EQ(to_label(plan_for(told, {stand.cursor + 1}).rung), to_label(ResumeRung::reset));
    EXPECT_EQ(to_label(plan_for(told, {stand.cursor + said.size() - 1}).rung), to_label(ResumeRung::reset));
    Heir last = heal(told, {stand.cursor + said.size()});
    EXPECT_EQ(to_label(last.plan.rung), to_label(ResumeRung::idle));
    EXPECT_EQ(last.flow.client.read_all(), "");
    EXPECT_EQ(last.flow.client.last_errno(), 0);
    EXPECT_FALSE(application_asked());
  }
};

class RefusalPhase : public RefusalTest, public ::testing::WithParamInterface<HttpPhase> {};

TEST_P(RefusalPhase, OfAPostIsNotTheAnswerToTheGetBehindIt) {
  start();
  Flow f = flow();
  refused_for_good(post_then_get(f, GetParam()), {kOut}, heal_reason::not_idempotent);
}
INSTANTIATE_TEST_SUITE_P(Phases, RefusalPhase,
                         ::testing::Values(HttpPhase::waiting, HttpPhase::response, HttpPhase::idle),
                         [](const auto& row) { return "phase_" + std::to_string(static_cast<int>(row.param)); });

TEST_F(RefusalTest, OfLostBytesBehindACompleteResponse) {
  start();
  Flow f = flow();
  SessionRecord record = waiting_at(f, kGet).record;
  HttpState& http = *record.http;
  http.phase = HttpPhase::response;
  http.status = 200;
  http.response_start = kOut - 60;
  http.response_head_end = kOut - 20;
  http.response_framing = BodyFraming::length;
  http.response_length = 20;
  http.response_end = kOut;
  http.etag = "\"e\"";
  refused_for_good(record, {kOut, kIn + 30, true}, heal_reason::lost_bytes);
}

// In a journal it is what it was, byte for byte.
TEST_F(RefusalTest, ThatIsJournaledIsFinished) {
  start(64 * 1024);
  Flow f = flow();
  Heir first = heal(post_then_get(f, HttpPhase::waiting), {kOut});
  const std::string said = refused(first);
  SessionRecord told = last_of(first.flow.key);
  told.out_acked = kOut;
  for (const std::size_t has : {std::size_t{0}, std::size_t{1}, said.size() / 2, said.size() - 1, said.size()}) {
    Heir next = heal(told, {kOut + has});
    EXPECT_EQ(to_label(next.plan.rung), to_label(has < said.size() ? ResumeRung::journal : ResumeRung::idle)) << has;
    EXPECT_EQ(next.flow.client.read_all(), said.substr(has));
    EXPECT_EQ(next.flow.client.last_errno(), 0);
    EXPECT_FALSE(application_asked());
  }
}

}  // namespace
}  // namespace suture::test
