// What lets an heir continue a response body that no validator vouches for, and an event stream. The owner writes the
// framing of chunked bodies itself, so that it can be computed.
//
//   out:  ... response_head_end | size line, content, CRLF | size line, content, CRLF | ... | tail
//             chunks_wire (of the first chunk listed)                mark: end of a chunk
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace suture {

// A prefix of the content, and where it ends in the stream. Sent ahead of the bytes that it covers.
struct BodyMark {
  std::uint64_t wire = 0;                 // `out` offset
  std::uint64_t content = 0;              // bytes without chunk framing, from the body's beginning
  std::array<std::uint8_t, 16> digest{};  // of them: XXH3, 128 bits, canonical form
  std::uint64_t from = 0;                 // ... or only of those from here on (a route's verify_tail)
  friend bool operator==(const BodyMark&, const BodyMark&) = default;
};

struct BodyTrack {
  std::uint64_t fields = 0;  // XXH3, 64 bits, of the head's fields that say what the body is (response_identity)
  // Chunked only: content bytes of each chunk, from the one at chunks_wire on. What the client has acknowledged is left
  // out; the last ends where the record's knowledge ends.
  std::uint64_t chunks_wire = 0;
  std::uint64_t chunks_content = 0;  // content before it
  std::vector<std::uint32_t> chunks;
  std::vector<BodyMark> marks;  // ascending, above what the client has acknowledged
  std::string tail;             // chunked, its end known: last chunk and trailer section
  // text/event-stream (WHATWG HTML, server-sent events): as of the end of the journal.
  bool events = false;
  bool identified = false;    // it can be asked for again: behind last_event_id, or from its beginning
  std::string last_event_id;  // of the last complete event
  std::string partial_event;  // content of the event under way

  static constexpr std::size_t kChunksMax = 1024;
  static constexpr std::size_t kMarksMax = 128;
  friend bool operator==(const BodyTrack&, const BodyTrack&) = default;
};

inline std::size_t content_bytes(const BodyTrack& track) {
  return track.tail.size() + track.last_event_id.size() + track.partial_event.size();
}

}  // namespace suture
