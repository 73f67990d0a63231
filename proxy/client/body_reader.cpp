#include <algorithm>

#include <proxy/client/body_reader.hpp>
#include <proxy/client/trailer_fields.hpp>

namespace suture {
namespace {

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

bool is_text(char c) {
  return c == '\t' || (static_cast<unsigned char>(c) >= ' ' && c != 0x7f);
}

}  // namespace

std::size_t BodyReader::feed(std::string_view in, std::string* payload) {
  if (status_ != Status::more) return 0;
  if (framing_ == BodyFraming::chunked) return feed_chunked(in, payload);
  std::size_t n = in.size();
  if (framing_ == BodyFraming::length) {
    n = static_cast<std::size_t>(std::min<std::uint64_t>(left_, n));
    left_ -= n;
    if (left_ == 0) status_ = Status::done;
  }
  content_bytes_ += n;
  if (payload) payload->append(in.substr(0, n));
  return n;
}

BodyReader::Status BodyReader::finish_at_eof() {
  if (status_ == Status::more) status_ = framing_ == BodyFraming::until_close ? Status::done : Status::malformed;
  return status_;
}

std::size_t BodyReader::feed_chunked(std::string_view in, std::string* payload) {
  std::size_t i = 0;
  while (i < in.size() && status_ == Status::more) {
    if (at_ == At::data) {
      const auto n = static_cast<std::size_t>(std::min<std::uint64_t>(left_, in.size() - i));
      if (payload) payload->append(in.substr(i, n));
      content_bytes_ += n;
      left_ -= n;
      i += n;
      if (left_ == 0) at_ = At::data_cr;
      continue;
    }
    if (!step(in[i])) {
      status_ = Status::malformed;
      return i;
    }
    ++i;
  }
  return i;
}

// One byte of framing. False: malformed.
bool BodyReader::step(char c) {
  switch (at_) {
    case At::size: {
      if (const int digit = hex_value(c); digit >= 0) {
        // 15 digits: more than any body, and no overflow.
        if (++digits_ > 15) return false;
        left_ = left_ * 16 + static_cast<std::uint64_t>(digit);
        return true;
      }
      if (digits_ == 0) return false;
      line_bytes_ = 0;
      if (c == ';') return at_ = At::extension, true;
      if (c == '\r') return at_ = At::size_lf, true;
      return false;
    }
    case At::extension:
      if (c == '\r') return at_ = At::size_lf, true;
      return is_text(c) && ++line_bytes_ <= kExtensionBytesMax &&
             ++extension_bytes_ <= kExtensionsBytesMax + content_bytes_;
    case At::size_lf:
      if (c != '\n') return false;
      at_ = left_ == 0 ? At::trailer_start : At::data;
      digits_ = 0;
      line_bytes_ = 0;
      return true;
    case At::data:
      return false;
    case At::data_cr:
      return at_ = At::data_lf, c == '\r';
    case At::data_lf:
      return at_ = At::size, c == '\n';
    case At::trailer_start:
    case At::trailer_name:
    case At::trailer_value:
    case At::trailer_lf:
      return step_trailer(c);
    case At::end_lf:
      status_ = Status::done;
      return c == '\n';
  }
  return false;
}

// field-line CRLF (RFC 9112 section 5): a token, the colon right behind it, no fold.
bool BodyReader::step_trailer(char c) {
  if (at_ == At::trailer_start && c == '\r') return at_ = At::end_lf, true;
  if (++line_bytes_ > kTrailerBytesMax) return false;
  trailer_.push_back(c);
  switch (at_) {
    case At::trailer_start:
      at_ = At::trailer_name;
      return is_token_char(c);
    case At::trailer_name:
      if (c != ':') return is_token_char(c);
      name_bytes_ = static_cast<std::uint32_t>(trailer_.size() - 1);
      at_ = At::trailer_value;
      return true;
    case At::trailer_value:
      if (c == '\r') return at_ = At::trailer_lf, true;
      return is_text(c);
    default:
      return c == '\n' && take_trailer();
  }
}

bool BodyReader::take_trailer() {
  if (allowed_in_trailers(std::string_view(trailer_).substr(0, name_bytes_)))
    trailers_ += trailer_;
  else
    ++trailers_dropped_;
  trailer_.clear();
  at_ = At::trailer_start;
  return true;
}

}  // namespace suture
