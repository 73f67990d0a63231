// HTTP/1.1 message heads (RFC 9112): found, checked and understood; nothing of this touches a socket.
//
// A head is handled in three steps: HeadScanner finds where it ends (and refuses at once what cannot become a head),
// parse_request_head()/parse_response_head() check it and take it apart, head_rewriter makes the one that is passed on.
// Names, values and targets are views into the head's bytes; the field list is reused from head to head.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <proxy/client/replay_rule.hpp>
#include <statesync/record.hpp>

namespace suture {

// What is wrong with a message, roughly: the label under which its refusal is counted.
enum class Refusal : std::uint8_t {
  malformed,    // bytes, lines, names, values against the grammar
  framing,      // where the message ends could be read in two ways: request smuggling
  target,       // so could what it is for
  unsupported,  // well-formed, and not for this proxy
  too_large,
};

// A refusal: the status that the client is told, and why (counted and logged).
struct HeadError {
  unsigned status = 0;
  const char* reason = "";
  Refusal kind = Refusal::malformed;
};

// What a field means to a proxy.
enum class FieldKind : std::uint8_t {
  end_to_end,
  connection,         // Connection, Keep-Alive, Proxy-Connection, TE, HTTP2-Settings, what Connection names: dropped
  transfer_encoding,  // decides the framing here; written anew
  content_length,
  host,
  upgrade,
  via,
  forwarded,   // X-Forwarded-*: ours to say
  suture,      // Suture-*: between this proxy and the application only
  request_id,  // X-Request-Id
};

struct Field {
  std::string_view name;
  std::string_view value;  // without surrounding white space
  FieldKind kind = FieldKind::end_to_end;
};

struct RequestHead {
  std::string_view method;
  std::string_view target;     // in the form to pass on: origin-form, or "*"
  std::string_view authority;  // of an absolute-form target: replaces Host (RFC 9112 section 3.2.2); else Host's value
  bool absolute = false;
  unsigned minor = 1;  // of HTTP/1.x
  std::vector<Field> fields;
  BodyFraming framing = BodyFraming::none;
  std::uint64_t length = 0;
  bool keep_alive = true;  // as the client asks
  bool upgrade = false;    // asks for one, with Connection: upgrade
  std::string_view request_id;
};

// Content-Range of a 206 that is one range of a representation of known length (RFC 9110 section 14.4).
struct ContentRange {
  std::uint64_t start = 0, total = 0;
};

struct ResponseHead {
  unsigned status = 0;
  unsigned minor = 1;
  std::string_view reason;
  std::vector<Field> fields;
  BodyFraming framing = BodyFraming::none;
  std::uint64_t length = 0;
  bool keep_alive = true;  // the upstream connection stays usable after this message
  bool upgrade = false;
  std::string_view strong_etag;
  std::string_view content_coding;
  std::optional<ContentRange> content_range;  // and the framing's length agrees with it
};

// Finds the end of a head in a growing buffer without looking at a byte twice.
class HeadScanner {
 public:
  enum class Status : std::uint8_t { need_more, complete, malformed };
  // `buffer`: everything since the head's first byte. Looks at what is new since the last call.
  Status scan(std::string_view buffer);
  std::size_t head_bytes() const { return head_bytes_; }  // complete: with the empty line
  // The start line, with its CRLF; as much of it as has been seen while it is not complete.
  std::size_t start_line_bytes() const { return start_line_bytes_ != 0 ? start_line_bytes_ : seen_; }
  bool line_seen() const { return line_start_ != 0; }  // the first one, complete
  void reset() { *this = {}; }

 private:
  std::size_t seen_ = 0;        // bytes looked at
  std::size_t line_start_ = 0;  // of the line under way
  std::size_t head_bytes_ = 0;
  std::size_t start_line_bytes_ = 0;
};

// `head` ends with its empty line. nullopt: fine.
std::optional<HeadError> parse_request_head(std::string_view head, RequestHead& out);
// `request_method` decides whether there is a body. The error's status is 502.
std::optional<HeadError> parse_response_head(std::string_view head, std::string_view request_method, ResponseHead& out);

bool equals_nocase(std::string_view a, std::string_view b);
// Whether a comma-separated list has this token, without regard to case.
bool list_has(std::string_view list, std::string_view token);

}  // namespace suture
