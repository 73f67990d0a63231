#include "proxy/healing/heal_websocket.hpp"

#include "proxy/client/heal_reasons.hpp"

namespace suture::healing {
namespace {

// The bytes of the client's that its next application instance must get anew are in the record: of a frame that is not
// whole, and of a message whose last frame has not come.
bool has_pending(const SessionRecord& record, const WebSocketState& ws) {
  const auto& pending = record.http->pending;
  const std::uint64_t size = pending ? pending->size() : 0;
  if (size > record.in_known || ws.in_frame > record.in_known) return false;
  const std::uint64_t start = record.in_known - size;
  return ws.in_fragmented ? start < ws.in_frame : start == ws.in_frame;
}

// nullptr: another instance of the application can go on.
const char* reattach_refusal(const SessionRecord& record, const WebSocketState& ws, const ProofFacts& proof) {
  if (ws.session.empty()) return heal_reason::not_resumable;
  if (ws.in_close || record.in_closed) return heal_reason::websocket_closing;
  if (proof.lost_bytes || proof.received > record.in_known) return heal_reason::lost_bytes;
  if (proof.cursor > ws.out_frame) return heal_reason::websocket_frame;  // what the long frame ended is not known
  if (ws.out_fragmented) return heal_reason::websocket_fragmented;
  if (!has_pending(record, ws)) return heal_reason::websocket_upload;
  if (!record.http->request_head || record.http->request_head->empty()) return heal_reason::no_head;
  return nullptr;
}

// nullptr: the client can be brought to a frame boundary.
const char* position_refusal(const SessionRecord& record, const WebSocketState& ws, std::uint64_t c, bool ended) {
  if (c < record.out_acked) return heal_reason::cursor_behind;
  const HttpState& http = *record.http;
  if (c < ws.out_frame) {
    const bool known =
        http.journal && http.journal_start <= c && http.journal_start + http.journal->size() == ws.out_frame;
    return known ? nullptr : heal_reason::websocket_frame;
  }
  if (c == ws.out_frame || c == ws.out_frame_end) return nullptr;
  if (ended && ws.out_frame_end == ws.out_frame && c == ws.out_frame + 1) return nullptr;  // the FIN
  return c < ws.out_frame_end ? heal_reason::websocket_frame : heal_reason::cursor_beyond;
}

}  // namespace

Resumption plan_websocket(const SessionRecord& record, const ProofFacts& proof) {
  const WebSocketState& ws = *record.http->websocket;
  const std::uint64_t c = proof.cursor;
  const bool ended = ws.out_close || record.out_closed;
  const auto at = [&](ResumeRung rung, const char* why) {
    return Resumption{rung, why, c, proof.received, proof.client_sent, proof.sack_above ? proof.sack_edge : 0};
  };
  if (const char* why = position_refusal(record, ws, c, ended)) return at(ResumeRung::reset, why);
  if (ended) return at(ResumeRung::close, "");
  if (proof.identical_only) return at(ResumeRung::reset, heal_reason::identical_only);
  if (proof.sack_above && (proof.sack_full || c >= ws.out_frame || proof.sack_edge > ws.out_frame))
    return at(ResumeRung::reset, heal_reason::sack_above);
  if (!record.facts.sack_ok) return at(ResumeRung::reset, heal_reason::no_sack);
  if (const char* why = reattach_refusal(record, ws, proof)) return at(ResumeRung::close, why);
  return at(ResumeRung::reattach, "");
}

}  // namespace suture::healing
