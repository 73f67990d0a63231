// The admin endpoint's table of (method, path) -> handler. Pure: no sockets, no HTTP library.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace suture::admin {

struct Request {
  std::string method;                        // "GET", "POST", ...
  std::string path;                          // decoded, without the query
  std::map<std::string, std::string> query;  // decoded; of a repeated name the last one counts
  std::string body;

  // The query's value of `name`, or nothing.
  std::optional<std::string> parameter(const std::string& name) const;
};

struct Response {
  unsigned status = 200;
  std::string content_type = "application/json";
  std::string body;
  std::string allow;  // 405 only
};
Response text(unsigned status, std::string body);  // text/plain; a newline is added where it is missing
Response json(unsigned status, std::string body);

// Runs on the control thread: must not block. An exception becomes a 500 (logged), never the end of the process.
using Handler = std::function<Response(const Request&)>;

class Router {
 public:
  // `path` is exact. A second registration of the same pair replaces the first.
  void handle(std::string method, std::string path, Handler handler);
  // 404 for an unknown path, 405 with Allow for a known path with another method. HEAD is served by GET's handler (the
  // server leaves the body out).
  Response dispatch(const Request& request) const;
  // For the index page.
  const std::map<std::string, std::map<std::string, Handler>>& routes() const { return routes_; }

 private:
  std::map<std::string, std::map<std::string, Handler>> routes_;  // path -> method -> handler
};

// "/sessions?limit=10" -> path and query, percent-decoded. Nothing if it is not an origin-form target (RFC 9112 section
// 3.2.1) or the encoding is broken.
bool parse_target(std::string_view target, Request& out);

}  // namespace suture::admin
