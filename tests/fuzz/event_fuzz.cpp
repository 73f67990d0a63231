// libFuzzer: clang++ -std=c++20 -fsanitize=fuzzer,address over the event scanner. The first byte chooses where the
// content is cut: what it says must not depend on that, nor on being handed over there.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include <proxy/client/event_scanner.hpp>

namespace {

bool same(const suture::EventScanner& a, const suture::EventScanner& b) {
  return a.identified() == b.identified() && a.last_event_id() == b.last_event_id() && a.partial() == b.partial() &&
         a.overflowed() == b.overflowed();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view content(reinterpret_cast<const char*>(data) + 1, size - 1);
  const std::size_t cut = content.size() * data[0] / 255;
  suture::EventScanner whole, pieces;
  whole.feed(content);
  pieces.feed(content.substr(0, cut));
  suture::EventScanner heir(pieces.last_event_id(), pieces.identified(), pieces.partial());
  // Within a BOM it cannot be handed over, nor beyond a limit.
  const bool resumable = cut >= 3 && !pieces.overflowed();
  if (resumable && !same(heir, pieces)) abort();
  pieces.feed(content.substr(cut));
  if (!same(pieces, whole)) abort();
  heir.feed(content.substr(cut));
  if (resumable && !same(heir, whole)) abort();
  return 0;
}
