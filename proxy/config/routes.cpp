#include <proxy/config/routes.hpp>

#include <algorithm>
#include <cctype>

#include <proxy/config/values.hpp>
#include <suture/limits.hpp>

namespace suture::config {
namespace {

constexpr const char* ms = "milliseconds";
constexpr const char* bytes = "bytes";
constexpr std::uint32_t day_ms = 24U * 3600 * 1000;

// Requests look through them one after the other.
constexpr std::size_t routes_max = 256;

bool host_characters(std::string_view host) {
  return !host.empty() && std::all_of(host.begin(), host.end(), [](unsigned char c) {
    return std::isalnum(c) || c == '-' || c == '_' || c == '.';
  });
}

// RFC 9110 section 4.2.3: hosts are compared without regard to case; the final dot of an absolute name says nothing.
void read_host(Section& section, std::string& out) {
  const auto text = section.scalar("host");
  if (!text) return;
  std::string host = *text;
  std::transform(host.begin(), host.end(), host.begin(), [](unsigned char c) { return std::tolower(c); });
  if (host.ends_with('.')) host.pop_back();
  bool good = false;
  if (host.starts_with('[') && host.ends_with(']')) {
    const auto address = parse_address(host.substr(1, host.size() - 2));
    good = address && address->is_v6();
  } else {
    const std::string_view name = std::string_view(host).substr(host.starts_with("*.") ? 2 : 0);
    good = host_characters(name) && !name.starts_with('.') && name.find("..") == std::string_view::npos;
  }
  if (!good || host.size() > 253) {
    return section.wrong("host", "'" + *text +
                                     "' is no host; wanted www.example.org, *.example.org or [2001:db8::1], without "
                                     "port");
  }
  out = host;
}

void read_path(Section& section, std::string& out) {
  const auto text = section.scalar("path");
  if (!text) return;
  const bool plain = std::all_of(text->begin(), text->end(),
                                 [](char c) { return c > ' ' && c < 0x7f && c != '?' && c != '#' && c != '*'; });
  if (!text->starts_with('/') || !plain || text->size() > 1024) {
    return section.wrong("path", "'" + *text +
                                     "' is no path; wanted e.g. /api, with '/' in front and without query, wildcards "
                                     "and spaces");
  }
  if (text->size() > 1 && text->ends_with('/')) {
    const std::string shorter = text->substr(0, text->find_last_not_of('/') + 1);
    return section.wrong("path", "'" + *text + "' ends with '/'; wanted " + (shorter.empty() ? "/" : shorter) +
                                     ", which takes everything below it, too");
  }
  if (*text != "/") out = *text;
}

void read_websocket(Section section, Route::WebSocket& out) {
  section.flag("resume", out.resume);
  section.number("ping_ms", out.ping_ms, 0, day_ms, "milliseconds (0: none)");
  section.finish();
}

void read_timeout(Section& section, const std::string& key, std::optional<std::uint32_t>& out) {
  std::uint32_t value = 0;
  section.number(key, value, 1, day_ms, ms);
  if (value != 0) out = value;
}

void read_route(Document& document, Section section, Route& out) {
  read_host(section, out.host);
  read_path(section, out.path);
  read_upstreams(document, section, "upstream", out.upstreams);
  section.choice<Replay>("replay", out.replay,
                         {{"safe", Replay::safe},
                          {"idempotent", Replay::idempotent},
                          {"keyed", Replay::keyed},
                          {"always", Replay::always},
                          {"never", Replay::never}});
  section.number("journal_bytes_max", out.journal_bytes_max, 0, 256 * 1024, "bytes (0: no journal)");
  section.flag("checkpoints", out.checkpoints);
  section.number("verify_tail", out.verify_tail, 0, 1 << 20, bytes);
  if (auto websocket = section.child("websocket")) read_websocket(std::move(*websocket), out.websocket);
  if (auto timeouts = section.child("timeouts")) {
    read_timeout(*timeouts, "response_ms", out.response_ms);
    read_timeout(*timeouts, "request_body_ms", out.request_body_ms);
    timeouts->finish();
  }
  section.finish();
}

std::string describe(const Route& route) {
  return (route.host.empty() ? "any host" : "host " + route.host) + " and " +
         (route.path.empty() ? "any path" : "path " + route.path);
}

}  // namespace

void read_upstreams(Document& document, Section& section, const std::string& key, std::vector<UpstreamAddress>& out) {
  if (!section.has(key)) return;
  std::string why;
  if (!section.is_list(key)) {
    const auto text = section.scalar(key);
    if (!text) return;
    if (const auto one = parse_upstream(*text, why)) {
      out = {*one};
    } else {
      section.wrong(key, why);
    }
    return;
  }
  std::vector<UpstreamAddress> all;
  for (const auto& [text, item] : section.scalar_list(key, "upstream")) {
    const auto one = parse_upstream(text, why);
    const auto same = [&](const UpstreamAddress& other) { return to_string(other) == to_string(*one); };
    if (!one) {
      document.mistake(item.line, item.path + ": " + why);
    } else if (std::any_of(all.begin(), all.end(), same)) {
      document.mistake(item.line, item.path + ": " + to_string(*one) + " is listed twice");
    } else {
      all.push_back(*one);
      document.note(section.path_of(key) + '[' + std::to_string(all.size() - 1) + ']', item.line);
    }
  }
  if (all.size() > limits::upstreams_per_route_max)
    return section.wrong(key, "more than " + std::to_string(limits::upstreams_per_route_max) + " upstreams");
  if (!all.empty()) out = std::move(all);
}

void read_routes(Document& document, Section& listener, Listener& out) {
  std::vector<Route> routes;
  for (const auto& item : listener.list("routes", "route with host, path or both")) {
    Route& route = routes.emplace_back();
    route.upstreams = out.default_route().upstreams;
    read_route(document, Section(document, item.node, item.path, item.line), route);
  }
  out.routes.insert(out.routes.begin(), routes.begin(), routes.end());
}

void check_routes(Document& document, const Listener& listener, const std::string& path,
                  const std::function<bool(const UpstreamAddress&)>& loops) {
  const auto& routes = listener.routes;
  if (routes.size() > 1 && listener.mode != SessionMode::http && document.gives(path + ".mode"))
    document.mistake_at(path + ".routes",
                        path + ".routes: only in mode http; nobody reads what is in a tcp connection");
  if (routes.size() - 1 > routes_max)
    document.mistake_at(path + ".routes", path + ".routes: more than " + std::to_string(routes_max));
  for (std::size_t i = 0; i < routes.size(); ++i) {
    const bool own = i + 1 == routes.size();  // the listener's own
    const std::string place = own ? path : path + ".routes[" + std::to_string(i) + ']';
    for (std::size_t u = 0; u < routes[i].upstreams.size(); ++u) {
      std::string key = place + ".upstream";
      // Without one of its own it has the listener's, where the mistake is reported.
      if (!document.gives(key) || !loops(routes[i].upstreams[u])) continue;
      if (routes[i].upstreams.size() > 1) key += '[' + std::to_string(u) + ']';
      document.mistake_at(key, key + ": " + to_string(routes[i].upstreams[u]) +
                                   " is a VIP and port of this very proxy, a loop; wanted the application's own "
                                   "address");
    }
    if (own) break;
    for (std::size_t j = 0; j < i; ++j) {
      if (routes[j].host != routes[i].host || routes[j].path != routes[i].path) continue;
      document.mistake_at(place, place + ": " + describe(routes[i]) + " is also " + path + ".routes[" +
                                     std::to_string(j) + "]; routes must differ");
      break;
    }
  }
}

}  // namespace suture::config
