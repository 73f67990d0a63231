// A repeated response against what a former owner said of the first: the client holds its content up to `from`, and
// possibly bytes out of order up to `need` (`out` offset). Only if a mark at or beyond both is met by the new content,
// what the client holds is its beginning; then everything from `from` on may follow. Sans-I/O.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include <proxy/client/content_digest.hpp>
#include <statesync/body_track.hpp>

namespace suture {

class ContentMatcher {
 public:
  enum class Status : std::uint8_t { more, matched, mismatch };

  // `mark` lies at or behind both (chunk_layout.hpp, mark_beyond).
  ContentMatcher(const BodyMark& mark, std::uint64_t from);

  // Content of the new response from its beginning on. After `matched`: everything else is the caller's.
  Status feed(std::string_view content);
  Status status() const { return status_; }
  // Matched: the content from `from` on that was fed.
  std::string take() { return std::move(held_); }
  // Of the content before `from`. Matched only.
  const ContentDigest& digest() const { return before_; }
  std::uint64_t verified() const { return mark_.wire; }  // `out` offset

 private:
  BodyMark mark_;
  std::uint64_t from_;
  std::uint64_t fed_ = 0;
  ContentDigest digest_, before_;
  std::string held_;
  Status status_ = Status::more;
};

}  // namespace suture
