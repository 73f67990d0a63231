// Where a repeated text/event-stream response goes on for a client that stands in the middle of the first one's
// (WHATWG HTML, section 9.2): behind the event that it has half of.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace suture {

// The client has nothing of the stream, or a part of its byte order mark: `content` bytes in all, `partial` of them of
// the block under way (EventScanner::partial).
bool begins_stream(std::string_view partial, std::uint64_t content);

struct EventRest {
  bool follows = true;              // false: it is another stream, or too much comes in front of the event
  std::optional<std::size_t> from;  // of `stream`: what goes to the client begins here; absent: more has to come first
};

// `stream`: the new response's content so far; `last`: all of it. Its byte order mark is no part of a stream that goes
// on, nor are blocks in front of the event under way that dispatch nothing: an application may greet each connection
// with comments, or say `retry`.
EventRest rest_of_events(std::string_view stream, std::string_view partial, bool begins, bool last);

}  // namespace suture
