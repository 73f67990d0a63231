#include <proxy/client/access_log.hpp>

#include <functional>

#include <gtest/gtest.h>
#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>

namespace suture {
namespace {

using Format = config::AccessLog::Format;

AccessEntry entry() {
  AccessEntry e;
  e.client = "198.51.100.7";
  e.time = std::chrono::system_clock::time_point(std::chrono::milliseconds(971'186'136'042));
  e.request_line = "GET /apache_pb.gif HTTP/1.0";
  e.host = "h";
  e.referer = "http://www.example.com/start.html";
  e.user_agent = "Mozilla/4.08 [en] (Win98; I ;Nav)";
  e.status = 200;
  e.body_bytes = 2326;
  e.duration = std::chrono::microseconds(12345);
  e.upstream = "127.0.0.1:8080";
  e.request_id = "abc";
  e.pop = "pop1";
  e.owner = "pop1";
  return e;
}

std::string line(Format format, const std::function<void(AccessEntry&)>& change = {}) {
  AccessEntry e = entry();
  if (change) change(e);
  std::string out = "before\n";
  write_access_line(e, format, out);
  EXPECT_EQ(out.substr(0, 7), "before\n");
  EXPECT_EQ(out.find('\n', 7), out.size() - 1) << "one line: " << out;
  return out.substr(7, out.size() - 8);
}

// https://httpd.apache.org/docs/2.4/logs.html#accesslog, its own example.
TEST(AccessLog, AsApacheWritesIt) {
  const std::string common = "198.51.100.7 - - [10/Oct/2000:13:55:36 +0000] \"GET /apache_pb.gif HTTP/1.0\" 200 2326";
  EXPECT_EQ(line(Format::common), common);
  EXPECT_EQ(line(Format::combined),
            common + " \"http://www.example.com/start.html\" \"Mozilla/4.08 [en] (Win98; I ;Nav)\"");
}

TEST(AccessLog, WhatIsMissing) {
  const auto bare = [](AccessEntry& e) {
    e = AccessEntry{};
    e.client = "2001:db8::1";
    e.time = std::chrono::system_clock::time_point(std::chrono::seconds(951'782'400));  // a leap day
  };
  EXPECT_EQ(line(Format::combined, bare), "2001:db8::1 - - [29/Feb/2000:00:00:00 +0000] \"-\" - - \"-\" \"-\"");
  EXPECT_EQ(line(Format::json, bare),
            "{\"client\":\"2001:db8::1\",\"time\":\"2000-02-29T00:00:00.000Z\",\"request\":\"\",\"host\":\"\","
            "\"referer\":\"\",\"user_agent\":\"\",\"status\":0,\"bytes\":0,\"duration_ms\":0.000,\"upstream\":\"\","
            "\"request_id\":\"\",\"pop\":\"\",\"owner\":\"\",\"healed\":\"\",\"heals\":0,\"close\":\"\"}");
}

TEST(AccessLog, JsonHasAllFields) {
  const auto healed = [](AccessEntry& e) {
    e.owner = "pop2";
    e.healed = "replay";
    e.heals = 3;
    e.close = "response_complete";
  };
  EXPECT_EQ(line(Format::json, healed),
            "{\"client\":\"198.51.100.7\",\"time\":\"2000-10-10T13:55:36.042Z\",\"request\":\"GET /apache_pb.gif "
            "HTTP/1.0\",\"host\":\"h\",\"referer\":\"http://www.example.com/start.html\",\"user_agent\":\"Mozilla/4.08 "
            "[en] (Win98; I ;Nav)\",\"status\":200,\"bytes\":2326,\"duration_ms\":12.345,\"upstream\":"
            "\"127.0.0.1:8080\",\"request_id\":\"abc\",\"pop\":\"pop1\",\"owner\":\"pop2\",\"healed\":\"replay\","
            "\"heals\":3,\"close\":\"response_complete\"}");
}

TEST(AccessLog, NothingOfAClientBreaksALine) {
  const struct {
    std::string sent, apache, json;
  } rows[] = {
      {"a\" 200 1 \"b", "a\\\" 200 1 \\\"b", "a\\\" 200 1 \\\"b"},
      {"a\\", "a\\\\", "a\\\\"},
      {"a\r\nb", "a\\r\\nb", "a\\u000d\\u000ab"},
      {"\t\b\v", "\\t\\b\\v", "\\u0009\\u0008\\u000b"},
      {std::string("a\0b\x1b[2J\x7f", 8), "a\\x00b\\x1b[2J\\x7f", "a\\u0000b\\u001b[2J\\u007f"},
      {"\xc3\xa9\xff", "\\xc3\\xa9\\xff", "\\u00c3\\u00a9\\u00ff"},
      {"\xe2\x80\xa8", "\\xe2\\x80\\xa8", "\\u00e2\\u0080\\u00a8"},  // U+2028, a line's end to JavaScript
  };
  for (const auto& row : rows) {
    const auto put = [&](AccessEntry& e) { e.request_line = e.referer = e.user_agent = e.host = row.sent; };
    EXPECT_NE(line(Format::common, put).find("] \"" + row.apache + "\" 200 "), std::string::npos) << row.apache;
    EXPECT_NE(line(Format::combined, put).find("\"" + row.apache + "\" \"" + row.apache + '"'), std::string::npos);
    EXPECT_NE(line(Format::json, put).find("\"request\":\"" + row.json + "\",\"host\":\"" + row.json + '"'),
              std::string::npos)
        << row.json;
  }
  // Every byte, through a parser that is not ours.
  std::string all;
  for (int byte = 0; byte < 256; ++byte) all.push_back(static_cast<char>(byte));
  const auto parsed = boost::json::parse(line(Format::json, [&](AccessEntry& e) { e.user_agent = all; }));
  EXPECT_EQ(parsed.as_object().size(), 16U);
  EXPECT_EQ(parsed.as_object().at("user_agent").as_string().size(), 128U + 2 * 128U) << "U+0080 on take two bytes";
}

}  // namespace
}  // namespace suture
