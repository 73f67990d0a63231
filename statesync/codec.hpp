// Between the plain messages (messages.hpp) and protobuf (proto/statesync.proto). Decoding validates: what comes out
// has node ids 1..255, addresses of 4 or 16 bytes, ports that are not 0, offsets in order, known enum values, bounded
// heads, names and batches. Anything else is an Error that names the field; a message is taken whole or not at all.
#pragma once

#include <statesync/messages.hpp>
#include <suture/result.hpp>

namespace suture::statesync::v1 {
class Record;
class ToReceiver;
class ToSender;
}  // namespace suture::statesync::v1

namespace suture::statesync {

// config: listeners[].limits.request_head_bytes_max may be larger; such a head is left out of the record by its owner.
inline constexpr std::size_t kHeadBytesMax = 64 * 1024;
inline constexpr std::size_t kNameBytesMax = 255;  // node names, methods
inline constexpr std::size_t kEtagBytesMax = 1024;
inline constexpr std::size_t kContentBytesMax = 1024 * 1024;  // of one record: heads, bodies, journals, messages
inline constexpr std::size_t kTailBytesMax = 16 * 1024;       // last chunk and trailers; an event's id
inline constexpr std::size_t kBatchChangesMax = 4096;
inline constexpr int kMessageBytesMax = 4 * 1024 * 1024;

// Whatever the record holds, the result decodes: a peer that refuses one record ends the stream of all. A head, method
// or etag beyond its limit is left out, and bodies and journals beyond kContentBytesMax in all, and so is an HTTP state
// that contradicts itself (the session then heals on a lower rung); out_sent is at least out_acked; of the answered
// exchanges the newest HttpState::kAnsweredMax go.
void encode(const SessionRecord& record, v1::Record& out);
Result<SessionRecord> decode(const v1::Record& in);

void encode(const ToReceiver& message, v1::ToReceiver& out);
void encode(const ToSender& message, v1::ToSender& out);
Result<ToReceiver> decode(const v1::ToReceiver& in);
Result<ToSender> decode(const v1::ToSender& in);

}  // namespace suture::statesync
