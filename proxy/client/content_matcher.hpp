// A repeated response against what a former owner said of the first: the client holds its content up to `from`, and
// possibly more out of order. Only if a mark at or beyond both (the caller chooses it) is met by the new content, what
// the client holds is its beginning; then everything from `from` on may follow. Sans-I/O.
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

  // `mark` lies at or behind both (chunk_layout.hpp, mark_beyond). `keep`: so many bytes before `from` are wanted back.
  ContentMatcher(const BodyMark& mark, std::uint64_t from, std::uint32_t keep = 0);
  // Where the content that feed() wants begins: 0, or behind it if the mark does not cover all.
  std::uint64_t start() const { return start_; }

  // Content of the new response from start() on. After `matched`: everything else is the caller's.
  Status feed(std::string_view content);
  Status status() const { return status_; }
  // Matched: the content from `from` on that was fed.
  std::string take() { return std::move(held_); }
  // The last `keep` bytes, or more, of what was fed before `from`. Matched only.
  std::string take_before() { return std::move(skipped_); }
  // Of the content before `from`. Matched only.
  const ContentDigest& digest() const { return before_; }
  std::uint64_t verified() const { return mark_.wire; }  // `out` offset

 private:
  BodyMark mark_;
  std::uint64_t from_;
  std::uint32_t keep_;
  std::uint64_t start_;
  std::uint64_t fed_;
  ContentDigest digest_, before_;
  std::string held_, skipped_;
  Status status_ = Status::more;
};

}  // namespace suture
