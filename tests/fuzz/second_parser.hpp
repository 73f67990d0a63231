// Somebody else's HTTP/1.1 parser: http-parser (Node.js until version 12, and much else). What we pass on must be the
// same messages for it as for us.
//
// Where it differs by design, which callers allow for: it knows a fixed list of methods; it takes an upgrade that we
// would not; a message with Connection: close is the stream's last for it. That a 304 has no content (RFC 9112 section
// 6.3) it must be told. And it has a mistake: a field whose name only begins with Transfer-Encoding is one for it.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace suture::fuzz {

using FieldList = std::vector<std::pair<std::string, std::string>>;

struct Message {
  std::string method, target;  // of a request
  unsigned status = 0;         // of a response
  FieldList fields;
  FieldList trailers;
  std::string content;
  bool complete = false;
};

struct SecondReading {
  std::vector<Message> messages;  // those whose head is complete; the last may be incomplete
  std::string error;              // empty: none
  bool unknown_method = false;
  bool upgrade = false;  // it read no further
};

// `eof`: the stream ends behind `bytes`.
SecondReading read_requests(std::string_view bytes);
SecondReading read_responses(std::string_view bytes, bool eof);

}  // namespace suture::fuzz
