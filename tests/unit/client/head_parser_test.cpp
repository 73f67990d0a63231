#include <gtest/gtest.h>
#include <proxy/client/http_head.hpp>

namespace suture {
namespace {

const std::string kHost = "Host: a\r\n";

struct Refused {
  const char* name;
  std::string head;
  unsigned status;
};

const std::vector<Refused> kRefusedRequests = {
    {"length and coding", "POST / HTTP/1.1\r\n" + kHost + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
     400},
    {"coding and length", "POST / HTTP/1.1\r\n" + kHost + "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n",
     400},
    {"two lengths", "POST / HTTP/1.1\r\n" + kHost + "Content-Length: 3\r\nContent-Length: 4\r\n\r\n", 400},
    {"the same length twice", "POST / HTTP/1.1\r\n" + kHost + "Content-Length: 3\r\nContent-Length: 3\r\n\r\n", 400},
    {"length list", "POST / HTTP/1.1\r\n" + kHost + "Content-Length: 3, 3\r\n\r\n", 400},
    {"signed length", "POST / HTTP/1.1\r\n" + kHost + "Content-Length: +3\r\n\r\n", 400},
    {"hex length", "POST / HTTP/1.1\r\n" + kHost + "Content-Length: 0x3\r\n\r\n", 400},
    {"huge length", "POST / HTTP/1.1\r\n" + kHost + "Content-Length: 99999999999999999999\r\n\r\n", 400},
    {"empty length", "POST / HTTP/1.1\r\n" + kHost + "Content-Length:\r\n\r\n", 400},
    {"folded field", "GET / HTTP/1.1\r\n" + kHost + "X-A: b\r\n c\r\n\r\n", 400},
    {"folded coding", "POST / HTTP/1.1\r\n" + kHost + "Transfer-Encoding:\r\n chunked\r\n\r\n", 400},
    {"space before the colon", "GET / HTTP/1.1\r\n" + kHost + "X-A : b\r\n\r\n", 400},
    {"no colon", "GET / HTTP/1.1\r\n" + kHost + "X-A\r\n\r\n", 400},
    {"control character in a value", "GET / HTTP/1.1\r\n" + kHost + "X-A: b\x01\r\n\r\n", 400},
    {"bare CR in a value", "GET / HTTP/1.1\r\n" + kHost + "X-A: b\rc\r\n\r\n", 400},
    {"no host", "GET / HTTP/1.1\r\n\r\n", 400},
    {"two hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400},
    {"bad host", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400},
    {"host with a user", "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", 400},
    {"coding alone", "POST / HTTP/1.1\r\n" + kHost + "Transfer-Encoding: gzip\r\n\r\n", 400},
    {"coding list", "POST / HTTP/1.1\r\n" + kHost + "Transfer-Encoding: gzip, chunked\r\n\r\n", 501},
    {"obscured coding", "POST / HTTP/1.1\r\n" + kHost + "Transfer-Encoding: xchunked\r\n\r\n", 400},
    {"coding twice", "POST / HTTP/1.1\r\n" + kHost + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
     400},
    {"coding in 1.0", "POST / HTTP/1.0\r\n" + kHost + "Transfer-Encoding: chunked\r\n\r\n", 400},
    {"connect", "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", 501},
    {"relative target", "GET x HTTP/1.1\r\n" + kHost + "\r\n", 400},
    {"asterisk for GET", "GET * HTTP/1.1\r\n" + kHost + "\r\n", 400},
    {"other scheme", "GET ftp://a/ HTTP/1.1\r\n" + kHost + "\r\n", 400},
    {"fragment", "GET /#a HTTP/1.1\r\n" + kHost + "\r\n", 400},
    {"HTTP/0.9", "GET /\r\n\r\n", 400},
    {"HTTP/3.1", "GET / HTTP/3.1\r\n" + kHost + "\r\n", 505},
    {"lower-case version", "GET / http/1.1\r\n" + kHost + "\r\n", 400},
};

TEST(RequestParser, RefusesWhatTwoParsersCouldReadDifferently) {
  for (const Refused& row : kRefusedRequests) {
    SCOPED_TRACE(row.name);
    RequestHead head;
    const auto error = parse_request_head(row.head, head);
    ASSERT_TRUE(error);
    EXPECT_EQ(error->status, row.status) << error->reason;
  }
}

TEST(RequestParser, UnderstandsFramingAndConnection) {
  RequestHead head;
  ASSERT_FALSE(parse_request_head("POST /p?q HTTP/1.1\r\nHost: a:80\r\nContent-Length: 12\r\n\r\n", head));
  EXPECT_EQ(head.method, "POST");
  EXPECT_EQ(head.target, "/p?q");
  EXPECT_EQ(head.authority, "a:80");
  EXPECT_EQ(head.framing, BodyFraming::length);
  EXPECT_EQ(head.length, 12U);
  EXPECT_TRUE(head.keep_alive);

  ASSERT_FALSE(
      parse_request_head("PUT / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: Chunked\r\nConnection: Close\r\n\r\n", head));
  EXPECT_EQ(head.framing, BodyFraming::chunked);
  EXPECT_FALSE(head.keep_alive);

  ASSERT_FALSE(parse_request_head("GET / HTTP/1.0\r\n\r\n", head));
  EXPECT_EQ(head.minor, 0U);
  EXPECT_FALSE(head.keep_alive);
  ASSERT_FALSE(parse_request_head("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", head));
  EXPECT_TRUE(head.keep_alive);

  ASSERT_FALSE(parse_request_head(
      "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n", head));
  EXPECT_TRUE(head.upgrade);
  ASSERT_FALSE(parse_request_head("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n", head));
  EXPECT_FALSE(head.upgrade);
}

TEST(RequestParser, AbsoluteFormAgreesWithHost) {
  RequestHead head;
  ASSERT_FALSE(parse_request_head("GET http://b:81/x HTTP/1.1\r\nHost: B:81\r\n\r\n", head));
  EXPECT_TRUE(head.absolute);
  EXPECT_EQ(head.authority, "b:81");
  EXPECT_TRUE(parse_request_head("GET http://b:81/x HTTP/1.1\r\nHost: b\r\n\r\n", head));
  ASSERT_FALSE(parse_request_head("GET http://b/x HTTP/1.0\r\n\r\n", head));
  EXPECT_EQ(head.authority, "b");
  EXPECT_EQ(head.target, "/x");
  ASSERT_FALSE(parse_request_head("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", head));
  EXPECT_EQ(head.target, "*");
}

TEST(ResponseParser, FramingRows) {
  struct Row {
    const char *head, *method;
    BodyFraming framing;
    std::uint64_t length;
    bool keep_alive;
  };
  const Row rows[] = {
      {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "GET", BodyFraming::length, 5, true},
      {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "HEAD", BodyFraming::none, 0, true},
      {"HTTP/1.1 204 No Content\r\n\r\n", "GET", BodyFraming::none, 0, true},
      {"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", "GET", BodyFraming::none, 0, true},
      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "GET", BodyFraming::chunked, 0, true},
      {"HTTP/1.1 200 OK\r\n\r\n", "GET", BodyFraming::until_close, 0, false},
      {"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n", "GET", BodyFraming::length, 5, false},
      {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", "GET", BodyFraming::none, 0, false},
      {"HTTP/1.1 200 \r\nContent-Length: 1\r\n\r\n", "GET", BodyFraming::length, 1, true},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.head);
    ResponseHead head;
    const auto error = parse_response_head(row.head, row.method, head);
    ASSERT_FALSE(error) << error->reason;
    EXPECT_EQ(head.framing, row.framing);
    EXPECT_EQ(head.length, row.length);
    EXPECT_EQ(head.keep_alive, row.keep_alive);
  }
}

TEST(ResponseParser, RefusesAmbiguousOnes) {
  for (const char* text : {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
                           "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", "HTTP/2 200 OK\r\n\r\n",
                           "HTTP/1.1 2000 OK\r\n\r\n", "HTTP/1.1 OK\r\n\r\n", "garbage\r\n\r\n"}) {
    SCOPED_TRACE(text);
    ResponseHead head;
    const auto error = parse_response_head(text, "GET", head);
    ASSERT_TRUE(error);
    EXPECT_EQ(error->status, 502U);
  }
}

TEST(ResponseParser, OnlyStrongValidatorsAreKept) {
  ResponseHead head;
  ASSERT_FALSE(parse_response_head("HTTP/1.1 200 OK\r\nETag: \"x\"\r\nContent-Length: 1\r\n\r\n", "GET", head));
  EXPECT_EQ(head.strong_etag, "\"x\"");
  ASSERT_FALSE(parse_response_head("HTTP/1.1 200 OK\r\nETag: W/\"x\"\r\nContent-Length: 1\r\n\r\n", "GET", head));
  EXPECT_EQ(head.strong_etag, "");
}

TEST(ResponseParser, OneRangeOfAKnownLength) {
  const auto read = [](const std::string& fields, const std::string& length = "10", const std::string& status = "206") {
    ResponseHead head;
    EXPECT_FALSE(parse_response_head(
        "HTTP/1.1 " + status + " X\r\n" + fields + "\r\nContent-Length: " + length + "\r\n\r\n", "GET", head));
    return head.content_range
               ? std::to_string(head.content_range->start) + '/' + std::to_string(head.content_range->total)
               : "";
  };
  EXPECT_EQ(read("Content-Range: bytes 100-109/200"), "100/200");
  EXPECT_EQ(read("content-range: Bytes 0-9/10"), "0/10");
  for (const char* odd : {"bytes 100-109/*", "bytes */200", "bytes 100-108/200", "bytes 109-100/200",
                          "bytes 191-200/200", "items 0-9/10", "bytes 100-109/200 ", "bytes 100-109", "bytes -109/200",
                          "bytes +100-109/200", "bytes 0x0-9/10", "bytes 99999999999999999999-9/10", "bytes", ""}) {
    const std::string given = odd;
    const bool blank_is_trimmed = given.ends_with(' ');
    EXPECT_EQ(read("Content-Range: " + given), blank_is_trimmed ? "100/200" : "") << odd;
  }
  EXPECT_EQ(read("Content-Range: bytes 100-109/200\r\nContent-Range: bytes 100-109/200"), "");
  EXPECT_EQ(read("Content-Range: bytes 100-109/200", "10", "200"), "");
  EXPECT_EQ(read("Content-Type: multipart/byteranges; boundary=B"), "");
}

TEST(HeadScanner, FindsTheEndHoweverItArrives) {
  const std::string head = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
  for (std::size_t step = 1; step <= head.size(); ++step) {
    HeadScanner scanner;
    auto status = HeadScanner::Status::need_more;
    for (std::size_t size = step; status == HeadScanner::Status::need_more; size += step)
      status = scanner.scan(std::string_view(head).substr(0, size));
    EXPECT_EQ(status, HeadScanner::Status::complete);
    EXPECT_EQ(scanner.head_bytes(), head.size());
  }
}

TEST(HeadScanner, RefusesAtOnceWhatCannotBecomeAHead) {
  for (const std::string& bytes :
       {std::string("\x16\x03\x01"), std::string(" GET"), std::string("GET / HTTP/1.1\n"), std::string("GET\0", 4)}) {
    HeadScanner scanner;
    EXPECT_EQ(scanner.scan(bytes), HeadScanner::Status::malformed);
  }
}

}  // namespace
}  // namespace suture
