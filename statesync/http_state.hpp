// The HTTP part of a state record: where the messages of a connection start and end, and what of them an heir may need.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <statesync/body_track.hpp>
#include <statesync/websocket_state.hpp>

namespace suture {

// Where an HTTP/1.1 session stands. The oldest request without a complete response decides; later pipelined requests
// are counted, and their bytes are in `pending` (they have not been passed to the application).
enum class HttpPhase : std::uint8_t {
  idle = 0,      // every response so far was written; the next request has not begun
  head = 1,      // part of a request head has arrived
  body = 2,      // the request head was passed on, its body is under way
  waiting = 3,   // the whole request was passed on, no byte of the response has left
  response = 4,  // part of the response has left for the client
  upgraded = 5,  // 101 was sent: both directions are opaque (or WebSocket) from here on
};

enum class BodyFraming : std::uint8_t { none = 0, length = 1, chunked = 2, until_close = 3 };

// One request and its response.
struct Exchange {
  // In `in` offsets.
  std::uint64_t request_start = 0;
  std::uint64_t request_head_end = 0;  // first byte after the head; 0: unknown yet
  BodyFraming request_framing = BodyFraming::none;
  std::uint64_t request_length = 0;                 // framing length: body bytes
  std::shared_ptr<const std::string> request_head;  // as the client sent it; empty in phase idle or above the limit
  std::string method;
  bool replayable = false;  // the owner's route lets the application get it twice (client/replay_rule)
  // The request's body as the client sent it, framing included, from request_head_end on, as far as the owner has read
  // it. Null: none, or more than the limit.
  std::shared_ptr<const std::string> request_body;
  // In `out` offsets.
  std::uint64_t response_start = 0;
  std::uint64_t response_head_end = 0;  // 0: not yet sent
  std::uint64_t response_end = 0;       // 0: unknown yet
  std::uint16_t status = 0;
  BodyFraming response_framing = BodyFraming::none;
  std::uint64_t response_length = 0;
  // Status 206, one range (RFC 9110 section 14.4): where the content begins in the representation, and how many bytes
  // that has. Total 0: another status, several ranges, or a length that nobody knows.
  std::uint64_t range_start = 0, range_total = 0;
  std::string etag;  // only a strong one (RFC 9110 section 8.8.3), with its quotes
  // Of the representation that it names: Content-Encoding as it came; some applications forget that a coding changes
  // it.
  std::string content_coding;
  // What was sent or is about to be, byte for byte: [journal_start, journal_start + size) of `out`. Holds the head (and
  // interim responses) until the client has it, all of a small response, the unacknowledged end of an event stream.
  std::uint64_t journal_start = 0;
  std::shared_ptr<const std::string> journal;
  std::shared_ptr<const BodyTrack> body;  // null: nothing to compare a repeated response with
  bool keep_alive = true;                 // the connection stays open after this exchange
};

// The base is the current exchange; in phase idle the last one (its response_end is then exact).
struct HttpState : Exchange {
  HttpPhase phase = HttpPhase::idle;
  std::uint64_t exchanges = 0;  // completed on this connection
  std::uint32_t pipelined = 0;  // complete request heads that wait behind the current one
  // Exchanges whose response was given to the kernel completely and not yet acknowledged by the client: an heir must
  // finish them first. Oldest first; beyond kAnsweredMax the oldest are left out (and cannot be finished).
  std::vector<Exchange> answered;
  // Read from the client and not yet part of the current exchange: [in_known - size, in_known) of `in`. Null: none, or
  // more than the limit.
  std::shared_ptr<const std::string> pending;
  std::shared_ptr<const WebSocketState> websocket;  // phase upgraded, if to that protocol
  static constexpr std::size_t kAnsweredMax = 32;
};

// Heads, bodies, journals and messages: what makes a record large.
inline std::size_t content_bytes(const Exchange& e) {
  const auto size = [](const auto& bytes) { return bytes ? bytes->size() : 0; };
  return size(e.request_head) + size(e.request_body) + size(e.journal) + (e.body ? content_bytes(*e.body) : 0);
}
inline std::size_t content_bytes(const HttpState& http) {
  std::size_t bytes = content_bytes(static_cast<const Exchange&>(http));
  for (const Exchange& answered : http.answered) bytes += content_bytes(answered);
  if (http.pending) bytes += http.pending->size();
  if (http.websocket) bytes += content_bytes(*http.websocket);
  return bytes;
}

}  // namespace suture
