// What must be true of any bytes that a client or an application sends. Each check returns what is wrong, or nothing;
// fuzzers and the mutation test share them.
#pragma once

#include <string>
#include <string_view>

namespace suture::fuzz {

// A connection's requests, taken apart, passed on and chunked anew as HttpSession does:
// - where the bytes are cut makes no difference;
// - what is passed on, we and the second parser read as the messages that came in;
// - the second parser reads what came in as we do, or refuses it.
std::string check_requests(std::string_view bytes);

// The same of the answers to one GET.
std::string check_responses(std::string_view bytes);

// Of a chunked body alone, cut at `cut`.
std::string check_chunked(std::string_view bytes, std::size_t cut);

}  // namespace suture::fuzz
