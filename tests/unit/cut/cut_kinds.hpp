// The corpus of exchanges that are cut at every byte.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "scripted_application.hpp"

namespace suture::test {

// The worst that may become of the session at any byte, if the record is the owner's latest.
enum class Worst : std::uint8_t { continued, clean, reset };

struct CutKind {
  std::string name;
  std::vector<std::string> requests;
  Answer answer;
  Worst worst = Worst::continued;
  bool pipelined = false;
  // Heads fit into a journal of kSmallJournal bytes, and no content to speak of.
  Worst worst_without_journal = Worst::continued;
  std::string other_content = {};  // what a repeated request may get, as a whole
  std::uint32_t verify_tail = 0;
};

inline constexpr std::size_t kSmallJournal = 200;

inline std::string some_content(std::size_t bytes) {
  std::string out;
  for (std::size_t i = 0; out.size() < bytes; ++i) out += std::to_string(i) + ',';
  out.resize(bytes);
  return out;
}

inline std::string with_length(const std::string& content, const std::string& fields = "") {
  return "HTTP/1.1 200 OK\r\n" + fields + "Content-Length: " + std::to_string(content.size()) + "\r\n\r\n" + content;
}

inline std::vector<std::string> in_chunks(const std::vector<std::string>& pieces, const std::string& fields = "",
                                          const std::string& trailers = "") {
  std::vector<std::string> out{"HTTP/1.1 200 OK\r\n" + fields + "Transfer-Encoding: chunked\r\n\r\n"};
  for (const std::string& piece : pieces) {
    char size[16];
    std::snprintf(size, sizeof size, "%zx\r\n", piece.size());
    out.push_back(size + piece + "\r\n");
  }
  out.push_back("0\r\n" + trailers + "\r\n");
  return out;
}

// Strong ETag, Range and If-Range as RFC 9110 has them.
inline std::vector<std::string> with_ranges(const Asked& asked, const std::string& content) {
  const std::string range = asked.field("Range");
  if (range.empty() || (!asked.field("If-Range").empty() && asked.field("If-Range") != "\"v1\""))
    return {with_length(content, "ETag: \"v1\"\r\n")};
  const std::size_t from = std::stoul(range.substr(6));
  const auto dash = range.find('-');
  const std::size_t to = dash + 1 < range.size() ? std::stoul(range.substr(dash + 1)) : content.size() - 1;
  const std::string part = content.substr(from, to - from + 1);
  return {"HTTP/1.1 206 Partial Content\r\nETag: \"v1\"\r\nContent-Range: bytes " + std::to_string(from) + '-' +
          std::to_string(to) + '/' + std::to_string(content.size()) +
          "\r\nContent-Length: " + std::to_string(part.size()) + "\r\n\r\n" + part};
}

// Events 1 to 6; from the one behind Last-Event-ID on.
inline std::vector<std::string> events_for(const Asked& asked, bool ids) {
  const std::string last = asked.field("Last-Event-ID");
  std::vector<std::string> events;
  for (int i = last.empty() ? 1 : std::stoi(last) + 1; i <= 6; ++i) {
    const std::string event =
        (ids ? "id: " + std::to_string(i) + '\n' : "") + "data: number " + std::to_string(i) + "\n\n";
    events.push_back(event.substr(0, 9));  // half an event is a chunk as well
    events.push_back(event.substr(9));
  }
  return in_chunks(events, "Content-Type: text/event-stream\r\n");
}

inline std::vector<CutKind> cut_kinds() {
  const auto request = [](const std::string& method, const std::string& target, const std::string& fields = "",
                          const std::string& body = "") {
    const std::string length = body.empty() || fields.find("Transfer-Encoding") != std::string::npos
                                   ? ""
                                   : "Content-Length: " + std::to_string(body.size()) + "\r\n";
    return method + ' ' + target + " HTTP/1.1\r\nHost: h\r\n" + fields + length + "\r\n" + body;
  };
  const auto get = [&](const std::string& target, const std::string& fields = "") {
    return request("GET", target, fields);
  };
  const auto one = [](const std::string& all) { return [all](const Asked&) { return std::vector<std::string>{all}; }; };
  const auto many = [](const std::vector<std::string>& all) { return [all](const Asked&) { return all; }; };
  const std::string c90 = some_content(90), long_content = some_content(260);
  const auto by_target = [=](const Asked& asked) {
    return std::vector<std::string>{with_length(asked.method + asked.target + asked.body + some_content(20))};
  };
  const std::string post = request("POST", "/p", "", "key=value");
  std::vector<CutKind> kinds{
      {"length", {get("/a")}, one(with_length(c90)), Worst::continued},
      {"length_in_pieces",
       {get("/a")},
       many({"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n", c90.substr(0, 30), c90.substr(30)})},
      {"empty", {get("/a")}, one(with_length(""))},
      {"no_content", {get("/a"), get("/b")}, one("HTTP/1.1 204 No Content\r\nX: y\r\n\r\n")},
      {"not_modified", {get("/a"), get("/b")}, one("HTTP/1.1 304 Not Modified\r\nETag: \"v\"\r\n\r\n")},
      {"not_found", {get("/a"), get("/b")}, one("HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\ngone")},
      {"head",
       {request("HEAD", "/a"), get("/b")},
       [=](const Asked& asked) {
         return std::vector<std::string>{asked.method == "HEAD" ? "HTTP/1.1 200 OK\r\nContent-Length: 77\r\n\r\n"
                                                                : with_length("b")};
       }},
      {"options",
       {request("OPTIONS", "*"), get("/b")},
       one("HTTP/1.1 200 OK\r\nAllow: GET\r\nContent-Length: 0\r\n\r\n")},
      {"keep_alive", {get("/1"), get("/2"), get("/3")}, by_target},
      {"pipelined", {get("/1"), get("/2"), get("/3")}, by_target, Worst::continued, true},
      {"pipelined_kinds",
       {get("/1"), request("HEAD", "/2"), request("DELETE", "/3"), get("/4")},
       [](const Asked& asked) {
         if (asked.method == "HEAD") return std::vector<std::string>{"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"};
         return std::vector<std::string>{with_length(asked.method + asked.target)};
       },
       Worst::continued,
       true},
      {"pipelined_post", {get("/1"), post, get("/3")}, by_target, Worst::clean, true},
      {"pipelined_chunked", {get("/1"), get("/2")}, many(in_chunks({"first ", "second"})), Worst::continued, true},
      {"connection_close", {get("/a", "Connection: close\r\n")}, one(with_length(c90))},
      {"old_client", {"GET /a HTTP/1.0\r\n\r\n"}, one(with_length(c90))},
      {"chunked", {get("/a")}, many(in_chunks({"hello ", "world, ", some_content(40), "!"}))},
      {"chunked_in_one_piece",
       {get("/a"), get("/b")},
       [](const Asked&) {
         std::string all;
         for (const auto& piece : in_chunks({"hello ", "world"})) all += piece;
         return std::vector<std::string>{all};
       }},
      {"chunked_trailers", {get("/a")}, many(in_chunks({"hello ", "world"}, "Trailer: X-Sum\r\n", "X-Sum: 7\r\n"))},
      {"chunked_empty", {get("/a"), get("/b")}, many(in_chunks({}))},
      {"chunked_encoded",
       {get("/a", "Accept-Encoding: gzip\r\n")},
       many(in_chunks({"\x1f\x8b rest", "of it"}, "Content-Encoding: gzip\r\nVary: Accept-Encoding\r\n"))},
      {"chunked_to_old_client", {"GET /a HTTP/1.0\r\n\r\n"}, many(in_chunks({"hello ", "world"}))},
      {"until_close", {get("/a")}, many({"HTTP/1.1 200 OK\r\nX: y\r\n\r\nhello ", "world", kHangUp})},
      {"interim",
       {get("/a")},
       many({"HTTP/1.1 103 Early Hints\r\nLink: </s>\r\n\r\n", "HTTP/1.1 103 Early Hints\r\nLink: </t>\r\n\r\n",
             with_length(c90)})},
      {"continue",
       {request("PUT", "/a", "Expect: 100-continue\r\n", "body")},
       many({"HTTP/1.1 100 Continue\r\n\r\n", with_length("done")})},
      {"post", {post}, by_target, Worst::clean},
      {"post_small_answer", {post, get("/after")}, by_target, Worst::clean},
      {"post_chunked_answer", {post}, many(in_chunks({"created ", "it"})), Worst::reset},
      {"put", {request("PUT", "/u", "", c90), get("/after")}, by_target},
      {"put_chunked",
       {request("PUT", "/u", "Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"), get("/x")},
       by_target},
      {"patch", {request("PATCH", "/u", "", "change")}, by_target, Worst::clean},
      {"delete", {request("DELETE", "/u"), get("/after")}, by_target},
      {"etag_range", {get("/f")}, [=](const Asked& asked) { return with_ranges(asked, some_content(120)); }},
      {"client_range",
       {get("/f", "Range: bytes=10-59\r\n")},
       [=](const Asked& asked) { return with_ranges(asked, some_content(120)); }},
      {"weak_etag", {get("/f")}, one(with_length(c90, "ETag: W/\"v\"\r\n"))},
      // With a small journal: how much is on its way at once is the kernel's affair.
      {"events",
       {get("/events")},
       [](const Asked& asked) { return events_for(asked, true); },
       Worst::continued,
       false,
       Worst::reset},
      {"events_twice",  // the second stream's ids are its own
       {get("/events"), get("/more")},
       [](const Asked& asked) { return events_for(asked, true); },
       Worst::continued,
       false,
       Worst::reset},
      {"events_without_ids",
       {get("/events")},
       [](const Asked& asked) { return events_for(asked, false); },
       Worst::reset},
  };
  const auto add = [&](CutKind kind) { kinds.push_back(std::move(kind)); };
  add({"long_length", {get("/a"), get("/b")}, one(with_length(long_content))});
  add({"long_chunked", {get("/a"), get("/b")}, many(in_chunks({long_content, "!", long_content}))});
  add({"long_chunks_of_one", {get("/a")}, many(in_chunks({"a", "b", long_content, "c", "d"}))});
  add({"long_until_close", {get("/a")}, many({"HTTP/1.1 200 OK\r\n\r\n" + long_content, "end", kHangUp})});
  add({"long_pipelined", {get("/1"), get("/2"), get("/3")}, one(with_length(long_content)), Worst::continued, true});
  add({"long_range", {get("/1"), get("/2")}, [=](const Asked& asked) { return with_ranges(asked, long_content); }});
  add({"verified_tail",
       {get("/1"), get("/2")},
       [=](const Asked& asked) { return with_ranges(asked, long_content); },
       Worst::continued,
       false,
       Worst::continued,
       {},
       50});
  // A strong entity tag, and no idea of Range; with other bytes behind it; and one that says it knows Range.
  const auto ignores_range = [=](const std::string& fields) { return one(with_length(long_content, fields)); };
  add({"range_ignored", {get("/1"), get("/2")}, ignores_range("ETag: \"v1\"\r\n")});
  add({"range_ignored_changed",
       {get("/1")},
       [=, n = std::make_shared<std::atomic<int>>(0)](const Asked&) {
         const std::string other = "x" + long_content.substr(1);
         return std::vector<std::string>{with_length((*n)++ ? other : long_content, "ETag: \"v1\"\r\n")};
       },
       Worst::continued,
       false,
       Worst::reset,
       "x" + long_content.substr(1)});
  add({"range_promised_and_ignored",
       {get("/1")},
       ignores_range("ETag: \"v1\"\r\nAccept-Ranges: bytes\r\n"),
       Worst::continued,
       false,
       Worst::reset});
  // Other content under the same ETag: an application that breaks its promise is found out.
  add({"broken_promise",
       {get("/1")},
       [=, n = std::make_shared<std::atomic<int>>(0)](const Asked& asked) {
         return with_ranges(asked, (*n)++ ? std::string(260, 'x') : long_content);
       },
       Worst::continued,
       false,
       Worst::reset,
       std::string(260, 'x'),
       50});
  add({"long_client_range", {get("/f", "Range: bytes=5-254\r\n")}, [=](const Asked& asked) {
         return with_ranges(asked, long_content);
       }});
  add({"long_post", {post}, one(with_length(long_content)), Worst::clean, false, Worst::reset});
  add({"long_trailers", {get("/a")}, many(in_chunks({long_content, "!"}, "", "X-Sum: 7\r\n"))});
  add({"changes",
       {get("/a")},
       [=, n = std::make_shared<std::atomic<int>>(0)](const Asked&) {
         return std::vector<std::string>{with_length(((*n)++ ? "other" : "first") + long_content)};
       },
       Worst::continued,
       false,
       Worst::reset,
       "other" + long_content});
  add({"grows",
       {get("/a")},
       [=, n = std::make_shared<std::atomic<int>>(0)](const Asked&) {
         return std::vector<std::string>{with_length(some_content((*n)++ ? 290 : 280))};
       },
       Worst::continued,
       false,
       Worst::reset,
       some_content(290)});
  const auto sse = [](const std::vector<std::string>& events) {
    return in_chunks(events, "Content-Type: text/event-stream\r\n");
  };
  // Only every third event carries an id; the application resumes behind the id.
  add({"events_sparse_ids",
       {get("/e")},
       [=](const Asked& asked) {
         std::vector<std::string> events;
         const std::string last = asked.field("Last-Event-ID");
         for (int i = last.empty() ? 1 : std::stoi(last) + 1; i <= 9; ++i)
           events.push_back((i % 3 == 1 ? "id: " + std::to_string(i) + '\n' : "") + "data: number " +
                            std::to_string(i) + "\n\n");
         return sse(events);
       },
       Worst::reset});
  // An id that is reset: nothing to ask with.
  add({"events_reset_id",
       {get("/e")},
       [=](const Asked& asked) {
         const std::string last = asked.field("Last-Event-ID");
         std::vector<std::string> events;
         if (last.empty())
           events = {"id: 1\ndata: a\n\n", "id\ndata: b\n\n"};
         else if (last != "1")
           return sse({});
         else
           events = {"id\ndata: b\n\n"};
         events.push_back("id: 3\ndata: c\n\n");
         return sse(events);
       },
       Worst::reset});
  // The client resumes at 5 itself.
  add({"events_client_resumes",
       {get("/e", "Last-Event-ID: 5\r\n")},
       [=](const Asked& asked) {
         const std::string last = asked.field("Last-Event-ID");
         if (last == "5") return sse({"id: 6\ndata: six\n\n", "id:\ndata: seven\n\n", "id: 8\ndata: eight\n\n"});
         if (last == "6") return sse({"id:\ndata: seven\n\n", "id: 8\ndata: eight\n\n"});
         if (last == "8") return sse({});
         return sse({"data: from the start\n\n"});
       },
       Worst::reset});
  // A page of events with a length: always three behind the last that the client names.
  add({"events_length",
       {get("/e"), get("/e2")},
       [=](const Asked& asked) {
         const std::string last = asked.field("Last-Event-ID");
         std::string all;
         const int from = last.empty() ? 1 : std::stoi(last) + 1;
         std::vector<std::string> out{""};
         for (int i = from; i < from + 3; ++i) {
           out.push_back("id: " + std::to_string(i) + "\ndata: " + std::to_string(i) + "\n\n");
           all += out.back();
         }
         out[0] =
             "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: " + std::to_string(all.size()) +
             "\r\n\r\n";
         return out;
       },
       Worst::reset});
  add({"events_cr",
       {get("/e")},
       [=](const Asked& asked) {
         const std::string last = asked.field("Last-Event-ID");
         std::vector<std::string> events;
         for (int i = last.empty() ? 1 : std::stoi(last) + 1; i <= 5; ++i) {
           const std::string event = "id: " + std::to_string(i) + "\rdata: x" + std::to_string(i) + "\r\r";
           events.push_back(event.substr(0, 7));
           events.push_back(event.substr(7));
         }
         return sse(events);
       },
       Worst::continued});
  add({"until_close_at_heir",
       {get("/a"), get("/b")},
       [=, n = std::make_shared<std::atomic<int>>(0)](const Asked&) {
         if ((*n)++ < 2) return in_chunks({long_content, "!", long_content});
         return std::vector<std::string>{"HTTP/1.1 200 OK\r\n\r\n" + long_content, "!" + long_content, kHangUp};
       },
       Worst::reset,
       false,
       Worst::reset});
  add({"length_at_heir_close",
       {get("/a")},
       [=, n = std::make_shared<std::atomic<int>>(0)](const Asked&) {
         if ((*n)++ < 1) return std::vector<std::string>{"HTTP/1.1 200 OK\r\n\r\n" + long_content, "end", kHangUp};
         return std::vector<std::string>{with_length(long_content + "end")};
       },
       Worst::reset,
       false,
       Worst::reset});
  add({"multipart",
       {get("/f", "Range: bytes=0-1,5-6\r\n"), get("/g")},
       many({"HTTP/1.1 206 Partial Content\r\nContent-Type: multipart/byteranges; boundary=B\r\nETag: "
             "\"v1\"\r\nContent-Length: 300\r\n\r\n" +
             some_content(300)})});
  add({"digest_field",
       {get("/a")},
       [=, n = std::make_shared<std::atomic<int>>(0)](const Asked&) {
         const bool first = (*n)++ == 0;
         return in_chunks({long_content, first ? "one" : "two"},
                          std::string("Content-Digest: sha-256=:") + (first ? "ONE" : "TWO") + ":\r\n");
       },
       Worst::reset,
       false,
       Worst::reset,
       long_content + "two"});
  add({"pipelined_mix", {get("/1"), request("PUT", "/u", "", c90), post, get("/3")}, by_target, Worst::clean, true});
  add({"bytes",
       {get("/1"), get("/2")},
       [=](const Asked&) {
         std::vector<std::string> p;
         for (int i = 0; i < 60; ++i) p.push_back(std::string(1, char('a' + i % 26)));
         return in_chunks(p, "", "X-A: b\r\n");
       },
       Worst::continued});
  add({"103_long",
       {get("/1"), get("/2")},
       many({"HTTP/1.1 103 Early Hints\r\nLink: </s>\r\n\r\n", "HTTP/1.1 102 Processing\r\n\r\n",
             with_length(long_content)}),
       Worst::continued,
       true});
  // Each event stream begins with a BOM; the heir's comes in two pieces.
  add({"events_bom_split",
       {get("/e")},
       [=](const Asked& asked) {
         const std::string last = asked.field("Last-Event-ID");
         std::vector<std::string> events{"\xef", "\xbb\xbf"};
         for (int i = last.empty() ? 1 : std::stoi(last) + 1; i <= 4; ++i)
           events.push_back("id: " + std::to_string(i) + "\ndata: x" + std::to_string(i) + "\n\n");
         auto out = sse(events);
         out.insert(out.begin() + 2, "\x02");
         return out;
       },
       Worst::reset});
  // Ids with a space that a field value cannot keep; to an unknown id the application says everything.
  add({"events_blank_id",
       {get("/e")},
       [=](const Asked& asked) {
         const std::string last = asked.field("Last-Event-ID");
         const auto strip = [](std::string s) {
           const auto a = s.find_first_not_of(' ');
           return a == std::string::npos ? "" : s.substr(a, s.find_last_not_of(' ') + 1 - a);
         };
         const std::vector<std::string> ids{" a ", " b ", " c ", " d "};
         std::size_t from = 0;
         for (std::size_t i = 0; i < ids.size(); ++i)
           if (strip(last) == ids[i]) from = i + 1;
         std::vector<std::string> events;
         for (; from < ids.size(); ++from)
           events.push_back("id: " + ids[from] + "\ndata: " + std::to_string(from) + "\n\n");
         return sse(events);
       },
       Worst::reset});
  return kinds;
}

}  // namespace suture::test
