#include <proxy/client/chunk_layout.hpp>

#include <algorithm>
#include <charconv>

namespace suture {
namespace {

constexpr std::uint64_t kCrlfBytes = 2;

std::uint64_t wire_bytes(std::uint32_t content) {
  std::uint64_t digits = 1;
  for (std::uint32_t rest = content >> 4; rest != 0; rest >>= 4) ++digits;
  return digits + kCrlfBytes + content + kCrlfBytes;
}

}  // namespace

std::string size_line(std::uint32_t content) {
  char digits[8];
  const auto end = std::to_chars(digits, digits + sizeof digits, content, 16).ptr;
  return std::string(digits, end) + "\r\n";
}

std::optional<ChunkPlace> place_of(const BodyTrack& track, std::uint64_t out) {
  if (out < track.chunks_wire) return std::nullopt;
  ChunkPlace place;
  place.content = track.chunks_content;
  std::uint64_t at = track.chunks_wire;
  for (const std::uint32_t size : track.chunks) {
    const std::uint64_t bytes = wire_bytes(size);
    if (out < at + bytes) {
      place.skipped = out - at;
      const std::uint64_t line = bytes - kCrlfBytes - size;
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

std::uint64_t chunks_end(const BodyTrack& track) {
  std::uint64_t at = track.chunks_wire;
  for (const std::uint32_t size : track.chunks) at += wire_bytes(size);
  return at;
}

std::uint64_t content_end(const BodyTrack& track) {
  std::uint64_t content = track.chunks_content;
  for (const std::uint32_t size : track.chunks) content += size;
  return content;
}

}  // namespace suture
