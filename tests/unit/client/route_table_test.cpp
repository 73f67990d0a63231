#include <proxy/client/route_table.hpp>

#include <gtest/gtest.h>

namespace suture {
namespace {

config::Route route(const char* host, const char* path) {
  config::Route r;
  r.host = host;
  r.path = path;
  return r;
}

// In no good order: the table makes its own.
const std::vector<config::Route> kRoutes{
    route("", "/api"),
    route("*.example.org", ""),
    route("www.example.org", "/api"),
    route("*.b.example.org", ""),
    route("www.example.org", "/api/v2"),
    route("", "/api/v2/deep"),
    route("[2001:db8::1]", ""),
    route("192.0.2.1", ""),
    route("", ""),  // the default
};

std::string name(const config::Route& r) {
  if (&r == &kRoutes.back()) return "default";
  return r.host + ' ' + r.path;
}

TEST(RouteTable, Requests) {
  const RouteTable table(kRoutes);
  const struct {
    const char *authority, *target, *wanted;
  } rows[] = {
      // Paths end where segments do.
      {"x", "/api", " /api"},
      {"x", "/api/", " /api"},
      {"x", "/api/x", " /api"},
      {"x", "/api?x=/y", " /api"},
      {"x", "/apix", "default"},
      {"x", "/ap", "default"},
      {"x", "/", "default"},
      {"x", "/x?/api", "default"},
      {"x", "", "default"},
      {"x", "?/api", "default"},
      {"x", "*", "default"},
      {"x", "/api/v2/deep/er", " /api/v2/deep"},
      {"x", "/api/v2/deeper", " /api"},
      // Other spellings.
      {"x", "/%61pi", " /api"},
      {"x", "//api", " /api"},
      {"x", "/API", "default"},
      {"x", "/x/../api", " /api"},
      {"x", "/x/%2E%2e/api", " /api"},
      {"x", "/./api/.", " /api"},
      {"x", "/api/../x", "default"},
      {"x", "/api/..", "default"},
      {"x", "/api%2Fv2", " /api"},
      {"x", "/api%2Fv2%2Fdeep", " /api/v2/deep"},
      {"x", "/api/v2//deep/", " /api/v2/deep"},
      {"x", "/%2561pi", "default"},
      {"x", "/api%3F", "default"},
      {"x", "/x?/../api", "default"},
      {"x", "/../api", " /api"},
      {"x", "//", "default"},
      // Hosts.
      {"www.example.org", "/api", "www.example.org /api"},
      {"WWW.Example.ORG", "/api", "www.example.org /api"},
      {"www.example.org.", "/api", "www.example.org /api"},
      {"www.example.org:8080", "/api", "www.example.org /api"},
      {"www.example.org.:80", "/api", "www.example.org /api"},
      {"www.example.org:", "/api/v2/x", "www.example.org /api/v2"},
      {"www.example.org", "/api/v2/deep", "www.example.org /api/v2"},
      // Its host has no such path: less specific ones go on.
      {"www.example.org", "/x", "*.example.org "},
      {"a.example.org", "/api", "*.example.org "},
      {"a.b.example.org", "/api", "*.b.example.org "},
      {"b.example.org", "/", "*.example.org "},
      {"a.c.example.org", "/", "*.example.org "},
      {"example.org", "/api", " /api"},
      {".example.org", "/", "default"},
      {"xexample.org", "/", "default"},
      {"example.org.evil", "/", "default"},
      {"", "/api", " /api"},
      {"", "/", "default"},
      {"*.example.org", "/", "*.example.org "},
      // Literals.
      {"[2001:db8::1]", "/", "[2001:db8::1] "},
      {"[2001:DB8::1]:8080", "/", "[2001:db8::1] "},
      {"[2001:db8::2]", "/", "default"},
      {"[2001:db8::1", "/", "default"},
      {"192.0.2.1:80", "/", "192.0.2.1 "},
  };
  for (const auto& row : rows)
    EXPECT_EQ(name(table.find(row.authority, row.target)), row.wanted) << row.authority << ' ' << row.target;
}

TEST(RouteTable, OnlyTheDefault) {
  const std::vector<config::Route> routes(1);
  EXPECT_EQ(&RouteTable(routes).find("a", "/b"), &routes[0]);
}

// A route without host and path comes before the listener's own.
TEST(RouteTable, ARouteForEverything) {
  const std::vector<config::Route> routes{route("", ""), route("", "/a"), route("", "")};
  const RouteTable table(routes);
  EXPECT_EQ(&table.find("h", "/a"), &routes[1]);
  EXPECT_EQ(&table.find("h", "/b"), &routes[0]);
}

}  // namespace
}  // namespace suture
