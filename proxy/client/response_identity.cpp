#include <proxy/client/response_identity.hpp>

#include <algorithm>
#include <array>
#include <cctype>
#include <string>

#include <proxy/client/content_digest.hpp>

namespace suture {
namespace {

constexpr auto kNaming = std::to_array<std::string_view>({"content-type", "content-encoding", "content-language",
                                                          "content-range", "content-location", "etag", "last-modified",
                                                          "content-digest", "repr-digest", "digest", "content-md5"});

}  // namespace

std::uint64_t identity_of(const ResponseHead& response) {
  std::string all = std::to_string(response.status);
  for (const std::string_view name : kNaming)
    for (const Field& field : response.fields)
      if (equals_nocase(field.name, name)) all.append("\n").append(name).append(":").append(field.value);
  return hash64(all);
}

bool is_event_stream(const ResponseHead& response) {
  if (response.status != 200) return false;
  bool events = false;
  for (const Field& field : response.fields) {
    if (equals_nocase(field.name, "content-encoding")) return false;
    if (!equals_nocase(field.name, "content-type")) continue;
    const std::string_view type = field.value.substr(0, field.value.find(';'));
    events = equals_nocase(type.substr(0, type.find_last_not_of(" \t") + 1), "text/event-stream");
  }
  return events;
}

bool accepts_ranges(const ResponseHead& response) {
  return response.status == 206 || std::any_of(response.fields.begin(), response.fields.end(), [](const Field& field) {
           return equals_nocase(field.name, "accept-ranges") && equals_nocase(field.value, "bytes");
         });
}

}  // namespace suture
