#include <gtest/gtest.h>
#include <proxy/client/head_rewriter.hpp>
#include <proxy/client/server_timing.hpp>

namespace suture {
namespace {

constexpr ForwardingFacts kFacts{"192.0.2.1", "203.0.113.10", "pop1", "0123"};

std::string rewrite(std::string_view in) {
  RequestHead head;
  const auto error = parse_request_head(in, head);
  EXPECT_FALSE(error) << (error ? error->reason : "");
  std::string out;
  write_request_head(head, kFacts, out);
  return out;
}

TEST(RequestRewriter, KeepsOrderAndDropsWhatBelongsToOneHop) {
  EXPECT_EQ(
      rewrite("GET /x HTTP/1.1\r\nB: 1\r\nHost: h\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nTE: "
              "trailers\r\nA: 2\r\nX-Forwarded-For: 6.6.6.6\r\nVia: 1.1 other\r\n\r\n"),
      "GET /x HTTP/1.1\r\nB: 1\r\nHost: h\r\nA: 2\r\nVia: 1.1 other\r\nVia: 1.1 pop1\r\nX-Forwarded-For: "
      "192.0.2.1\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: h\r\nX-Request-Id: 0123\r\n\r\n");
}

TEST(RequestRewriter, ConnectionCannotNameAwayWhatDecides) {
  const auto out =
      rewrite("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nConnection: host, content-length\r\n\r\n");
  EXPECT_NE(out.find("Host: h\r\n"), std::string::npos);
  EXPECT_NE(out.find("Content-Length: 1\r\n"), std::string::npos);
}

TEST(RequestRewriter, RequestIdIsKeptOnlyIfSane) {
  EXPECT_NE(rewrite("GET / HTTP/1.1\r\nHost: h\r\nX-Request-Id: abc-1\r\n\r\n").find("X-Request-Id: abc-1\r\n"),
            std::string::npos);
  const auto out = rewrite("GET / HTTP/1.1\r\nHost: h\r\nX-Request-Id: a b\r\n\r\n");
  EXPECT_EQ(out.find("a b"), std::string::npos);
  EXPECT_NE(out.find("X-Request-Id: 0123\r\n"), std::string::npos);
}

TEST(RequestRewriter, Targets) {
  EXPECT_EQ(rewrite("GET http://b HTTP/1.1\r\nHost: B\r\n\r\n").substr(0, 24), "GET / HTTP/1.1\r\nHost: b\r");
  EXPECT_EQ(rewrite("GET http://b?q HTTP/1.1\r\nHost: b\r\n\r\n").substr(0, 18), "GET /?q HTTP/1.1\r\n");
  EXPECT_EQ(rewrite("OPTIONS http://b HTTP/1.1\r\nHost: b\r\n\r\n").substr(0, 20), "OPTIONS * HTTP/1.1\r\n");
  EXPECT_NE(rewrite("GET / HTTP/1.0\r\n\r\n").find("Host: 203.0.113.10\r\n"), std::string::npos);
}

TEST(RequestRewriter, UpgradeIsPassedOn) {
  const auto out = rewrite("GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n");
  EXPECT_NE(out.find("Upgrade: websocket\r\nConnection: upgrade\r\n"), std::string::npos);
}

TEST(RequestRewriter, OnlyAnHeirSaysReplay) {
  const std::string request =
      "GET / HTTP/1.1\r\nHost: h\r\nsuture-replay: 1\r\nRange: bytes=1-2\r\nIf-Range: \"x\"\r\n\r\n";
  const auto plain = rewrite(request);
  EXPECT_EQ(plain.find("eplay"), std::string::npos) << "a client's word would be believed";
  EXPECT_NE(plain.find("Range: bytes=1-2\r\n"), std::string::npos);
  RequestHead head;
  ASSERT_FALSE(parse_request_head(request, head));
  ForwardingFacts facts = kFacts;
  facts.replay = true;
  facts.range = "bytes=7-";
  facts.if_range = "\"e\"";
  std::string out;
  write_request_head(head, facts, out);
  EXPECT_NE(out.find("Suture-Replay: 1\r\n"), std::string::npos);
  EXPECT_NE(out.find("Range: bytes=7-\r\nIf-Range: \"e\"\r\n"), std::string::npos);
  EXPECT_EQ(out.find("1-2"), std::string::npos);
  EXPECT_EQ(out.find("\"x\""), std::string::npos);
}

TEST(ResponseRewriter, TryAgainFitsEveryMethod) {
  std::string out;
  write_try_again("pop1", out);
  for (const char* method : {"GET", "HEAD"}) {
    ResponseHead head;
    ASSERT_FALSE(parse_response_head(out, method, head));
    EXPECT_EQ(head.status, 503U);
    EXPECT_EQ(head.framing, BodyFraming::none);
    EXPECT_FALSE(head.keep_alive);
  }
}

TEST(ResponseRewriter, AddsOnlyXServedBy) {
  ResponseHead head;
  ASSERT_FALSE(parse_response_head(
      "HTTP/1.1 200 Fine\r\nB: 1\r\nConnection: close\r\nContent-Length: 2\r\nA: x\r\n\r\n", "GET", head));
  std::string out;
  write_response_head(head, {}, "pop1", out);
  EXPECT_EQ(out, "HTTP/1.1 200 Fine\r\nB: 1\r\nContent-Length: 2\r\nA: x\r\nX-Served-By: pop1\r\n\r\n");
}

TEST(ResponseRewriter, NoLengthWithoutContent) {
  for (const std::string& status : {std::string("103 Early Hints"), std::string("204 No Content")}) {
    const std::string in = "HTTP/1.1 " + status + "\r\nContent-Length: 0\r\n\r\n";
    ResponseHead head;
    ASSERT_FALSE(parse_response_head(in, "GET", head));
    std::string out;
    write_response_head(head, {}, "pop1", out);
    EXPECT_EQ(out, "HTTP/1.1 " + status + "\r\nX-Served-By: pop1\r\n\r\n");
  }
}

TEST(ResponseRewriter, ServerTimingOfOursComesBehindTheApplications) {
  ResponseHead head;
  ASSERT_FALSE(
      parse_response_head("HTTP/1.1 200 OK\r\nServer-Timing: db;dur=5\r\nContent-Length: 0\r\n\r\n", "GET", head));
  const auto timing = heal_timing("replay", std::chrono::microseconds(12345));
  EXPECT_EQ(timing, "heal;desc=\"replay\";dur=12.3");
  ResponsePlan plan;
  plan.server_timing = timing;
  std::string out;
  write_response_head(head, plan, "pop1", out);
  EXPECT_EQ(out,
            "HTTP/1.1 200 OK\r\nServer-Timing: db;dur=5\r\nContent-Length: 0\r\nX-Served-By: pop1\r\n"
            "Server-Timing: heal;desc=\"replay\";dur=12.3\r\n\r\n");
}

TEST(ErrorResponse, LengthMatches) {
  for (const unsigned status : {400U, 408U, 413U, 431U, 501U, 502U, 503U, 504U}) {
    std::string out;
    write_error_response(status, "why", "pop1", "GET", out);
    const auto body = out.substr(out.find("\r\n\r\n") + 4);
    EXPECT_NE(out.find("Content-Length: " + std::to_string(body.size()) + "\r\n"), std::string::npos) << out;
  }
}

}  // namespace
}  // namespace suture
