// The state record: what peers must know of a session to heal it (DESIGN.md idea 1). Fixed facts of the connection,
// coarse positions in both streams, and where HTTP messages start and end.
//
//   out:  0 ... out_acked ............ out_sent          in:   0 ... in_known (L)
//               | possibly in flight  |
//
// Offsets count bytes from the initial sequence numbers (suture/sequence.hpp). A record may lag by a flush interval
// plus the path, or by the path alone (RecordSink::hurry()); a lagging record may cost a clean end, never a wrong byte
// (PROTOCOL.md).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <statesync/http_state.hpp>
#include <suture/conn_facts.hpp>
#include <suture/ids.hpp>

namespace suture {

enum class SessionMode : std::uint8_t { tcp = 1, http = 2 };

struct SessionRecord {
  ConnFacts facts;  // facts.key names the session
  NodeId owner{};
  Incarnation incarnation = 0;  // of the owner
  Epoch epoch = 0;
  std::uint64_t session_id = 0;  // unique per owner incarnation; of two with one flow key, the larger is the later
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
  // The PROXY protocol header with which the stream began: whose connection a front balancer passes on, `client` its
  // source, `vip` its destination (ports may be 0). Absent: there was none, or it is not complete.
  std::optional<suture_flow_key> proxied;
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

  // For whoever must not write before its record has left: what was taken so far goes to the peers at once. The result
  // is left()'s argument; 0: no peer listens.
  virtual std::uint64_t hurry() { return 0; }
  // It has gone to every peer that keeps up, or has waited for long enough.
  virtual bool left(std::uint64_t) const { return true; }
  // `call`, on any thread, when left() may have become true, from hurry() until rest().
  // NOLINTNEXTLINE(performance-unnecessary-value-param): who overrides it keeps the call.
  virtual void set_on_left(std::function<void()>) {}
  virtual void rest() {}
};

}  // namespace suture
