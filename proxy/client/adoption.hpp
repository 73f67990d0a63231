// A session that another node owned and that this node takes over: what healing hands to a worker (Worker::adopt).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include <statesync/record.hpp>

namespace suture {

// The rung of the healing ladder (DESIGN.md) on which a session goes on.
// X(NAME, "metric label"): suture_heals_total{rung="label"}
#define SUTURE_RESUME_RUNGS(X)                                                                                   \
  X(idle, "idle")         /* between exchanges; the next request is read as usual */                             \
  X(journal, "journal")   /* the response's rest is in the record; then as idle */                               \
  X(replay, "replay")     /* the recorded request goes to this PoP's application again */                        \
  X(range, "range")       /* the response goes on at the cursor: Range + If-Range */                             \
  X(refetch, "refetch")   /* all of the response is asked for again, and compared by its digest */               \
  X(events, "events")     /* an event stream goes on: Last-Event-ID */                                           \
  X(reattach, "reattach") /* a WebSocket, with a new application instance */                                     \
  X(close, "close")       /* a WebSocket ends at a frame boundary: Close 1012, or what was missing of its end */ \
  X(refuse, "refuse")     /* 503, Retry-After, Connection: close: own words, where they fit */                   \
  X(reset, "reset")       /* RST: nothing else is provably right */

enum class ResumeRung : std::uint8_t {
#define SUTURE_RESUME_ENUM(name, label) name,
  SUTURE_RESUME_RUNGS(SUTURE_RESUME_ENUM)
#undef SUTURE_RESUME_ENUM
      count
};

constexpr std::string_view to_label(ResumeRung rung) {
  switch (rung) {
#define SUTURE_RESUME_LABEL(name, label) \
  case ResumeRung::name:                 \
    return label;
    SUTURE_RESUME_RUNGS(SUTURE_RESUME_LABEL)
#undef SUTURE_RESUME_LABEL
    case ResumeRung::count:
      break;
  }
  return "";
}

// Where the session goes on. Offsets as in SessionRecord.
struct Resumption {
  ResumeRung rung = ResumeRung::reset;
  const char* reason = "";        // of close, refuse and reset: why no better one (heal_reasons.hpp); static
  std::uint64_t cursor = 0;       // c: the client has everything of `out` below; the socket's next byte
  std::uint64_t received = 0;     // the socket's next byte of `in`: L, or S on the lost-bytes rung
  std::uint64_t client_sent = 0;  // S: a request whose head ends at or below it runs only if it may be replayed
  std::uint64_t sack_edge = 0;    // the client holds bytes that may follow out of order, up to here; 0: none
  // replay, range, refetch, events: which; index into http->answered, its size: the current one. Of those after it, the
  // requests are gone through again.
  std::size_t exchange = 0;
  bool close_after = false;   // nothing may follow the exchange resumed (idle: the last one): FIN behind it
  bool refetch = false;       // range: an application that gives everything again is compared by its checkpoints
  std::uint64_t journal = 0;  // bytes of `out` from the cursor on that are in journals, and go first
};

struct Adoption {
  int fd = -1;           // rebuilt, out of repair mode, non-blocking; the worker's from here on, also on failure
  SessionRecord record;  // the former owner's, with owner, incarnation, epoch, fence, facts and positions already ours
  Resumption resume;
  NodeId from{};  // the former owner
};

}  // namespace suture
