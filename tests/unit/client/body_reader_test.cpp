#include <gtest/gtest.h>
#include <proxy/client/body_reader.hpp>

namespace suture {
namespace {

using Status = BodyReader::Status;

struct Row {
  const char* name;
  std::string bytes;
  Status status;
  std::string content;
  std::size_t used;
};

const std::string kTrailers = "3\r\nabc\r\n0\r\nX-A: b\r\nX-C:d\r\n\r\n";
const std::vector<Row> kChunked = {
    {"one chunk", "5\r\nhello\r\n0\r\n\r\n", Status::done, "hello", 15},
    {"next message behind it", "1\r\na\r\n0\r\n\r\nGET", Status::done, "a", 11},
    {"hex, both cases", "0a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n", Status::done, "01234567890123456789", 36},
    {"extension", "1;n=v\r\na\r\n0\r\n\r\n", Status::done, "a", 15},
    {"trailers", kTrailers, Status::done, "abc", kTrailers.size()},
    {"incomplete", "5\r\nhel", Status::more, "hel", 6},
    {"no size", "\r\n", Status::malformed, "", 0},
    {"white space before the size", " 5\r\n", Status::malformed, "", 0},
    {"white space behind the size", "5 \r\n", Status::malformed, "", 1},
    {"sign", "+5\r\n", Status::malformed, "", 0},
    {"0x", "0x5\r\n", Status::malformed, "", 1},
    {"overflow", "1000000000000000\r\n", Status::malformed, "", 15},
    {"bare LF behind the size", "5\nhello", Status::malformed, "", 1},
    {"bare LF in an extension", "5;a\nhello", Status::malformed, "", 3},
    {"data longer than its size", "1\r\nab\r\n", Status::malformed, "a", 4},
    {"LF without CR behind data", "1\r\na\n", Status::malformed, "a", 4},
    {"folded trailer", "0\r\n X: y\r\n\r\n", Status::malformed, "", 3},
    {"trailer without a colon", "0\r\nX\r\n\r\n", Status::malformed, "", 4},
    {"trailer without a name", "0\r\n: y\r\n\r\n", Status::malformed, "", 3},
    {"white space before a trailer's colon", "0\r\nX : y\r\n\r\n", Status::malformed, "", 4},
    {"bare LF behind a trailer", "0\r\nX: y\n\r\n", Status::malformed, "", 7},
    {"bare CR in a trailer", "0\r\nX: y\rz\r\n\r\n", Status::malformed, "", 8},
    {"NUL in a trailer", std::string("0\r\nX: \0\r\n\r\n", 12), Status::malformed, "", 6},
    {"endless trailers", "0\r\nX: " + std::string(9000, 'x'), Status::malformed, "", 3 + 8192},
    {"endless extension", "1;" + std::string(300, 'x'), Status::malformed, "", 258},
};

TEST(BodyReader, ChunkedRowsAtOnceAndByteByByte) {
  for (const Row& row : kChunked) {
    SCOPED_TRACE(row.name);
    BodyReader whole(BodyFraming::chunked, 0);
    std::string content;
    EXPECT_EQ(whole.feed(row.bytes, &content), row.used);
    EXPECT_EQ(whole.status(), row.status);
    EXPECT_EQ(content, row.content);

    BodyReader split(BodyFraming::chunked, 0);
    std::string content2;
    std::size_t used = 0;
    for (const char c : row.bytes) used += split.feed({&c, 1}, &content2);
    EXPECT_EQ(used, row.used);
    EXPECT_EQ(split.status(), row.status);
    EXPECT_EQ(content2, row.content);
    EXPECT_EQ(split.content_bytes(), row.content.size());
  }
}

TEST(BodyReader, TrailersStandApartFromTheContent) {
  BodyReader body(BodyFraming::chunked, 0);
  std::string content;
  body.feed("1\r\na\r\n0\r\nX-A:  b\r\nX-", &content);
  EXPECT_EQ(body.trailers(), "X-A:  b\r\n");  // whole lines only
  body.feed("C:d\t\r\n\r\nnext", &content);
  EXPECT_TRUE(body.done());
  EXPECT_EQ(content, "a");
  EXPECT_EQ(body.trailers(), "X-A:  b\r\nX-C:d\t\r\n");
  EXPECT_EQ(body.trailers_dropped(), 0U);
}

// RFC 9110 section 6.5.1: too late for these, and one that reads them would take another message than we did.
TEST(BodyReader, ForbiddenTrailersAreDropped) {
  for (const char* name : {"Content-Length", "transfer-encoding", "HOST", "Authorization", "Proxy-Authorization",
                           "Set-Cookie", "Cookie", "Content-Type", "Suture-Replay", "suture-", "X-Forwarded-For",
                           "Connection", "Trailer", "Range", "If-None-Match", "Expect", "X-Request-Id"}) {
    SCOPED_TRACE(name);
    BodyReader body(BodyFraming::chunked, 0);
    body.feed("0\r\nX-A: 1\r\n" + std::string(name) + ": 5\r\nX-B: 2\r\n\r\n");
    EXPECT_TRUE(body.done());
    EXPECT_EQ(body.trailers(), "X-A: 1\r\nX-B: 2\r\n");
    EXPECT_EQ(body.trailers_dropped(), 1U);
  }
  for (const char* name : {"Content-Digest", "Server-Timing", "Grpc-Status", "ETag", "Hos", "Content"}) {
    BodyReader body(BodyFraming::chunked, 0);
    body.feed("0\r\n" + std::string(name) + ": 5\r\n\r\n");
    EXPECT_EQ(body.trailers(), std::string(name) + ": 5\r\n");
  }
}

// RFC 9112 section 7.1.1: framing without content does not go on for ever.
TEST(BodyReader, ExtensionsOfAllChunksAreBounded) {
  BodyReader body(BodyFraming::chunked, 0);
  const std::string chunk = "1;" + std::string(250, 'x') + "\r\na\r\n";
  int taken = 0;
  while (taken < 1000 && body.feed(chunk) == chunk.size()) ++taken;
  EXPECT_EQ(body.status(), Status::malformed);
  EXPECT_NEAR(taken, 16 * 1024 / 250, 1);
}

TEST(BodyReader, LengthTakesExactlyItsBytes) {
  BodyReader body(BodyFraming::length, 5);
  EXPECT_EQ(body.feed("abc"), 3U);
  EXPECT_FALSE(body.done());
  EXPECT_EQ(body.feed("defgh"), 2U);
  EXPECT_TRUE(body.done());
  EXPECT_EQ(body.feed("x"), 0U);
}

TEST(BodyReader, EndOfStreamEndsOnlyWhatIsDelimitedByIt) {
  BodyReader open(BodyFraming::until_close, 0);
  EXPECT_EQ(open.feed("abc"), 3U);
  EXPECT_EQ(open.finish_at_eof(), Status::done);
  BodyReader length(BodyFraming::length, 5);
  length.feed("abc");
  EXPECT_EQ(length.finish_at_eof(), Status::malformed);
  BodyReader chunked(BodyFraming::chunked, 0);
  chunked.feed("0\r\n");
  EXPECT_EQ(chunked.finish_at_eof(), Status::malformed);
}

TEST(BodyReader, NoBodyIsDoneAtOnce) {
  EXPECT_TRUE(BodyReader(BodyFraming::none, 0).done());
  EXPECT_TRUE(BodyReader(BodyFraming::length, 0).done());
}

}  // namespace
}  // namespace suture
