// The state record: what peers must know of a session to heal it (DESIGN.md idea 1). Fixed facts of the connection,
// coarse positions in both streams, and where HTTP messages start and end.
//
//   out:  0 ... out_acked ............ out_sent          in:   0 ... in_known (L)
//               | possibly in flight  |
//
// Offsets count bytes from the initial sequence numbers (suture/sequence.hpp). A record may lag by a flush interval
// plus the path; a lagging record may cost a clean end, never a wrong byte (PROTOCOL.md).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <suture/conn_facts.hpp>
#include <suture/ids.hpp>

namespace suture {

enum class SessionMode : std::uint8_t { tcp = 1, http = 2 };

// Where an HTTP/1.1 session stands. The oldest request without a complete response decides; later pipelined requests
// are counted only (they are in [request_end, in_known) and have not been passed to the application).
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
  // In `out` offsets.
  std::uint64_t response_start = 0;
  std::uint64_t response_head_end = 0;  // 0: not yet sent
  std::uint64_t response_end = 0;       // 0: unknown yet
  std::uint16_t status = 0;
  BodyFraming response_framing = BodyFraming::none;
  std::uint64_t response_length = 0;
  std::string etag;        // only a strong one (RFC 9110 section 8.8.3), with its quotes
  bool keep_alive = true;  // the connection stays open after this exchange
};

// The base is the current exchange; in phase idle the last one (its response_end is then exact).
struct HttpState : Exchange {
  HttpPhase phase = HttpPhase::idle;
  std::uint64_t exchanges = 0;  // completed on this connection
  std::uint32_t pipelined = 0;  // complete request heads that wait behind the current one
  // Exchanges whose response was given to the kernel completely and not yet acknowledged by the client: an heir must
  // finish them first. Oldest first; beyond kAnsweredMax the oldest are left out (and cannot be finished).
  std::vector<Exchange> answered;
  static constexpr std::size_t kAnsweredMax = 8;
};

struct SessionRecord {
  ConnFacts facts;  // facts.key names the session
  NodeId owner{};
  Incarnation incarnation = 0;  // of the owner
  Epoch epoch = 0;
  std::uint64_t session_id = 0;  // unique per owner incarnation
  SessionMode mode = SessionMode::tcp;
  // PROTOCOL.md, claim. `fenced`: this ownership began with a fence that the client echoed; `fence` is its TSval (F).
  // Of two fenced ownerships of one connection the later F stands (serial order).
  bool fenced = false;
  std::uint32_t fence = 0;
  std::uint32_t ts_advance = 0;  // 0 until a claim
  std::uint64_t in_known = 0;
  std::uint64_t out_sent = 0;
  std::uint64_t out_acked = 0;
  bool in_closed = false;   // the client's FIN was read
  bool out_closed = false;  // our FIN was sent
  std::optional<HttpState> http;
};

// Where sessions put their records: one per worker thread, called on that thread only. Never blocks; implementations
// bound their memory. Implemented by statesync/record_queue (to the control thread) and by fakes.
class RecordSink {
 public:
  virtual ~RecordSink() = default;
  // False: full just now. The session stays dirty and calls again at its next event or sweep.
  virtual bool upsert(const SessionRecord& record) = 0;
  // The session is over (or was never more than a handshake). False: full; call again.
  virtual bool erase(const suture_flow_key& key, std::uint64_t session_id) = 0;
};

}  // namespace suture
