// The request target and Host (RFC 9112 section 3.2, RFC 9110 section 7.2): what could be taken for two different
// places, by two parsers, is neither passed on nor routed.
#pragma once

#include <string>
#include <string_view>

#include <proxy/client/http_head.hpp>

namespace suture {

// uri-host [ ":" port ] of RFC 3986, not empty, without userinfo, percent-encodings and commas.
bool valid_authority(std::string_view authority);

// For plain HTTP: without regard to case, and port 80 is the same as none.
bool same_authority(std::string_view a, std::string_view b);

// What most applications make of a path that begins with a slash: percent-encodings decoded, empty and "." segments
// dropped, ".." resolved (RFC 3986 section 5.2.4, after decoding, as nginx does it for its locations).
std::string normal_path(std::string_view path);

// Sets target, absolute and, of an absolute-form target, authority. nullptr: fine; else why not. Refused beyond the
// grammar, as nginx and HAProxy do: bytes that are not printable ASCII, a fragment, broken percent-encodings and %00
// in the path, a path that climbs above its root.
const char* read_target(std::string_view method, std::string_view target, RequestHead& out);

}  // namespace suture
