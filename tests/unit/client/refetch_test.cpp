// The rung "refetch": an answer that no validator vouches for is asked for again and compared; how long that may take.
#include <poll.h>
#include <proxy/client/content_digest.hpp>
#include <proxy/client/http_head.hpp>
#include <proxy/client/response_identity.hpp>
#include <suture/clock.hpp>

#include "adoption_fixture.hpp"

namespace suture::test {
namespace {

const std::string kGet = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n";
const std::string kHead = "HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nConnection: close\r\n\r\n";

std::string content_of(std::size_t size) {
  std::string out;
  while (out.size() < size) out += std::to_string(out.size()) + ' ';
  out.resize(size);
  return out;
}

class RefetchTest : public AdoptionTest {
 protected:
  // Of `content`, whose end is the connection's, the client has 4 bytes. The record has `known` more, and a digest of
  // the first `marked`.
  static Adoption refetch_at(const Flow& f, const std::string& content, std::size_t known, std::size_t marked) {
    ResponseHead head;
    EXPECT_FALSE(parse_response_head(kHead, "GET", head));
    Adoption a = response_at(f, kGet);
    HttpState& http = *a.record.http;
    http.response_framing = BodyFraming::until_close;
    http.response_end = http.response_length = 0;
    http.etag.clear();
    http.keep_alive = false;
    ContentDigest digest;
    digest.update(std::string_view(content).substr(0, marked));
    BodyTrack track;
    track.fields = identity_of(head);
    track.marks.push_back({kOut - 4 + marked, marked, digest.value(), 0});
    http.body = std::make_shared<const BodyTrack>(track);
    http.journal_start = kOut - 4;
    if (known != 0) http.journal = std::make_shared<const std::string>(content, 0, 4 + known);
    a.resume.rung = ResumeRung::refetch;
    a.resume.journal = known;
    a.resume.close_after = true;
    return a;
  }
  static void expect_reset_without_a_byte(Flow& f) {
    EXPECT_EQ(f.client.read_all(), "");
    EXPECT_EQ(f.client.last_errno(), ECONNRESET);
  }
};

TEST_F(RefetchTest, WhatIsTheSameGoesOn) {
  start();
  Flow f = flow();
  const std::string content = content_of(20);
  adopt(refetch_at(f, content, 0, 10));
  Peer app = application.accept();
  EXPECT_EQ(app.read_head().find("Range:"), std::string::npos);
  app.send(kHead + content.substr(0, 9));
  barrier();
  EXPECT_TRUE(silent(f.client)) << "nothing goes on before the mark";
  app.send(content.substr(9));
  app.close();
  EXPECT_EQ(f.client.read_all(), content.substr(4));
  EXPECT_EQ(f.client.last_errno(), 0);
  EXPECT_EQ(metric("suture_heals_total", "rung=\"refetch\""), 1);
}

TEST_F(RefetchTest, AnApplicationThatFallsSilentIsNotWaitedForAnyLonger) {
  options.refetch_patience = Millis(300);  // options.timeouts.response_ms is a minute
  start();
  Flow f = flow();
  const auto began = Clock::now();
  adopt(refetch_at(f, content_of(20), 0, 10));
  Peer app = application.accept();
  app.read_head();
  app.send(kHead + content_of(20).substr(0, 9));
  expect_reset_without_a_byte(f);
  EXPECT_GE(Clock::now() - began, options.refetch_patience);
  expect_outcome(ResumeRung::reset, heal_reason::application);
}

TEST_F(RefetchTest, NorOneThatNeverAnswers) {
  options.refetch_patience = Millis(300);
  start();
  Flow f = flow();
  adopt(refetch_at(f, content_of(20), 0, 10));
  Peer app = application.accept();
  app.read_head();
  expect_reset_without_a_byte(f);
  expect_outcome(ResumeRung::reset, heal_reason::application);
}

// Each byte is the right one, and on time for timeouts.response_ms.
TEST_F(RefetchTest, NorOneThatDrips) {
  constexpr std::size_t kMarked = 400'000;  // 0.4 s more
  options.refetch_patience = Millis(100);
  start();
  Flow f = flow();
  const std::string content = content_of(kMarked);
  const auto began = Clock::now();
  adopt(refetch_at(f, content, 0, kMarked));
  Peer app = application.accept();
  app.read_head();
  app.send(kHead);
  pollfd heard{f.client.fd(), POLLIN, 0};
  for (std::size_t i = 0; ::poll(&heard, 1, 5) == 0; ++i) {
    ASSERT_LT(Clock::now() - began, std::chrono::seconds(5)) << "it is waited for still";
    ::send(app.fd(), &content[i], 1, MSG_NOSIGNAL);
  }
  EXPECT_GE(Clock::now() - began, options.refetch_patience + Millis(kMarked / limits::refetch_bytes_per_ms_min));
  expect_reset_without_a_byte(f);
  expect_outcome(ResumeRung::reset, heal_reason::application);
}

// Its own time is not the application's: what is known goes first, and the client does not take it.
TEST_F(RefetchTest, AClientThatPausesLosesNothing) {
  constexpr std::size_t kKnown = 60'000;
  options.refetch_patience = Millis(300);
  start();
  Flow paused = flow(1);
  const int smallest = 1;
  ::setsockopt(paused.fd, SOL_SOCKET, SO_SNDBUF, &smallest, sizeof smallest);
  const std::string content = content_of(100'000);
  adopt(refetch_at(paused, content, kKnown, 4 + kKnown));
  Peer app = application.accept();
  app.read_head();
  app.send(kHead + content);
  app.close();
  // Another's patience begins later, and passes.
  Flow other = flow();
  adopt(refetch_at(other, content, 0, 10));
  Peer silent_app = application.accept();
  expect_reset_without_a_byte(other);
  EXPECT_EQ(paused.client.read_all(), content.substr(4));
  EXPECT_EQ(paused.client.last_errno(), 0);
}

}  // namespace
}  // namespace suture::test
