// Where a message body ends (RFC 9112 sections 6 and 7), what its content is, and which trailer fields come behind it.
// Checks everything: what two parsers might take in two ways is malformed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include <statesync/record.hpp>

namespace suture {

class BodyReader {
 public:
  enum class Status : std::uint8_t { more, done, malformed };

  BodyReader() = default;  // no body: done
  BodyReader(BodyFraming framing, std::uint64_t length) : framing_(framing), left_(length) {
    if (framing == BodyFraming::none || (framing == BodyFraming::length && length == 0))
      status_ = Status::done;
    else
      status_ = Status::more;
  }

  // How many bytes of `in` belong to this body; all of them unless it ends within. `payload`, if given, gets the
  // content without chunk framing appended.
  std::size_t feed(std::string_view in, std::string* payload = nullptr);
  // The sender closed: the end of an until_close body, the truncation of any other.
  Status finish_at_eof();

  Status status() const { return status_; }
  bool done() const { return status_ == Status::done; }
  BodyFraming framing() const { return framing_; }
  std::uint64_t content_bytes() const { return content_bytes_; }  // so far, without chunk framing

  // Chunked only: the trailer fields as they were received, each with its CRLF, without the empty line. Whole lines at
  // any time; complete when done(). Without those that may not stand there (trailer_fields.hpp).
  const std::string& trailers() const { return trailers_; }
  unsigned trailers_dropped() const { return trailers_dropped_; }

  // All trailer lines of a body, dropped ones included; more is malformed.
  static constexpr std::uint32_t kTrailerBytesMax = 8 * 1024;

 private:
  // What the next byte of a chunked body is part of.
  enum class At : std::uint8_t {
    size,
    extension,
    size_lf,
    data,
    data_cr,
    data_lf,
    trailer_start,
    trailer_name,
    trailer_value,
    trailer_lf,
    end_lf
  };
  std::size_t feed_chunked(std::string_view in, std::string* payload);
  bool step(char c);
  bool step_trailer(char c);
  bool take_trailer();

  // A peer cannot make us look at framing for ever without sending content: RFC 9112 section 7.1.1. Of one chunk, and
  // of all of them beyond as many bytes as there is content.
  static constexpr std::uint32_t kExtensionBytesMax = 256;
  static constexpr std::uint64_t kExtensionsBytesMax = 16 * 1024;

  BodyFraming framing_ = BodyFraming::none;
  Status status_ = Status::done;
  At at_ = At::size;
  std::uint8_t digits_ = 0;
  std::uint32_t line_bytes_ = 0;  // of the extension or of all trailers
  std::uint32_t name_bytes_ = 0;  // of the trailer under way
  unsigned trailers_dropped_ = 0;
  std::uint64_t left_ = 0;  // of the length or of the chunk
  std::uint64_t content_bytes_ = 0;
  std::uint64_t extension_bytes_ = 0;
  std::string trailers_, trailer_;  // complete lines; the line under way
};

}  // namespace suture
