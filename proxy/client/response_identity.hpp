// What a response's head says its body is: a repeated response must say the same, or its bytes may not follow the first
// one's.
#pragma once

#include <cstdint>

#include <proxy/client/http_head.hpp>

namespace suture {

// XXH3 of the status and the fields that name the representation and its version (RFC 9110 sections 8.3 to 8.8, 14.4):
// type, coding, language, range, validators. Not the length, which framing decides, nor dates and cookies.
std::uint64_t identity_of(const ResponseHead& response);

// 200 and text/event-stream (WHATWG HTML section 9.2.2), without a content coding that hides it.
bool is_event_stream(const ResponseHead& response);

// The application has said, or just shown, that it serves parts of it (RFC 9110 sections 14.3 and 15.3.7).
bool accepts_ranges(const ResponseHead& response);

}  // namespace suture
