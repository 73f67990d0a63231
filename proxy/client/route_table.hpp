// Which route a request takes (docs/configuration.md, listeners[].routes). Pure.
//
// The target is compared as the client wrote it: percent-encoding is not decoded, "." and ".." and empty segments are
// not resolved, because what an application makes of them is its own affair. A route is no access control.
#pragma once

#include <string_view>
#include <vector>

#include <proxy/config/config.hpp>

namespace suture {

class RouteTable {
 public:
  // `routes` outlives the table; its last element takes what no other does.
  explicit RouteTable(const std::vector<config::Route>& routes);

  // `authority`: of Host or of an absolute target, "" without either; any case, with or without port and final dot.
  // `target`: in the form that is passed on (RequestHead::target).
  const config::Route& find(std::string_view authority, std::string_view target) const;

 private:
  std::vector<const config::Route*> order_;  // most specific first, the default one last
};

}  // namespace suture
