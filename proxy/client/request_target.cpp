#include <proxy/client/request_target.hpp>

#include <algorithm>
#include <cctype>
#include <string>

namespace suture {
namespace {

constexpr std::size_t kNone = std::string_view::npos;

bool is_alnum(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) && static_cast<unsigned char>(c) < 0x80;
}

bool is_hex(char c) {
  return std::isxdigit(static_cast<unsigned char>(c));
}

bool valid_port(std::string_view port) {
  unsigned value = 0;
  for (const char c : port) {
    if (c < '0' || c > '9') return false;
    value = value * 10 + static_cast<unsigned>(c - '0');
    if (value > 65535) return false;
  }
  return true;
}

// reg-name; an empty label (".." or a leading dot) is a name that resolvers and caches clean up in different ways.
bool valid_name(std::string_view name) {
  if (name.empty() || name.front() == '.' || name.find("..") != kNone) return false;
  return std::all_of(name.begin(), name.end(),
                     [](char c) { return is_alnum(c) || std::string_view("-._~!$&'()*+;=").find(c) != kNone; });
}

struct Authority {
  std::string_view host, port;
};

// An IPv6 literal has its colons inside of brackets.
Authority split(std::string_view authority) {
  const auto bracket = authority.rfind(']');
  const auto colon = authority.find(':', bracket == kNone ? 0 : bracket);
  if (colon == kNone) return {authority, {}};
  return {authority.substr(0, colon), authority.substr(colon + 1)};
}

bool valid_bytes(std::string_view target) {
  return std::all_of(target.begin(), target.end(), [](char c) { return c > ' ' && c < 0x7f && c != '#'; });
}

bool valid_escapes(std::string_view path) {
  for (std::size_t at = path.find('%'); at != kNone; at = path.find('%', at + 3)) {
    if (at + 2 >= path.size() || !is_hex(path[at + 1]) || !is_hex(path[at + 2])) return false;
    if (path[at + 1] == '0' && path[at + 2] == '0') return false;
  }
  return true;
}

// 1 or 2 for "." and "..", also where their dots are encoded.
int dots_of(std::string_view segment) {
  int dots = 0;
  while (!segment.empty()) {
    const std::size_t size = segment[0] == '.' ? 1 : 3;
    if (size == 3 && !equals_nocase(segment.substr(0, 3), "%2e")) return 0;
    segment.remove_prefix(size);
    if (++dots > 2) return 0;
  }
  return dots;
}

// RFC 3986 section 5.2.4 would drop what climbs too far; an application may not.
bool climbs_above_root(std::string_view path) {
  int depth = 0;
  while (!path.empty()) {
    path.remove_prefix(1);  // the slash
    const auto end = std::min(path.find('/'), path.size());
    const std::string_view segment = path.substr(0, end);
    const int dots = dots_of(segment);
    if (dots == 2 && --depth < 0) return true;
    if (dots == 0 && !segment.empty()) ++depth;
    path.remove_prefix(end);
  }
  return false;
}

// path-absolute [ "?" query ]; the path may be missing in absolute-form.
const char* check_path(std::string_view target) {
  const std::string_view path = target.substr(0, target.find('?'));
  if (!valid_escapes(path)) return "bad percent-encoding in the target";
  return climbs_above_root(path) ? "target above its root" : nullptr;
}

}  // namespace

bool valid_authority(std::string_view authority) {
  const auto [host, port] = split(authority);
  if (!valid_port(port)) return false;
  if (!host.starts_with('[')) return valid_name(host);
  if (host.size() < 4 || host.back() != ']') return false;
  const std::string_view address = host.substr(1, host.size() - 2);
  return address.find(':') != kNone &&
         std::all_of(address.begin(), address.end(), [](char c) { return is_hex(c) || c == ':' || c == '.'; });
}

bool same_authority(std::string_view a, std::string_view b) {
  const auto [host_a, port_a] = split(a);
  const auto [host_b, port_b] = split(b);
  const auto port = [](std::string_view text) { return text.empty() ? std::string_view("80") : text; };
  return equals_nocase(host_a, host_b) && port(port_a) == port(port_b);
}

std::string normal_path(std::string_view path) {
  std::string decoded;
  for (std::size_t at = 0; at < path.size(); ++at) {
    if (path[at] == '%' && at + 2 < path.size() && is_hex(path[at + 1]) && is_hex(path[at + 2])) {
      decoded += static_cast<char>(std::stoi(std::string(path.substr(at + 1, 2)), nullptr, 16));
      at += 2;
    } else {
      decoded += path[at];
    }
  }
  std::string out;
  for (std::string_view left = decoded; !left.empty();) {
    left.remove_prefix(left.front() == '/' ? 1 : 0);
    const auto end = std::min(left.find('/'), left.size());
    const std::string_view segment = left.substr(0, end);
    left.remove_prefix(end);
    if (segment == "..") out.resize(out.empty() ? 0 : out.rfind('/'));
    const bool dots = segment == "." || segment == "..";
    if (!dots && !segment.empty()) out.append("/").append(segment);
    if (left.empty() && (dots || segment.empty())) out += '/';
  }
  return out;
}

const char* read_target(std::string_view method, std::string_view target, RequestHead& out) {
  if (target.empty() || !valid_bytes(target)) return "bad target";
  out.target = target;
  out.absolute = false;
  if (target[0] == '/') return check_path(target);
  if (target == "*") return method == "OPTIONS" ? nullptr : "bad target";
  if (target.size() < 8 || !equals_nocase(target.substr(0, 7), "http://")) return "bad target";
  target.remove_prefix(7);
  const auto end = std::min(target.find_first_of("/?"), target.size());
  out.authority = target.substr(0, end);
  if (!valid_authority(out.authority)) return "bad authority in the target";
  out.absolute = true;
  out.target = target.substr(end);  // "" and "?query" get their "/" from the rewriter
  return check_path(out.target);
}

}  // namespace suture
