#include <proxy/admin/router.hpp>

#include <stdexcept>

#include <gtest/gtest.h>

namespace suture::admin {
namespace {

TEST(Target, Table) {
  const struct {
    const char* target;
    bool good;
    const char* path;
    const char* limit;  // null: no such parameter
  } rows[] = {
      {"/", true, "/", nullptr},
      {"/sessions?limit=10", true, "/sessions", "10"},
      {"/sessions?limit", true, "/sessions", ""},
      {"/sessions?a=b&limit=1&limit=2&", true, "/sessions", "2"},
      {"/sessions?limit=a%20b+c", true, "/sessions", "a b c"},
      {"/s%2fx", true, "/s/x", nullptr},
      {"", false, "", nullptr},
      {"*", false, "", nullptr},
      {"http://x/", false, "", nullptr},
      {"/%", false, "", nullptr},
      {"/%2", false, "", nullptr},
      {"/?limit=%zz", false, "", nullptr},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.target);
    Request request;
    ASSERT_EQ(parse_target(row.target, request), row.good);
    if (!row.good) continue;
    EXPECT_EQ(request.path, row.path);
    const auto limit = request.parameter("limit");
    ASSERT_EQ(limit.has_value(), row.limit != nullptr);
    if (limit) {
      EXPECT_EQ(*limit, row.limit);
    }
  }
}

TEST(Router, Dispatch) {
  Router router;
  router.handle("GET", "/x", [](const Request&) { return json(200, "{}"); });
  router.handle("POST", "/drain", [](const Request& r) { return text(200, "draining " + r.body); });
  router.handle("GET", "/bad", [](const Request&) -> Response { throw std::runtime_error("boom"); });
  EXPECT_EQ(router.dispatch({"GET", "/x", {}, ""}).content_type, "application/json");
  EXPECT_EQ(router.dispatch({"HEAD", "/x", {}, ""}).status, 200U);
  EXPECT_EQ(router.dispatch({"POST", "/drain", {}, "now"}).body, "draining now\n");
  EXPECT_EQ(router.dispatch({"GET", "/y", {}, ""}).status, 404U);
  const auto refused = router.dispatch({"POST", "/x", {}, ""});
  EXPECT_EQ(refused.status, 405U);
  EXPECT_EQ(refused.allow, "GET, HEAD");
  EXPECT_EQ(router.dispatch({"HEAD", "/drain", {}, ""}).allow, "POST");
  EXPECT_EQ(router.dispatch({"GET", "/bad", {}, ""}).status, 500U);
}

}  // namespace
}  // namespace suture::admin
