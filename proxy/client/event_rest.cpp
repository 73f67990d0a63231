#include <proxy/client/event_rest.hpp>

#include <algorithm>

#include <proxy/client/event_scanner.hpp>

namespace suture {
namespace {

constexpr std::string_view kBom = "\xef\xbb\xbf";

// Bytes of a first block of comments and `retry` alone, with its empty line. 0: it is no such block; nullopt: more has
// to come before that can be told.
std::optional<std::size_t> silent_block(std::string_view stream) {
  constexpr std::string_view kRetry = "retry:";
  for (std::size_t at = 0;;) {
    const std::size_t end = stream.find_first_of("\r\n", at);
    const std::string_view line = stream.substr(at, end == std::string_view::npos ? end : end - at);
    const bool cut = end == std::string_view::npos;
    const bool silent = line.empty() || line.front() == ':' || line.starts_with(kRetry) ||
                        (cut && kRetry.starts_with(line)) || line == kRetry.substr(0, kRetry.size() - 1);
    if (!silent) return 0;
    if (cut) return std::nullopt;
    const bool cr = stream[end] == '\r';
    if (cr && end + 1 == stream.size()) return std::nullopt;
    at = end + (cr && stream[end + 1] == '\n' ? 2 : 1);
    if (line.empty()) return at;
  }
}

}  // namespace

bool begins_stream(std::string_view partial, std::uint64_t content) {
  return content == partial.size() && partial.size() < kBom.size() && kBom.starts_with(partial);
}

EventRest rest_of_events(std::string_view stream, std::string_view partial, bool begins, bool last) {
  std::size_t at = 0;
  if (!begins) {
    if (!last && stream.size() < kBom.size() && kBom.starts_with(stream)) return {};
    if (stream.starts_with(kBom)) at = kBom.size();
  }
  for (;;) {
    const std::string_view rest = stream.substr(at);
    if (rest.starts_with(partial)) return {true, at + partial.size()};
    if (partial.starts_with(rest)) return {!last, std::nullopt};
    const auto silent = silent_block(rest);
    if (!silent) return {!last && stream.size() <= EventScanner::kPartialBytesMax + partial.size(), std::nullopt};
    if (*silent == 0) return {false, std::nullopt};
    at += *silent;
  }
}

}  // namespace suture
