#include <proxy/client/trailer_fields.hpp>

#include <algorithm>
#include <array>

#include <proxy/client/http_head.hpp>

namespace suture {
namespace {

constexpr std::array<std::string_view, 42> kForbidden = {
    // framing and the connection
    "transfer-encoding", "trailer", "te", "connection", "keep-alive", "proxy-connection", "upgrade", "http2-settings",
    // routing
    "host", "via", "forwarded", "max-forwards", "x-request-id", "x-real-ip", "x-served-by",
    // authentication and state
    "authorization", "cookie", "cookie2", "set-cookie", "set-cookie2", "www-authenticate", "authentication-info",
    // how the request is to be taken
    "cache-control", "pragma", "expect", "range", "if-match", "if-none-match", "if-modified-since",
    "if-unmodified-since", "if-range", "early-data",
    // how the response is to be taken
    "age", "date", "expires", "location", "retry-after", "vary", "warning", "allow", "alt-svc", "origin"};

// Whole families: Content-Length, -Type, -Encoding, -Range ...; Proxy-Authorization ...; what is ours to say.
constexpr std::array<std::string_view, 4> kForbiddenPrefixes = {"content-", "proxy-", "suture-", "x-forwarded-"};

}  // namespace

bool is_token_char(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
         (c != '\0' && std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos);
}

bool allowed_in_trailers(std::string_view name) {
  // The one of its family that was made for trailers (RFC 9530 section 6.4 and appendix B.7).
  if (equals_nocase(name, "content-digest")) return true;
  const auto is = [&](std::string_view forbidden) { return equals_nocase(name, forbidden); };
  const auto begins = [&](std::string_view prefix) { return equals_nocase(name.substr(0, prefix.size()), prefix); };
  return std::none_of(kForbidden.begin(), kForbidden.end(), is) &&
         std::none_of(kForbiddenPrefixes.begin(), kForbiddenPrefixes.end(), begins);
}

}  // namespace suture
