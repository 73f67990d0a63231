// What a record holds of bodies and messages beyond positions: BodyTrack and WebSocketState.
#include <algorithm>
#include <cstring>

#include <proto/statesync.pb.h>
#include <statesync/codec_http.hpp>

namespace suture::statesync {
namespace {

// Marks rise in both counts: nothing is without framing shorter than with it.
bool ascending(const std::vector<BodyMark>& marks) {
  return std::adjacent_find(marks.begin(), marks.end(), [](const BodyMark& a, const BodyMark& b) {
           return b.wire < a.wire || b.content < a.content || b.wire - a.wire < b.content - a.content;
         }) == marks.end();
}

}  // namespace

bool consistent(const BodyTrack& track) {
  return track.chunks.size() <= BodyTrack::kChunksMax && track.marks.size() <= BodyTrack::kMarksMax &&
         ascending(track.marks) && track.tail.size() <= kTailBytesMax && track.last_event_id.size() <= kTailBytesMax &&
         std::find(track.chunks.begin(), track.chunks.end(), 0U) == track.chunks.end();
}

void encode_body(const BodyTrack& track, v1::BodyTrack& out) {
  out.set_fields(track.fields);
  out.set_chunks_wire(track.chunks_wire);
  out.set_chunks_content(track.chunks_content);
  out.mutable_chunks()->Add(track.chunks.begin(), track.chunks.end());
  for (const BodyMark& mark : track.marks) {
    auto& to = *out.add_marks();
    to.set_wire(mark.wire);
    to.set_content(mark.content);
    to.set_digest(mark.digest.data(), mark.digest.size());
    to.set_from(mark.from);
  }
  out.set_tail(track.tail);
  out.set_events(track.events);
  out.set_identified(track.identified);
  out.set_last_event_id(track.last_event_id);
  out.set_partial_event(track.partial_event);
}

Result<BodyTrack> decode_body(const v1::BodyTrack& in, ContentBudget& budget) {
  BodyTrack track;
  track.fields = in.fields();
  track.chunks_wire = in.chunks_wire();
  track.chunks_content = in.chunks_content();
  if (in.chunks_size() > static_cast<int>(BodyTrack::kChunksMax)) return bad("too many chunks");
  if (in.marks_size() > static_cast<int>(BodyTrack::kMarksMax)) return bad("too many marks");
  track.chunks.assign(in.chunks().begin(), in.chunks().end());
  for (const auto& from : in.marks()) {
    BodyMark& mark = track.marks.emplace_back();
    mark.wire = from.wire();
    mark.content = from.content();
    mark.from = from.from();
    if (mark.from > mark.content) return bad("a digest that ends before it begins");
    if (from.digest().size() != mark.digest.size()) return bad("a digest that is not 16 bytes long");
    std::memcpy(mark.digest.data(), from.digest().data(), mark.digest.size());
  }
  track.tail = in.tail();
  track.events = in.events();
  track.identified = in.identified();
  track.last_event_id = in.last_event_id();
  track.partial_event = in.partial_event();
  if (!consistent(track)) return bad("a body whose chunks or marks contradict each other");
  if (!budget.take(content_bytes(track))) return bad("more content than fits into a record");
  return track;
}

bool consistent(const WebSocketState& ws) {
  return ws.session.size() <= kNameBytesMax && ws.subprotocol.size() <= kEtagBytesMax &&
         ws.extensions.size() <= kEtagBytesMax && ws.ping.size() <= kNameBytesMax && ws.out_frame_end >= ws.out_frame &&
         ws.messages.size() <= std::min<std::uint64_t>(WebSocketState::kMessagesMax, ws.received) &&
         std::all_of(ws.messages.begin(), ws.messages.end(), [](const auto& m) { return m && !m->empty(); });
}

void encode_websocket(const WebSocketState& ws, v1::WebSocket& out) {
  out.set_session(ws.session);
  out.set_subprotocol(ws.subprotocol);
  out.set_extensions(ws.extensions);
  out.set_received(ws.received);
  out.set_delivered(ws.delivered);
  out.set_in_frame(ws.in_frame);
  out.set_out_frame(ws.out_frame);
  out.set_out_frame_end(ws.out_frame_end);
  out.set_in_fragmented(ws.in_fragmented);
  out.set_out_fragmented(ws.out_fragmented);
  out.set_in_close(ws.in_close);
  out.set_out_close(ws.out_close);
  for (const auto& message : ws.messages) out.add_messages(*message);
  out.set_ping(ws.ping);
}

Result<WebSocketState> decode_websocket(const v1::WebSocket& in, ContentBudget& budget) {
  if (in.messages_size() > static_cast<int>(WebSocketState::kMessagesMax)) return bad("too many WebSocket messages");
  WebSocketState ws;
  ws.session = in.session();
  ws.subprotocol = in.subprotocol();
  ws.extensions = in.extensions();
  ws.received = in.received();
  ws.delivered = in.delivered();
  ws.in_frame = in.in_frame();
  ws.out_frame = in.out_frame();
  ws.out_frame_end = in.out_frame_end();
  ws.in_fragmented = in.in_fragmented();
  ws.out_fragmented = in.out_fragmented();
  ws.in_close = in.in_close();
  ws.out_close = in.out_close();
  ws.ping = in.ping();
  for (const auto& message : in.messages()) ws.messages.push_back(std::make_shared<const std::string>(message));
  if (!consistent(ws)) return bad("a WebSocket state that contradicts itself");
  if (!budget.take(content_bytes(ws))) return bad("more content than fits into a record");
  return ws;
}

}  // namespace suture::statesync
