// Our own chunk framing (RFC 9112 section 7.1), so that it can be computed: each chunk is a size line without leading
// zeros or extensions, the content, CRLF. From a BodyTrack, any place in the stream can be told.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <statesync/body_track.hpp>

namespace suture {

std::string size_line(std::uint32_t content_bytes);  // with CRLF

// Of one `out` offset inside a chunked body.
struct ChunkPlace {
  std::uint64_t content = 0;  // bytes of content before it
  std::size_t chunk = 0;      // index into the track's chunks; their number: behind the last of them
  std::uint64_t skipped = 0;  // bytes of that chunk (size line and all) before it
};
// nullopt: before what the track knows, or behind its last chunk.
std::optional<ChunkPlace> place_of(const BodyTrack& track, std::uint64_t out);
// The end of the last listed chunk.
std::uint64_t chunks_end(const BodyTrack& track);
std::uint64_t content_end(const BodyTrack& track);

}  // namespace suture
