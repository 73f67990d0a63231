// Which fields may come behind the content (RFC 9110 section 6.5.1).
#pragma once

#include <string_view>

namespace suture {

// False for what decides about framing, routing, authentication, how the request or the content is to be processed, and
// for what this proxy says itself: such a field is read with the head or not at all.
bool allowed_in_trailers(std::string_view name);

// token of RFC 9110 section 5.6.2: what methods, field names and options are made of.
bool is_token_char(char c);

}  // namespace suture
