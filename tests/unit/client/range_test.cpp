// The rung "range": the rest of a body, or nothing at all.
#include <cctype>

#include "adoption_fixture.hpp"

namespace suture::test {
namespace {

const std::string kGet = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n";
const std::string kOk = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const std::string kRest =
    "HTTP/1.1 206 Partial Content\r\nETag: \"e\"\r\nContent-Range: bytes 4-9/10\r\nContent-Length: 6\r\n\r\n456789";

TEST_F(AdoptionTest, RangeSendsTheMissingBytesOnly) {
  start();
  Flow f = flow();
  adopt(response_at(f, "GET /f HTTP/1.1\r\nHost: h\r\nIf-Range: \"old\"\r\nX: y\r\n\r\n"));
  Peer app = application.accept();
  const auto head = app.read_head();
  EXPECT_EQ(head.substr(0, 6), "GET /f");
  EXPECT_NE(head.find("Range: bytes=4-\r\n"), std::string::npos);
  EXPECT_NE(head.find("If-Range: \"e\"\r\n"), std::string::npos);
  EXPECT_EQ(head.find("old"), std::string::npos);
  EXPECT_NE(head.find("X: y"), std::string::npos);
  EXPECT_EQ(head.find("Suture-Replay"), std::string::npos);
  f.client.send(kGet);  // pipelined
  app.send("HTTP/1.1 103 Early Hints\r\n\r\n" + kRest.substr(0, kRest.size() - 3));
  EXPECT_EQ(f.client.read_bytes(3), "456");
  expect_outcome(ResumeRung::range);
  SessionRecord record = sink.last();
  EXPECT_EQ(record.http->phase, HttpPhase::response);
  EXPECT_EQ(record.http->response_end, kOut + 6);
  app.send("789");
  EXPECT_EQ(f.client.read_bytes(3), "789");
  EXPECT_EQ(app.read_head().substr(0, 6), "GET /a");
  record = sink.last();
  EXPECT_EQ(record.http->request_start, kIn);
  EXPECT_EQ(record.out_sent, kOut + 6);
  app.send(kOk);
  EXPECT_EQ(f.client.read_head().substr(0, 12), "HTTP/1.1 200");
  EXPECT_EQ(sink.last().http->response_start, kOut + 6);
}

TEST_F(AdoptionTest, RangeThatMustBeTheLastEndsWithAFin) {
  start();
  Flow f = flow();
  Adoption a = response_at(f, kGet);
  a.resume.close_after = true;
  adopt(a);
  Peer app = application.accept();
  app.read_head();
  app.send(kRest);
  EXPECT_EQ(f.client.read_all(), "456789");
  EXPECT_EQ(f.client.last_errno(), 0);
}

TEST_F(AdoptionTest, RangeEndsWithARecordedConnectionClose) {
  start();
  Flow f = flow();
  Adoption a = response_at(f, kGet);
  a.record.http->keep_alive = false;
  adopt(a);
  Peer app = application.accept();
  app.read_head();
  app.send(kRest);
  EXPECT_EQ(f.client.read_all(), "456789");
  EXPECT_EQ(f.client.last_errno(), 0);
}

// A 206 says it, or not (RFC 9110 section 15.3.7).
class RangeCodingTest : public AdoptionTest, public ::testing::WithParamInterface<const char*> {};
TEST_P(RangeCodingTest, RangeGoesOnInTheCodingThatTheClientHas) {
  start();
  Flow f = flow();
  Adoption a = response_at(f, kGet);
  a.record.http->content_coding = "gzip";
  adopt(a);
  Peer app = application.accept();
  app.read_head();
  app.send(std::string("HTTP/1.1 206 Partial Content\r\nETag: \"e\"\r\n") + GetParam() +
           "Content-Range: bytes 4-9/10\r\nContent-Length: 6\r\n\r\n456789");
  EXPECT_EQ(f.client.read_bytes(6), "456789");
  expect_outcome(ResumeRung::range);
}
INSTANTIATE_TEST_SUITE_P(Adoption, RangeCodingTest, ::testing::Values("", "Content-Encoding: GZIP\r\n"));

struct Mismatch {
  const char* what;
  std::string answer;
  const char* reason;
};

std::string partial(const std::string& fields, const std::string& body = "456789") {
  return "HTTP/1.1 206 Partial Content\r\n" + fields + "\r\n\r\n" + body;
}

class RangeMismatchTest : public AdoptionTest, public ::testing::WithParamInterface<Mismatch> {};

TEST_P(RangeMismatchTest, IsAResetAndNoByte) {
  start();
  Flow f = flow();
  adopt(response_at(f, kGet));
  Peer app = application.accept();
  app.read_head();
  app.send(GetParam().answer);
  app.half_close();
  EXPECT_EQ(f.client.read_all(), "") << GetParam().what;
  EXPECT_EQ(f.client.last_errno(), ECONNRESET) << GetParam().what;
  expect_outcome(ResumeRung::reset, GetParam().reason);
  EXPECT_TRUE(eventually([&] { return sink.erased() == 1 && worker->active() == 0; }));
}

INSTANTIATE_TEST_SUITE_P(
    Answers, RangeMismatchTest,
    ::testing::Values(
        Mismatch{"the whole, changed", kOk, heal_reason::range_refused},
        Mismatch{"416", "HTTP/1.1 416 Range Not Satisfiable\r\nContent-Length: 0\r\n\r\n", heal_reason::range_refused},
        Mismatch{"an upgrade", "HTTP/1.1 101 X\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
                 heal_reason::range_refused},
        Mismatch{"nothing", "", heal_reason::range_refused},
        Mismatch{"nonsense", "SSH-2.0\r\n\r\n", heal_reason::range_refused},
        Mismatch{"another tag", partial("ETag: \"f\"\r\nContent-Range: bytes 4-9/10\r\nContent-Length: 6"),
                 heal_reason::range_mismatch},
        Mismatch{"a weak tag", partial("ETag: W/\"e\"\r\nContent-Range: bytes 4-9/10\r\nContent-Length: 6"),
                 heal_reason::range_mismatch},
        Mismatch{"another coding",
                 partial("ETag: \"e\"\r\nContent-Encoding: gzip\r\nContent-Range: bytes 4-9/10\r\nContent-Length: 6"),
                 heal_reason::range_mismatch},
        Mismatch{"no tag", partial("Content-Range: bytes 4-9/10\r\nContent-Length: 6"), heal_reason::range_mismatch},
        Mismatch{"two tags", partial("ETag: \"f\"\r\nETag: \"e\"\r\nContent-Range: bytes 4-9/10\r\nContent-Length: 6"),
                 heal_reason::range_mismatch},
        Mismatch{"another start", partial("ETag: \"e\"\r\nContent-Range: bytes 3-9/10\r\nContent-Length: 7", "3456789"),
                 heal_reason::range_mismatch},
        Mismatch{"another end", partial("ETag: \"e\"\r\nContent-Range: bytes 4-8/10\r\nContent-Length: 5", "45678"),
                 heal_reason::range_mismatch},
        Mismatch{"another total", partial("ETag: \"e\"\r\nContent-Range: bytes 4-9/11\r\nContent-Length: 6"),
                 heal_reason::range_mismatch},
        Mismatch{"no total", partial("ETag: \"e\"\r\nContent-Range: bytes 4-9/*\r\nContent-Length: 6"),
                 heal_reason::range_mismatch},
        Mismatch{"no range", partial("ETag: \"e\"\r\nContent-Length: 6"), heal_reason::range_mismatch},
        Mismatch{
            "two ranges",
            partial("ETag: \"e\"\r\nContent-Range: bytes 4-9/10\r\nContent-Range: bytes 3-9/10\r\nContent-Length: 6"),
            heal_reason::range_mismatch},
        Mismatch{"a length that contradicts",
                 partial("ETag: \"e\"\r\nContent-Range: bytes 4-9/10\r\nContent-Length: 5"),
                 heal_reason::range_mismatch},
        Mismatch{"chunks",
                 partial("ETag: \"e\"\r\nContent-Range: bytes 4-9/10\r\nTransfer-Encoding: chunked",
                         "6\r\n456789\r\n0\r\n\r\n"),
                 heal_reason::range_mismatch},
        Mismatch{"parts", partial("ETag: \"e\"\r\nContent-Type: multipart/byteranges; boundary=x\r\nContent-Length: 6"),
                 heal_reason::range_mismatch}),
    [](const auto& row) {
      std::string name;
      for (const char c : std::string(row.param.what)) name += std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
      return name;
    });

// It got all of it, status 200: ours takes the place of the client's.
TEST_F(AdoptionTest, RangeOfARequestThatAskedForARange) {
  start();
  Flow f = flow();
  adopt(response_at(f, "GET /f HTTP/1.1\r\nHost: h\r\nRange: bytes=0-9\r\n\r\n"));
  Peer app = application.accept();
  const auto head = app.read_head();
  EXPECT_EQ(head.find("bytes=0-9"), std::string::npos);
  EXPECT_NE(head.find("Range: bytes=4-\r\n"), std::string::npos);
  app.send(kRest);
  EXPECT_EQ(f.client.read_bytes(6), "456789");
  expect_outcome(ResumeRung::range);
}

class WithinARangeTest : public AdoptionTest {
 protected:
  // It asked for bytes 100 to 109 of 200, and has four of them.
  static Adoption within_a_range(const Flow& f) {
    Adoption a = response_at(f, "GET /f HTTP/1.1\r\nHost: h\r\nRange: bytes=100-109\r\n\r\n");
    a.record.http->status = 206;
    a.record.http->range_start = 100;
    a.record.http->range_total = 200;
    return a;
  }
};

TEST_F(WithinARangeTest, RangeWithinTheRangeThatTheClientAskedFor) {
  start();
  Flow f = flow();
  adopt(within_a_range(f));
  Peer app = application.accept();
  const auto head = app.read_head();
  EXPECT_NE(head.find("\r\nRange: bytes=104-109\r\n"), std::string::npos) << head;
  EXPECT_NE(head.find("\r\nIf-Range: \"e\"\r\n"), std::string::npos) << head;
  EXPECT_EQ(head.find("100-109"), std::string::npos);
  app.send(
      "HTTP/1.1 206 Partial Content\r\nETag: \"e\"\r\nContent-Range: bytes 104-109/200\r\nContent-Length: "
      "6\r\n\r\n456789");
  EXPECT_EQ(f.client.read_bytes(6), "456789");
  expect_outcome(ResumeRung::range);
}

TEST_F(WithinARangeTest, RangeWithinARangeWhoseTotalChanged) {
  start();
  Flow f = flow();
  adopt(within_a_range(f));
  Peer app = application.accept();
  app.read_head();
  app.send(
      "HTTP/1.1 206 Partial Content\r\nETag: \"e\"\r\nContent-Range: bytes 104-109/201\r\nContent-Length: "
      "6\r\n\r\n456789");
  EXPECT_EQ(f.client.read_all(), "");
  expect_outcome(ResumeRung::reset, heal_reason::range_mismatch);
}

TEST_F(AdoptionTest, RangeWithoutAnApplication) {
  application.stop_listening();
  start();
  Flow f = flow();
  adopt(response_at(f, kGet));
  EXPECT_EQ(f.client.read_all(), "") << "own words in the middle of a body";
  EXPECT_EQ(f.client.last_errno(), ECONNRESET);
  expect_outcome(ResumeRung::reset, heal_reason::range_refused);
}

}  // namespace
}  // namespace suture::test
