#include "tests/simulation/http_corpus.hpp"

#include <set>

namespace suture::sim {
namespace {

using test::Asked;

std::vector<std::string> events(const Asked& asked, int n) {
  const std::string last = asked.field("Last-Event-ID");
  std::vector<std::string> out;
  for (int i = last.empty() ? 1 : std::stoi(last) + 1; i <= n; ++i)
    out.push_back("id: " + std::to_string(i) + "\ndata: number " + std::to_string(i) + "\n\n");
  return test::in_chunks(out, "Content-Type: text/event-stream\r\n");
}

std::vector<std::string> pieces_of(const std::string& content, std::size_t size) {
  std::vector<std::string> out;
  for (std::size_t at = 0; at < content.size(); at += size) out.push_back(content.substr(at, size));
  return out;
}

void add_large(std::vector<HttpKind>& kinds) {
  const auto request = [](const std::string& method, const std::string& fields, const std::string& body) {
    return method + " /large HTTP/1.1\r\nHost: h\r\n" + fields + "\r\n" + body;
  };
  const std::string get = request("GET", "", "");
  const auto with_body = [&](const std::string& method, const std::string& body) {
    return request(method, "Content-Length: " + std::to_string(body.size()) + "\r\n", body);
  };
  const auto in_own_chunks = [&](const std::string& method, const std::string& body) {
    std::string framed;
    for (const std::string& piece : pieces_of(body, 1000)) {
      char size[16];
      std::snprintf(size, sizeof size, "%zx\r\n", piece.size());
      framed += size + piece + "\r\n";
    }
    return request(method, "Transfer-Encoding: chunked\r\n", framed + "0\r\n\r\n");
  };
  static const std::string c30 = test::some_content(30'000), c150 = test::some_content(150'000);
  const auto digest_of_body = [](const Asked& asked) {
    std::size_t sum = 0;
    for (const char c : asked.body) sum = sum * 31 + static_cast<unsigned char>(c);
    return std::vector<std::string>{
        test::with_length(asked.method + ' ' + std::to_string(asked.body.size()) + ' ' + std::to_string(sum))};
  };
  const auto add = [&](const char* name, std::vector<std::string> requests, test::Answer answer) {
    kinds.push_back({name, std::move(requests), std::move(answer), false, true});
  };
  add("large_range", {get}, [](const Asked& asked) { return test::with_ranges(asked, c150); });
  add("large_length", {get}, [](const Asked&) { return std::vector<std::string>{test::with_length(c150)}; });
  add("large_chunked", {get}, [](const Asked&) { return test::in_chunks(pieces_of(c150, 7000), "", "X-Sum: 9\r\n"); });
  add("many_chunks", {get}, [](const Asked&) { return test::in_chunks(pieces_of(c30, 500)); });
  add("large_answer_to_post", {with_body("POST", "key=value")},
      [](const Asked&) { return std::vector<std::string>{test::with_length(c30)}; });
  add("large_body", {with_body("PUT", c30), with_body("POST", c30), in_own_chunks("PUT", c30)}, digest_of_body);
  add("too_large_to_record", {with_body("PUT", c150), in_own_chunks("POST", c150)}, digest_of_body);
  add("slow_events", {get}, [](const Asked& asked) { return events(asked, 12); });
}

}  // namespace

const std::vector<HttpKind>& http_corpus() {
  static const std::vector<HttpKind> all = [] {
    // Their answers count how often they were asked; or there is no place for a number in their target.
    const std::set<std::string> left_out{"broken_promise",       "changes",      "grows",  "until_close_at_heir",
                                         "length_at_heir_close", "digest_field", "options"};
    const std::set<std::string> last{"until_close", "connection_close", "old_client", "chunked_to_old_client",
                                     "long_until_close"};
    std::vector<HttpKind> kinds;
    for (auto& kind : test::cut_kinds())
      if (!left_out.contains(kind.name))
        kinds.push_back({kind.name, kind.requests, kind.answer, last.contains(kind.name), false});
    add_large(kinds);
    return kinds;
  }();
  return all;
}

}  // namespace suture::sim
