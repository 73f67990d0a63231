#include <proxy/admin/router.hpp>

#include <exception>
#include <utility>

#include <suture/log.hpp>

namespace suture::admin {
namespace {

int hex(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

std::optional<std::string> decoded(std::string_view text, bool plus_is_space) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '+' && plus_is_space) {
      out += ' ';
    } else if (text[i] != '%') {
      out += text[i];
    } else {
      const int high = i + 2 < text.size() ? hex(text[i + 1]) : -1;
      const int low = i + 2 < text.size() ? hex(text[i + 2]) : -1;
      if (high < 0 || low < 0) return std::nullopt;
      out += static_cast<char>(high * 16 + low);
      i += 2;
    }
  }
  return out;
}

}  // namespace

std::optional<std::string> Request::parameter(const std::string& name) const {
  const auto found = query.find(name);
  if (found == query.end()) return std::nullopt;
  return found->second;
}

Response text(unsigned status, std::string body) {
  if (!body.empty() && body.back() != '\n') body += '\n';
  return {status, "text/plain; charset=utf-8", std::move(body), ""};
}

Response json(unsigned status, std::string body) {
  return {status, "application/json", std::move(body), ""};
}

void Router::handle(std::string method, std::string path, Handler handler) {
  routes_[std::move(path)][std::move(method)] = std::move(handler);
}

Response Router::dispatch(const Request& request) const {
  const auto found = routes_.find(request.path);
  if (found == routes_.end()) return text(404, "not found; GET / lists what there is");
  const auto& methods = found->second;
  auto handler = methods.find(request.method);
  if (handler == methods.end() && request.method == "HEAD") handler = methods.find("GET");
  if (handler == methods.end()) {
    std::string allow;
    for (const auto& [method, unused] : methods) {
      allow += (allow.empty() ? "" : ", ") + method + (method == "GET" ? ", HEAD" : "");
    }
    Response refusal = text(405, "method not allowed; allowed here: " + allow);
    refusal.allow = allow;
    return refusal;
  }
  try {
    return handler->second(request);
  } catch (const std::exception& error) {
    log::error("admin_handler_failed", {{"path", request.path}, {"error", error.what()}});
    return text(500, std::string("internal error: ") + error.what());
  }
}

bool parse_target(std::string_view target, Request& out) {
  if (!target.starts_with('/')) return false;
  const auto mark = target.find('?');
  const auto path = decoded(target.substr(0, mark), false);
  if (!path) return false;
  out.path = *path;
  out.query.clear();
  std::string_view rest = mark == std::string_view::npos ? std::string_view{} : target.substr(mark + 1);
  while (!rest.empty()) {
    const auto end = rest.find('&');
    const std::string_view pair = rest.substr(0, end);
    rest = end == std::string_view::npos ? std::string_view{} : rest.substr(end + 1);
    if (pair.empty()) continue;
    const auto equals = pair.find('=');
    const auto name = decoded(pair.substr(0, equals), true);
    const auto value = decoded(equals == std::string_view::npos ? std::string_view{} : pair.substr(equals + 1), true);
    if (!name || !value) return false;
    out.query[*name] = *value;
  }
  return true;
}

}  // namespace suture::admin
