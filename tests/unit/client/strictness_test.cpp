// What is refused and what is passed on, request by request, through a real session: nothing of a refused request
// reaches the application, and what does reach it can be read in one way only.
#include <proxy/client/body_reader.hpp>
#include <proxy/client/http_head.hpp>

#include "proxy_fixture.hpp"

namespace suture::test {
namespace {

using namespace std::string_literals;

const std::string kHost = "Host: a\r\n";
const std::string kEnd = "\r\n";

std::string get(const std::string& fields) {
  return "GET / HTTP/1.1\r\n" + kHost + fields + kEnd;
}
std::string post(const std::string& fields, const std::string& body = {}) {
  return "POST / HTTP/1.1\r\n" + kHost + fields + kEnd + body;
}
std::string target(const std::string& text) {
  return "GET " + text + " HTTP/1.1\r\n" + kHost + kEnd;
}
std::string host(const std::string& text) {
  return "GET / HTTP/1.1\r\nHost: " + text + kEnd + kEnd;
}
std::string first_line(const std::string& text) {
  return text + kEnd + kHost + kEnd;
}

struct Refused {
  const char* name;
  std::string bytes;
  unsigned status;
  const char* counted;  // suture_rejected_total{reason}
};

const std::string kChunk = "3\r\nabc\r\n0\r\n\r\n";
const std::string kChunked = "Transfer-Encoding: chunked\r\n";
const std::string kHidden = "GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n";

const std::vector<Refused> kRefused = {
    // RFC 9112 section 6.3: two answers to where the message ends
    {"length and coding", post("Content-Length: 3\r\n" + kChunked, kChunk), 400, "framing"},
    {"coding and length", post(kChunked + "Content-Length: 3\r\n", kChunk), 400, "framing"},
    {"coding and a length of 0", post(kChunked + "Content-Length: 0\r\n", kChunk + kHidden), 400, "framing"},
    {"two lengths", post("Content-Length: 3\r\nContent-Length: 4\r\n", "abcd"), 400, "framing"},
    {"the same length twice", post("Content-Length: 3\r\nContent-Length: 3\r\n", "abc"), 400, "framing"},
    {"length list", post("Content-Length: 3, 3\r\n", "abc"), 400, "framing"},
    {"signed length", post("Content-Length: +3\r\n", "abc"), 400, "framing"},
    {"negative length", post("Content-Length: -3\r\n", "abc"), 400, "framing"},
    {"hex length", post("Content-Length: 0x3\r\n", "abc"), 400, "framing"},
    {"length with a fraction", post("Content-Length: 3.0\r\n", "abc"), 400, "framing"},
    {"length with white space inside", post("Content-Length: 3 3\r\n", "abc"), 400, "framing"},
    {"length beyond 64 bits", post("Content-Length: 99999999999999999999\r\n"), 400, "framing"},
    {"length that wraps to 3", post("Content-Length: 18446744073709551619\r\n", "abc"), 400, "framing"},
    {"empty length", post("Content-Length:\r\n"), 400, "framing"},
    {"length in quotes", post("Content-Length: \"3\"\r\n", "abc"), 400, "framing"},
    {"coding twice in two fields", post(kChunked + kChunked, kChunk), 400, "framing"},
    {"coding twice in one", post("Transfer-Encoding: chunked, chunked\r\n", kChunk), 400, "framing"},
    {"chunked not last", post("Transfer-Encoding: chunked, gzip\r\n", kChunk), 400, "framing"},
    {"identity", post("Transfer-Encoding: identity\r\n", "abc"), 400, "framing"},
    {"identity before chunked", post("Transfer-Encoding: identity, chunked\r\n", kChunk), 400, "framing"},
    {"obscured coding", post("Transfer-Encoding: xchunked\r\n", kChunk), 400, "framing"},
    {"coding in quotes", post("Transfer-Encoding: \"chunked\"\r\n", kChunk), 400, "framing"},
    {"coding with a parameter", post("Transfer-Encoding: chunked;q=1\r\n", kChunk), 400, "framing"},
    {"empty coding", post("Transfer-Encoding:\r\n", kChunk), 400, "framing"},
    {"empty list item", post("Transfer-Encoding: ,chunked\r\n", kChunk), 400, "framing"},
    {"list that ends with a comma", post("Transfer-Encoding: chunked,\r\n", kChunk), 400, "framing"},
    {"coding alone", post("Transfer-Encoding: gzip\r\n", "abc"), 400, "framing"},
    {"coding before chunked", post("Transfer-Encoding: gzip, chunked\r\n", kChunk), 501, "unsupported"},
    {"coding in 1.0", "POST / HTTP/1.0\r\n" + kHost + kChunked + kEnd + kChunk, 400, "framing"},
    {"content in a TRACE", "TRACE / HTTP/1.1\r\n" + kHost + "Content-Length: 3\r\n\r\nabc", 400, "framing"},
    // RFC 9112 sections 2.2 and 5: lines and fields
    {"bare LF behind the request line", "GET / HTTP/1.1\n" + kHost + kEnd, 400, "malformed"},
    {"bare LF behind a field", get("X-A: b\nX-B: c\r\n"), 400, "malformed"},
    {"bare LF as the end", "GET / HTTP/1.1\r\n" + kHost + "\n", 400, "malformed"},
    {"bare CR in a value", get("X-A: b\rX-B: c\r\n"), 400, "malformed"},
    {"bare CR in the request line", first_line("GET /\rx HTTP/1.1"), 400, "malformed"},
    {"CR CR LF", get("X-A: b\r\r\n"), 400, "malformed"},
    {"fold", get("X-A: b\r\n c\r\n"), 400, "malformed"},
    {"fold with a tab", get("X-A: b\r\n\tc\r\n"), 400, "malformed"},
    {"folded coding", post("Transfer-Encoding:\r\n chunked\r\n", kChunk), 400, "malformed"},
    {"fold in front of the first field", "GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400, "malformed"},
    {"space before the colon", get("X-A : b\r\n"), 400, "malformed"},
    {"tab before the colon", get("X-A\t: b\r\n"), 400, "malformed"},
    {"space before the colon of a length", post("Content-Length : 3\r\n", "abc"), 400, "malformed"},
    {"no colon", get("X-A\r\n"), 400, "malformed"},
    {"empty name", get(": b\r\n"), 400, "malformed"},
    {"space in a name", get("X A: b\r\n"), 400, "malformed"},
    {"control character in a name", get("X\x01: b\r\n"), 400, "malformed"},
    {"NUL in a name", get("X-A\0: b\r\n"s), 400, "malformed"},
    {"non-ASCII in a name", get("X-\xc3\xa4: b\r\n"), 400, "malformed"},
    {"NUL in a value", get("X-A: b\0c\r\n"s), 400, "malformed"},
    {"control character in a value", get("X-A: b\x01\r\n"), 400, "malformed"},
    {"DEL in a value", get("X-A: b\x7f\r\n"), 400, "malformed"},
    {"vertical tab before chunked", post("Transfer-Encoding: \x0b"s + "chunked\r\n", kChunk), 400, "malformed"},
    {"space in front of the request line", " GET / HTTP/1.1\r\n" + kHost + kEnd, 400, "malformed"},
    {"TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"s, 400, "malformed"},
    // request line
    {"no version", "GET /\r\n\r\n", 400, "malformed"},
    {"no target", first_line("GET HTTP/1.1"), 400, "malformed"},
    {"empty target", first_line("GET  HTTP/1.1"), 400, "malformed"},
    {"two spaces before the version", first_line("GET /  HTTP/1.1"), 400, "malformed"},
    {"tabs for spaces", first_line("GET\t/\tHTTP/1.1"), 400, "malformed"},
    {"space in the target", first_line("GET /a b HTTP/1.1"), 400, "malformed"},
    {"space behind the version", first_line("GET / HTTP/1.1 "), 400, "malformed"},
    {"lower-case version", first_line("GET / http/1.1"), 400, "malformed"},
    {"version of one number", first_line("GET / HTTP/1"), 400, "malformed"},
    {"version of three digits", first_line("GET / HTTP/1.10"), 400, "malformed"},
    {"version with letters", first_line("GET / HTTP/1.x"), 400, "malformed"},
    {"other protocol", first_line("OPTIONS / RTSP/1.0"), 400, "malformed"},
    {"HTTP/0.9 in the line", first_line("GET / HTTP/0.9"), 505, "unsupported"},
    {"HTTP/1.2", first_line("GET / HTTP/1.2"), 505, "unsupported"},
    {"HTTP/2.0", first_line("GET / HTTP/2.0"), 505, "unsupported"},
    {"the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "unsupported"},
    {"lower-case method", first_line("get / HTTP/1.1"), 400, "malformed"},
    {"method with a separator", first_line("GE(T / HTTP/1.1"), 400, "malformed"},
    {"endless method", first_line(std::string(40, 'A') + " / HTTP/1.1"), 400, "malformed"},
    {"connect", "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", 501, "unsupported"},
    // target
    {"relative target", target("x"), 400, "target"},
    {"asterisk for GET", target("*"), 400, "target"},
    {"authority for GET", target("a:80"), 400, "target"},
    {"fragment", target("/#a"), 400, "target"},
    {"non-ASCII target", target("/\xc3\xa4"), 400, "target"},
    {"control character in the target", target("/\x01"), 400, "malformed"},
    {"NUL in the target", target("/\0"s), 400, "malformed"},
    {"DEL in the target", target("/\x7f"), 400, "malformed"},
    {"half an escape", target("/a%4"), 400, "target"},
    {"no escape", target("/a%zz"), 400, "target"},
    {"escaped NUL", target("/a%00.html"), 400, "target"},
    {"above the root", target("/a/../../etc"), 400, "target"},
    {"above the root with escaped dots", target("/%2e%2E/etc"), 400, "target"},
    {"above the root by empty segments", target("//../../x"), 400, "target"},
    {"other scheme", target("ftp://a/"), 400, "target"},
    {"https", target("https://a/"), 400, "target"},
    {"absolute without a host", target("http:///x"), 400, "target"},
    {"absolute with a user", target("http://u@a/"), 400, "target"},
    {"absolute with a password", target("http://u:p@a/"), 400, "target"},
    {"absolute with a bad port", target("http://a:8x/"), 400, "target"},
    {"absolute and another host", target("http://b/"), 400, "target"},
    {"absolute and another port", target("http://a:81/"), 400, "target"},
    // Host
    {"no host", "GET / HTTP/1.1\r\n\r\n", 400, "target"},
    {"two hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, "target"},
    {"the same host twice", "GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n", 400, "target"},
    {"empty host", host(""), 400, "target"},
    {"host with a path", host("a/b"), 400, "target"},
    {"host with a user", host("u@a"), 400, "target"},
    {"host list", host("a, b"), 400, "target"},
    {"host with a space", host("a b"), 400, "target"},
    {"host with a query", host("a?b"), 400, "target"},
    {"host with an escape", host("a%2eb"), 400, "target"},
    {"host with a backslash", host("a\\b"), 400, "target"},
    {"non-ASCII host", host("\xc3\xa4"), 400, "target"},
    {"host of dots", host("a..b"), 400, "target"},
    {"port without a host", host(":80"), 400, "target"},
    {"port that is none", host("a:b"), 400, "target"},
    {"port beyond 65535", host("a:65536"), 400, "target"},
    {"two ports", host("a:80:80"), 400, "target"},
    {"IPv6 without brackets", host("::1"), 400, "target"},
    {"open bracket", host("[::1"), 400, "target"},
    {"something behind the bracket", host("[::1]x"), 400, "target"},
    {"empty brackets", host("[]"), 400, "target"},
    {"zone", host("[fe80::1%eth0]"), 400, "target"},
    {"two hosts in 1.0", "GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400, "target"},
    // limits
    {"long request line", target("/" + std::string(9000, 'x')), 414, "head_too_large"},
    {"request line without an end", "GET /" + std::string(9000, 'x'), 414, "head_too_large"},
    {"long head", get("X-A: " + std::string(33000, 'x') + kEnd), 431, "head_too_large"},
    {"head without an end", "GET / HTTP/1.1\r\nX-A: " + std::string(33000, 'x'), 431, "head_too_large"},
    {"many fields",
     [] {
       std::string fields;
       for (int i = 0; i < 100; ++i) fields += "X-" + std::to_string(i) + ": 1\r\n";
       return get(fields);
     }(),
     431, "head_too_large"},
};

struct Passed {
  const char* name;
  std::string bytes;
  std::string head;  // what the application gets, up to the Via that we add
  std::string content = {};
};

std::string passed(const std::string& fields, const std::string& line = "GET / HTTP/1.1") {
  return line + "\r\nHost: a\r\n" + fields;
}

const std::vector<Passed> kPassed = {
    {"plain", get(""), passed("")},
    {"white space around a value", get("X-A: \t b c \t\r\n"), passed("X-A: b c\r\n")},
    {"no white space", get("X-A:b\r\n"), passed("X-A: b\r\n")},
    {"empty value", get("X-A:\r\n"), passed("X-A: \r\n")},
    {"tab inside a value", get("X-A: b\tc\r\n"), passed("X-A: b\tc\r\n")},
    {"non-ASCII value", get("X-A: \xc3\xa4\r\n"), passed("X-A: \xc3\xa4\r\n")},
    {"underscores", get("x_a: 1\r\nContent_Length: 5\r\n"), passed("x_a: 1\r\nContent_Length: 5\r\n")},
    {"every character of a token", get("!#$%&'*+-.^_`|~09azAZ: 1\r\n"), passed("!#$%&'*+-.^_`|~09azAZ: 1\r\n")},
    {"colons in a value", get("X-A: b:c\r\n"), passed("X-A: b:c\r\n")},
    {"one empty line in front", "\r\n" + get(""), passed("")},
    {"unknown method", first_line("M-SEARCH / HTTP/1.1"), passed("", "M-SEARCH / HTTP/1.1")},
    {"OPTIONS *", first_line("OPTIONS * HTTP/1.1"), passed("", "OPTIONS * HTTP/1.1")},
    {"TRACE", first_line("TRACE / HTTP/1.1"), passed("", "TRACE / HTTP/1.1")},
    {"query as it is", target("/a?b=%&c=%00?/../.."), passed("", "GET /a?b=%&c=%00?/../.. HTTP/1.1")},
    {"escapes in the path", target("/a%20%2F%c3%a4"), passed("", "GET /a%20%2F%c3%a4 HTTP/1.1")},
    {"characters that browsers do not escape", target("/a|b\"<>\\^`{}[]"), passed("", "GET /a|b\"<>\\^`{}[] HTTP/1.1")},
    {"dots within the root", target("/a/./../b/..c/..."), passed("", "GET /a/./../b/..c/... HTTP/1.1")},
    {"absolute form", target("http://a/x?y"), passed("", "GET /x?y HTTP/1.1")},
    {"absolute form without a path", target("HTTP://A"), "GET / HTTP/1.1\r\nHost: A\r\n"},
    {"absolute form and the default port", target("http://a:80/"), "GET / HTTP/1.1\r\nHost: a:80\r\n"},
    {"absolute form and a query alone", target("http://a?x"), passed("", "GET /?x HTTP/1.1")},
    {"absolute form of OPTIONS *", first_line("OPTIONS http://a HTTP/1.1"), passed("", "OPTIONS * HTTP/1.1")},
    {"host and port", host("a.example:8080"), "GET / HTTP/1.1\r\nHost: a.example:8080\r\n"},
    {"host with a dot at its end", host("a.example."), "GET / HTTP/1.1\r\nHost: a.example.\r\n"},
    {"host with an underscore", host("a_b"), "GET / HTTP/1.1\r\nHost: a_b\r\n"},
    {"empty port", host("a:"), "GET / HTTP/1.1\r\nHost: a:\r\n"},
    {"IPv6 host", host("[2001:db8::1]:80"), "GET / HTTP/1.1\r\nHost: [2001:db8::1]:80\r\n"},
    {"1.0 without a host", "GET / HTTP/1.0\r\nX-A: b\r\n\r\n", "GET / HTTP/1.1\r\nX-A: b\r\nHost: 127.0.0.1:"},
    {"length", post("Content-Length: 3\r\n", "abc"), passed("Content-Length: 3\r\n", "POST / HTTP/1.1"), "abc"},
    {"length with zeros in front", post("Content-Length: 0003\r\n", "abc"),
     passed("Content-Length: 3\r\n", "POST / HTTP/1.1"), "abc"},
    {"length of nothing", post("Content-Length: 0\r\n"), passed("Content-Length: 0\r\n", "POST / HTTP/1.1")},
    {"GET with content", get("Content-Length: 3\r\n") + "abc", passed("Content-Length: 3\r\n"), "abc"},
    {"chunked", post(kChunked, kChunk), passed(kChunked, "POST / HTTP/1.1"), "abc"},
    {"chunked in capitals", post("TRANSFER-ENCODING: \tCHUNKED \r\n", kChunk), passed(kChunked, "POST / HTTP/1.1"),
     "abc"},
    {"chunk sizes with zeros in front and extensions", post(kChunked, "003;a=\"b\"\r\nabc\r\n000;x\r\n\r\n"),
     passed(kChunked, "POST / HTTP/1.1"), "abc"},
    {"TE is ours", get("TE: trailers\r\nConnection: TE\r\n"), passed("")},
    {"what Connection names", get("Connection: X-A, close\r\nX-A: b\r\nX-B: c\r\n"), passed("X-B: c\r\n")},
    {"Connection cannot name framing away", post("Connection: content-length, host\r\nContent-Length: 3\r\n", "abc"),
     passed("Content-Length: 3\r\n", "POST / HTTP/1.1"), "abc"},
    {"Suture-*", get("Suture-Replay: 1\r\nsuture-resume: x\r\nSUTURE_REPLAY: 1\r\nSuture-: 1\r\nSutures: 1\r\n"),
     passed("Sutures: 1\r\n")},
    {"X-Forwarded-*", get("X-Forwarded-For: 6.6.6.6\r\nX_Forwarded_For: 6.6.6.6\r\n"), passed("")},
    {"upgrade", get("Upgrade: websocket\r\nConnection: Upgrade\r\n"),
     passed("Upgrade: websocket\r\nConnection: upgrade\r\n")},
    {"upgrade without Connection", get("Upgrade: websocket\r\n"), passed("")},
    {"upgrade in 1.0", "GET / HTTP/1.0\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", passed("")},
    {"upgrade with content", get("Upgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 3\r\n") + "abc",
     passed("Content-Length: 3\r\n"), "abc"},
    {"h2c", get("Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAA\r\nConnection: Upgrade, HTTP2-Settings\r\n"),
     passed("")},
    {"h2c not named by Connection", get("Upgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\nConnection: Upgrade\r\n"),
     passed("")},
    {"h2c behind another", get("Upgrade: websocket, H2C\r\nConnection: Upgrade\r\n"), passed("")},
    {"h2c in a second field", get("Upgrade: websocket\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n"), passed("")},
    {"TLS by upgrade", get("Upgrade: TLS/1.2\r\nConnection: Upgrade\r\n"), passed("")},
    {"many fields",
     [] {
       std::string fields;
       for (int i = 0; i < 99; ++i) fields += "X: 1\r\n";
       return get(fields);
     }(),
     [] {
       std::string fields;
       for (int i = 0; i < 99; ++i) fields += "X: 1\r\n";
       return passed(fields);
     }()},
};

class StrictnessTest : public ProxyTest {
 protected:
  double rejected(const char* reason) const {
    return metric("suture_rejected_total", "reason=\"" + std::string(reason) + "\"");
  }
};

TEST_F(StrictnessTest, RefusedRequestsNeverReachTheApplication) {
  start();
  for (const Refused& row : kRefused) {
    SCOPED_TRACE(row.name);
    const double before = rejected(row.counted);
    // Whatever follows a refused request belongs to nobody any more.
    Peer client = connect_and_send(row.bytes + "\r\n\r\n" + kHidden);
    const auto answer = client.read_all();
    EXPECT_EQ(client.last_errno(), 0) << "a reset instead of a lingering close";
    EXPECT_EQ(answer.substr(0, 13), "HTTP/1.1 " + std::to_string(row.status) + " ");
    EXPECT_NE(answer.find("\r\nConnection: close\r\n"), std::string::npos);
    EXPECT_EQ(answer.find("HTTP/1.1", 1), std::string::npos) << "answered twice";
    EXPECT_EQ(rejected(row.counted), before + 1) << row.counted;
  }
  EXPECT_EQ(metric("suture_upstream_connects_total"), 0);
  EXPECT_GE(kRefused.size(), 80U);
}

TEST_F(StrictnessTest, RefusedByteByByteToo) {
  start();
  for (const Refused& row : kRefused) {
    if (row.bytes.size() > 300) continue;
    SCOPED_TRACE(row.name);
    Peer client = connect();
    for (const char c : row.bytes)
      if (::send(client.fd(), &c, 1, MSG_NOSIGNAL) != 1) break;
    client.half_close();
    EXPECT_EQ(client.read_all().substr(0, 13), "HTTP/1.1 " + std::to_string(row.status) + " ");
  }
  EXPECT_EQ(metric("suture_upstream_connects_total"), 0);
}

TEST_F(StrictnessTest, PassedOnAs) {
  start();
  for (const Passed& row : kPassed) {
    SCOPED_TRACE(row.name);
    Peer client = connect_and_send(row.bytes);
    Peer app = application.accept();
    const auto head = app.read_head();
    EXPECT_EQ(head.substr(0, row.head.size()), row.head);
    if (row.head.ends_with("\r\n")) {
      EXPECT_EQ(head.substr(row.head.size(), 5), "Via: ") << head;
    }
    RequestHead parsed;
    const auto error = parse_request_head(head, parsed);
    ASSERT_FALSE(error) << error->reason;
    BodyReader body(parsed.framing, parsed.length);
    std::string content;
    while (!body.done()) {
      const auto byte = app.read_bytes(1);
      ASSERT_EQ(body.feed(byte, &content), 1U);
    }
    EXPECT_EQ(content, row.content);
    app.send("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
    app.close();
    EXPECT_EQ(client.read_head().substr(0, 12), "HTTP/1.1 204");
  }
}

// The head is with the application by then: it never gets the end of such a request.
TEST_F(StrictnessTest, BadChunksNeverComplete) {
  start();
  for (const std::string& bytes : {"zz\r\n"s,
                                   "\r\n"s,
                                   "-1\r\n"s,
                                   "0x3\r\nabc\r\n"s,
                                   "3 \r\nabc\r\n"s,
                                   "3\nabc\r\n"s,
                                   "3\r\nabcd\r\n"s,
                                   "3\r\nabc\n"s,
                                   "3;a\nabc"s,
                                   "3;\x01\r\nabc\r\n"s,
                                   "3;"s + std::string(300, 'x'),
                                   "10000000000000000\r\n"s,
                                   "fffffffffffffffff\r\n"s,
                                   "0\r\n X: y\r\n\r\n"s,
                                   "0\r\nX : y\r\n\r\n"s,
                                   "0\r\nX\r\n\r\n"s,
                                   "0\r\nX: a\nY: b\r\n\r\n"s,
                                   "0\r\n" + std::string(9000, 'x') + ": y\r\n\r\n",
                                   "0\r\nX: \0\r\n\r\n"s,
                                   "0\n\r\n"s,
                                   "0\r\n\rx"s}) {
    SCOPED_TRACE(bytes);
    const double before = rejected("framing");
    Peer client = connect_and_send(post(kChunked));
    Peer app = application.accept();
    RequestHead parsed;
    const auto head = app.read_head();
    ASSERT_FALSE(parse_request_head(head, parsed));
    client.send(bytes + kHidden);
    const auto answer = client.read_all();
    EXPECT_EQ(answer.substr(0, 12), "HTTP/1.1 400");
    EXPECT_EQ(client.last_errno(), 0);
    BodyReader body(parsed.framing, parsed.length);
    body.feed(app.read_all());
    EXPECT_EQ(body.status(), BodyReader::Status::more);
    EXPECT_EQ(rejected("framing"), before + 1);
  }
}

TEST_F(StrictnessTest, RequestTrailersWithoutWhatMayNotStandThere) {
  start();
  Peer client =
      connect_and_send(post(kChunked, "1\r\na\r\n0\r\nX-A: 1\r\nSuture-Replay: 1\r\nHost: b\r\nX-B:2\r\n\r\n"));
  Peer app = application.accept();
  app.read_head();
  EXPECT_EQ(app.read_until("0\r\nX-A: 1\r\nX-B:2\r\n\r\n"), "1\r\na\r\n0\r\nX-A: 1\r\nX-B:2\r\n\r\n");
  EXPECT_EQ(metric("suture_trailers_dropped_total"), 2);
}

TEST_F(StrictnessTest, AmbiguousAnswersAre502) {
  start();
  for (const std::string& head :
       {"Content-Length: 2\r\n" + kChunked, kChunked + "Content-Length: 2\r\n",
        "Content-Length: 2\r\nContent-Length: 2\r\n"s, "Content-Length: 2, 2\r\n"s, "Content-Length: x\r\n"s,
        "Content-Length:\r\n"s, "Transfer-Encoding: gzip\r\n"s, "Transfer-Encoding: gzip, chunked\r\n"s,
        "Transfer-Encoding: chunked, gzip\r\n"s, kChunked + kChunked, "X-A: b\r\n c\r\n"s, "X-A : b\r\n"s,
        "X-A: b\nX-B: c\r\n"s, "X-A: b\rc\r\n"s, "X-A: \0\r\n"s, "X-A\r\n"s, ": b\r\n"s}) {
    SCOPED_TRACE(head);
    Peer client = connect_and_send(get(""));
    Peer app = application.accept();
    app.read_head();
    app.send("HTTP/1.1 200 OK\r\n" + head + "\r\nok");
    const auto answer = client.read_all();
    EXPECT_EQ(answer.substr(0, 12), "HTTP/1.1 502");
    EXPECT_EQ(answer.find("200 OK"), std::string::npos);
  }
  for (const std::string& answer :
       {"HTTP/1.0 200 OK\r\n" + kChunked + "\r\n0\r\n\r\n", "HTTP/1.1 204 No Content\r\n" + kChunked + "\r\n0\r\n\r\n",
        "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok"s, "HTTP/1.1 100 Continue\r\n" + kChunked + "\r\n",
        "HTTP/1.1 103 Early Hints\r\nContent-Length: 2\r\n\r\nok"s, "HTTP/2.0 200 OK\r\n\r\n"s,
        "HTTP/1.1 20 OK\r\n\r\n"s, "HTTP/1.1 099 OK\r\n\r\n"s, "HTTP/1.1 200 O\0K\r\n\r\n"s, "HTTP/1.1 200\r\n\r\n"s,
        "\r\nHTTP/1.1 200 OK\r\n\r\n"s, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n"s}) {
    SCOPED_TRACE(answer);
    Peer client = connect_and_send(get(""));
    Peer app = application.accept();
    app.read_head();
    app.send(answer);
    EXPECT_EQ(client.read_all().substr(0, 12), "HTTP/1.1 502");
  }
}

TEST_F(StrictnessTest, NoLengthWhereThereIsNoContent) {
  start();
  Peer client = connect_and_send(get(""));
  Peer app = application.accept();
  app.read_head();
  app.send("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n");
  EXPECT_EQ(client.read_head().find("Content-Length"), std::string::npos);
}

}  // namespace
}  // namespace suture::test
