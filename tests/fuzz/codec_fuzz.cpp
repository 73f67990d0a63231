// Fuzz target of the record codec: any bytes either decode into a message that survives a round trip, all of it, or are
// an Error. The codec test drives it as well, over mutations of its records.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <variant>

#include <proto/statesync.pb.h>
#include <statesync/codec.hpp>

namespace suture::statesync {
namespace {

// Encoding leaves out what does not fit, or contradicts itself: of what was decoded, nothing.
bool same_content(const Change& a, const Change& b) {
  const auto *before = std::get_if<SessionRecord>(&a), *after = std::get_if<SessionRecord>(&b);
  if (before == nullptr || after == nullptr) return before == after;
  if (before->http.has_value() != after->http.has_value()) return false;
  if (!before->http) return true;
  const HttpState &x = *before->http, &y = *after->http;
  return content_bytes(x) == content_bytes(y) && x.answered.size() == y.answered.size() &&
         (x.body == nullptr) == (y.body == nullptr) && (x.websocket == nullptr) == (y.websocket == nullptr);
}

bool same_content(const ToReceiver& a, const ToReceiver& b) {
  if (a.index() != b.index()) return false;
  const auto *before = std::get_if<Batch>(&a), *after = std::get_if<Batch>(&b);
  if (before == nullptr) return true;
  bool same = before->changes.size() == after->changes.size();
  for (std::size_t i = 0; same && i < before->changes.size(); ++i)
    same = same_content(before->changes[i], after->changes[i]);
  return same;
}
bool same_content(const ToSender& a, const ToSender& b) {
  return a.index() == b.index();
}

template <class Proto>
void round_trip(const std::uint8_t* data, std::size_t size) {
  Proto proto;
  if (!proto.ParseFromArray(data, static_cast<int>(size))) return;
  const auto message = decode(proto);
  if (!message) return;
  Proto once, twice;
  encode(*message, once);
  const auto again = decode(once);
  if (!again || !same_content(*message, *again)) std::abort();
  encode(*again, twice);
  if (once.SerializeAsString() != twice.SerializeAsString()) std::abort();
}

}  // namespace
}  // namespace suture::statesync

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  suture::statesync::round_trip<suture::statesync::v1::ToReceiver>(data, size);
  suture::statesync::round_trip<suture::statesync::v1::ToSender>(data, size);
  return 0;
}
