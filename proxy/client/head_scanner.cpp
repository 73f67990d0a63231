#include <algorithm>
#include <cstring>

#include <proxy/client/http_head.hpp>

namespace suture {

HeadScanner::Status HeadScanner::scan(std::string_view buffer) {
  // The first byte of every head is a token's: TLS hellos, stray line ends and the like are told apart at once.
  if (seen_ == 0 && !buffer.empty() && (buffer[0] <= ' ' || buffer[0] >= 0x7f)) return Status::malformed;
  while (seen_ < buffer.size()) {
    const auto at = std::min(buffer.find('\n', seen_), buffer.size());
    if (std::memchr(buffer.data() + seen_, '\0', at - seen_)) return Status::malformed;
    if (at == buffer.size()) {
      seen_ = at;
      break;
    }
    if (at == 0 || buffer[at - 1] != '\r') return Status::malformed;  // a bare LF: two parsers may disagree about it
    seen_ = at + 1;
    if (start_line_bytes_ == 0) start_line_bytes_ = seen_;
    if (at == line_start_ + 1) {
      head_bytes_ = seen_;
      return Status::complete;
    }
    line_start_ = seen_;
  }
  return Status::need_more;
}

}  // namespace suture
