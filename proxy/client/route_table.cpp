#include <proxy/client/route_table.hpp>

#include <algorithm>
#include <tuple>

#include <proxy/client/http_head.hpp>
#include <proxy/client/request_target.hpp>

namespace suture {
namespace {

bool is_wildcard(std::string_view host) {
  return host.starts_with("*.");
}

// RFC 3986 section 3.2.2: only a literal in brackets has colons of its own.
std::string_view host_of(std::string_view authority) {
  const auto from = authority.starts_with('[') ? authority.find(']') : 0;
  std::string_view host = authority.substr(0, from == authority.npos ? from : authority.find(':', from));
  if (host.ends_with('.')) host.remove_suffix(1);
  return host;
}

bool fits_host(std::string_view wanted, std::string_view host) {
  if (wanted.empty()) return true;
  if (!is_wildcard(wanted)) return equals_nocase(wanted, host);
  const std::string_view below = wanted.substr(1);  // ".example.org"
  return host.size() > below.size() && equals_nocase(host.substr(host.size() - below.size()), below);
}

// Whether the application may read it as another path than it is.
bool has_other_spellings(std::string_view path) {
  return path.find('%') != path.npos || path.find("//") != path.npos || path.find("/.") != path.npos;
}

bool fits_path(std::string_view wanted, std::string_view path) {
  return path.starts_with(wanted) && (wanted.empty() || path.size() == wanted.size() || path[wanted.size()] == '/');
}

}  // namespace

RouteTable::RouteTable(const std::vector<config::Route>& routes) {
  for (const config::Route& route : routes) order_.push_back(&route);
  const auto rank = [](const config::Route* r) {
    return std::tuple(!r->host.empty(), !is_wildcard(r->host), r->host.size(), r->path.size());
  };
  std::stable_sort(order_.begin(), order_.end() - 1,
                   [&](const config::Route* a, const config::Route* b) { return rank(a) > rank(b); });
}

const config::Route& RouteTable::find(std::string_view authority, std::string_view target) const {
  const std::string_view host = host_of(authority);
  std::string_view path = target.substr(0, target.find('?'));
  std::string normal;
  if (has_other_spellings(path) && path.starts_with('/')) path = normal = normal_path(path);
  for (std::size_t i = 0; i + 1 < order_.size(); ++i)
    if (fits_host(order_[i]->host, host) && fits_path(order_[i]->path, path)) return *order_[i];
  return *order_.back();
}

}  // namespace suture
