// Which route a request takes (docs/configuration.md, listeners[].routes). Pure.
//
// Another spelling of a path (percent-encodings, "." and ".." and empty segments) takes the same route, as applications
// read it the same way; the target is passed on as it came. A route is no access control all the same.
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
