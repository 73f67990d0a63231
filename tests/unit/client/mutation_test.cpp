// Seeded mutations of valid messages: the parsers never crash, and never depend on how the bytes were split.
#include <random>

#include <gtest/gtest.h>
#include <proxy/client/body_reader.hpp>
#include <proxy/client/head_rewriter.hpp>

namespace suture {
namespace {

const std::vector<std::string> kSeeds = {
    "GET /a?b HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, x\r\nX: 1\r\n\r\n",
    "POST http://h/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nT: x\r\n\r\n",
    "PUT /x HTTP/1.0\r\nContent-Length: 3\r\nX-Request-Id: q\r\n\r\nabc",
    "HTTP/1.1 200 OK\r\nETag: \"a\"\r\nTransfer-Encoding: chunked\r\n\r\n5;e=1\r\nhello\r\n0\r\n\r\n",
};

TEST(Mutation, ParsersAgreeWithThemselves) {
  std::mt19937 random(20261121);
  const std::string alphabet = "\r\n :;,\t0aG\"\x7f\x80/";
  for (int round = 0; round < 20000; ++round) {
    std::string bytes = kSeeds[random() % kSeeds.size()];
    for (unsigned n = random() % 4; n-- > 0 && !bytes.empty();) {
      const std::size_t at = random() % bytes.size();
      const char c = alphabet[random() % alphabet.size()];
      switch (random() % 3) {
        case 0:
          bytes[at] = c;
          break;
        case 1:
          bytes.insert(at, 1, c);
          break;
        default:
          bytes.erase(at, 1);
      }
    }
    SCOPED_TRACE(bytes);
    HeadScanner whole, split;
    const auto status = whole.scan(bytes);
    auto split_status = HeadScanner::Status::need_more;
    for (std::size_t n = 1; n <= bytes.size() && split_status == HeadScanner::Status::need_more; ++n)
      split_status = split.scan(std::string_view(bytes).substr(0, n));
    ASSERT_EQ(status, split_status);
    if (status != HeadScanner::Status::complete) continue;
    ASSERT_EQ(whole.head_bytes(), split.head_bytes());

    const std::string_view head = std::string_view(bytes).substr(0, whole.head_bytes());
    const std::string_view rest = std::string_view(bytes).substr(whole.head_bytes());
    RequestHead request;
    if (!parse_request_head(head, request)) {
      std::string out;
      write_request_head(request, {"192.0.2.1", "v", "p", "id"}, out);
      // What we pass on is a request that we would take, with the same framing.
      RequestHead again;
      const auto error = parse_request_head(out, again);
      ASSERT_FALSE(error) << error->reason << "\n" << out;
      ASSERT_EQ(again.framing, request.framing);
      ASSERT_EQ(again.length, request.length);
      BodyReader at_once(request.framing, request.length), by_byte(request.framing, request.length);
      const std::size_t used = at_once.feed(rest);
      std::size_t used_by_byte = 0;
      for (const char& c : rest) used_by_byte += by_byte.feed({&c, 1});
      ASSERT_EQ(used, used_by_byte);
      ASSERT_EQ(at_once.status(), by_byte.status());
    }
    ResponseHead response;
    if (!parse_response_head(head, "GET", response)) {
      std::string out;
      write_response_head(response, {false, false, response.framing == BodyFraming::chunked, false}, "p", out);
      ResponseHead again;
      const auto error = parse_response_head(out, "GET", again);
      ASSERT_FALSE(error) << error->reason;
      ASSERT_EQ(again.framing, response.framing);
    }
  }
}

}  // namespace
}  // namespace suture
