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
