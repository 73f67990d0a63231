#include <proxy/client/content_matcher.hpp>

#include <algorithm>

namespace suture {

ContentMatcher::ContentMatcher(const BodyMark& mark, std::uint64_t from, std::uint32_t keep)
    : mark_(mark), from_(from), keep_(keep), start_(std::min(mark.from, from)), fed_(start_) {
  feed({});
}

ContentMatcher::Status ContentMatcher::feed(std::string_view content) {
  if (status_ == Status::mismatch) return status_;
  const auto part = [&](std::uint64_t until) {
    const auto n = static_cast<std::size_t>(std::min<std::uint64_t>(until - std::min(until, fed_), content.size()));
    const std::string_view piece = content.substr(0, n);
    content.remove_prefix(n);
    // What lies before the mark's own beginning is not covered by its digest.
    const std::uint64_t uncovered = mark_.from - std::min(mark_.from, fed_);
    fed_ += n;
    digest_.update(piece.substr(static_cast<std::size_t>(std::min<std::uint64_t>(uncovered, n))));
    return piece;
  };
  if (status_ == Status::more && fed_ <= from_) {
    const std::string_view piece = part(from_);
    if (keep_ != 0) skipped_.append(piece);
    if (skipped_.size() > 2 * std::size_t{keep_}) skipped_.erase(0, skipped_.size() - keep_);
    if (fed_ == from_) before_ = digest_;
  }
  if (status_ == Status::more && fed_ >= from_) {
    held_.append(part(mark_.content));
    if (fed_ == mark_.content) status_ = digest_.value() == mark_.digest ? Status::matched : Status::mismatch;
  }
  if (status_ == Status::matched) held_.append(content);
  return status_;
}

}  // namespace suture
