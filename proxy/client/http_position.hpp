// Where the messages of an HTTP/1.1 connection start and end, in offsets of the client's two streams.
//
//   in:   ... request_start [ head ] request_head_end [ body ] | next request ...
//   out:  ... response_start [ head ] response_head_end [ body ] response_end ...
//
// Until the final response begins, response_end is the end of the last message that was sent: of the last response, or
// of an interim (1xx) one; response_start is then where the interim ones began.
// Calls in the order of an exchange: request_begins, request_head, request_complete (any time before exchange_over),
// interim, response_head, response_ends, exchange_over. An error response of the proxy may follow any of them.
// acknowledged() at any time.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include <proxy/client/http_head.hpp>

namespace suture {

class HttpPosition {
 public:
  // Above this (codec.hpp has the same limit) the record does without the head: no heir can replay the request.
  static constexpr std::size_t kRecordedHeadBytesMax = 64 * 1024;

  explicit HttpPosition(HttpState& state) : state_(state) {}

  void request_begins(std::uint64_t in);
  void request_head(std::uint64_t in_end, const RequestHead& head, std::shared_ptr<const std::string> bytes);
  // `in_end`: first byte behind the body.
  void request_complete(std::uint64_t in_end);
  // One of possibly several before the response proper.
  void interim(std::uint64_t out, std::uint64_t bytes, bool first);
  // `out`: first byte of the head, `head_bytes` long; then a body of `framing`. Its end is known at once where the
  // framing tells it.
  void response_head(std::uint64_t out, std::uint64_t head_bytes, unsigned status, BodyFraming framing,
                     std::uint64_t length, std::string_view strong_etag, bool keep_alive);
  // Of the response whose head was just told.
  void response_coding(std::string_view content_coding);
  void response_range(const ContentRange& range);
  void response_ends(std::uint64_t out) { state_.response_end = out; }
  // `out_acked`: as far as the client has acknowledged. A response that it does not have completely is kept.
  void exchange_over(std::uint64_t out_acked);
  void upgraded() { state_.phase = HttpPhase::upgraded; }
  // Forgets the answered exchanges that the client has completely.
  void acknowledged(std::uint64_t out_acked);

 private:
  HttpState& state_;
};

}  // namespace suture
