// Our own chunk framing (RFC 9112 section 7.1), so that it can be computed: each chunk is a size line without leading
// zeros or extensions, the content, CRLF. From a BodyTrack, any place in the stream can be told.
#pragma once

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <optional>
#include <string>

#include <statesync/body_track.hpp>

namespace suture {

inline std::string size_line(std::uint32_t content_bytes) {  // with CRLF
  char digits[8];
  const auto end = std::to_chars(digits, digits + sizeof digits, content_bytes, 16).ptr;
  return std::string(digits, end) + "\r\n";
}

// Size line, content and CRLF.
inline std::uint64_t chunk_bytes(std::uint32_t content_bytes) {
  std::uint64_t digits = 1;
  for (std::uint32_t rest = content_bytes >> 4; rest != 0; rest >>= 4) ++digits;
  return digits + 2 + content_bytes + 2;
}

// Of one `out` offset inside a chunked body.
struct ChunkPlace {
  std::uint64_t content = 0;  // bytes of content before it
  std::size_t chunk = 0;      // index into the track's chunks; their number: behind the last of them
  std::uint64_t skipped = 0;  // bytes of that chunk (size line and all) before it
};

// nullopt: before what the track knows, or behind its last chunk.
inline std::optional<ChunkPlace> place_of(const BodyTrack& track, std::uint64_t out) {
  if (out < track.chunks_wire) return std::nullopt;
  ChunkPlace place;
  place.content = track.chunks_content;
  std::uint64_t at = track.chunks_wire;
  for (const std::uint32_t size : track.chunks) {
    const std::uint64_t bytes = chunk_bytes(size);
    if (out < at + bytes) {
      place.skipped = out - at;
      const std::uint64_t line = bytes - 2 - size;
      if (place.skipped > line) place.content += std::min<std::uint64_t>(place.skipped - line, size);
      return place;
    }
    at += bytes;
    place.content += size;
    ++place.chunk;
  }
  if (out == at) return place;
  return std::nullopt;
}

// `out` offset of the end of the last listed chunk.
inline std::uint64_t chunks_end(const BodyTrack& track) {
  std::uint64_t at = track.chunks_wire;
  for (const std::uint32_t size : track.chunks) at += chunk_bytes(size);
  return at;
}

// What of the track still holds if only what lies below `verified` is certain to be written as it says: behind that,
// the chunks and the content are another's.
inline BodyTrack track_until(const BodyTrack& track, std::uint64_t verified) {
  BodyTrack kept = track;
  kept.tail.clear();
  std::erase_if(kept.marks, [&](const BodyMark& mark) { return mark.wire > verified; });
  std::uint64_t at = kept.chunks_wire;
  std::size_t chunks = 0;
  for (; chunks < kept.chunks.size() && at < verified; ++chunks) at += chunk_bytes(kept.chunks[chunks]);
  kept.chunks.resize(chunks);
  return kept;
}

// The first that covers everything up to `out` and `content`; nullptr: none.
inline const BodyMark* mark_beyond(const BodyTrack& track, std::uint64_t out, std::uint64_t content) {
  for (const BodyMark& mark : track.marks)
    if (mark.wire >= out && mark.content >= content) return &mark;
  return nullptr;
}

}  // namespace suture
