// Where a message body ends (RFC 9112 sections 6 and 7). Counts and checks; the bytes themselves are passed on as they
// came, chunk framing and trailers included, so an offset means the same on both sides of the proxy.
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
  // content without chunk framing (for HTTP/1.0 clients).
  std::size_t feed(std::string_view in, std::string* payload = nullptr);
  // The sender closed: the end of an until_close body, the truncation of any other.
  Status finish_at_eof();

  Status status() const { return status_; }
  bool done() const { return status_ == Status::done; }
  BodyFraming framing() const { return framing_; }
  std::uint64_t content_bytes() const { return content_bytes_; }  // so far, without chunk framing

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
    trailer,
    trailer_lf,
    end_lf
  };
  std::size_t feed_chunked(std::string_view in, std::string* payload);
  bool step(char c);

  // A peer cannot make us look at framing for ever without sending content: RFC 9112 section 7.1.1.
  static constexpr std::uint32_t kExtensionBytesMax = 256;
  static constexpr std::uint32_t kTrailerBytesMax = 8 * 1024;

  BodyFraming framing_ = BodyFraming::none;
  Status status_ = Status::done;
  At at_ = At::size;
  std::uint8_t digits_ = 0;
  std::uint32_t line_bytes_ = 0;  // of the extension or of all trailers
  std::uint64_t left_ = 0;        // of the length or of the chunk
  std::uint64_t content_bytes_ = 0;
};

}  // namespace suture
