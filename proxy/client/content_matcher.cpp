#include <proxy/client/content_matcher.hpp>

#include <algorithm>

namespace suture {

ContentMatcher::ContentMatcher(const BodyMark& mark, std::uint64_t from) : mark_(mark), from_(from) {
  feed({});
}

ContentMatcher::Status ContentMatcher::feed(std::string_view content) {
  if (status_ == Status::mismatch) return status_;
  const auto part = [&](std::uint64_t until) {
    const auto n = static_cast<std::size_t>(std::min<std::uint64_t>(until - std::min(until, fed_), content.size()));
    const std::string_view piece = content.substr(0, n);
    content.remove_prefix(n);
    fed_ += n;
    return piece;
  };
  if (status_ == Status::more && fed_ <= from_) {
    digest_.update(part(from_));
    if (fed_ == from_) before_ = digest_;
  }
  if (status_ == Status::more && fed_ >= from_) {
    const std::string_view piece = part(mark_.content);
    digest_.update(piece);
    held_.append(piece);
    if (fed_ == mark_.content) status_ = digest_.value() == mark_.digest ? Status::matched : Status::mismatch;
  }
  if (status_ == Status::matched) held_.append(content);
  return status_;
}

}  // namespace suture
