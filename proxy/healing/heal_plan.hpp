// The healing ladder (DESIGN.md) as a pure function: what the record says and what the client has proven, in; the first
// rung that is safe, out.
//
//   out:  ... [ interim 1xx ] response_start [ head ] response_head_end [ body ] response_end ...
//                 c may lie anywhere: where it lies decides
//   in:   ... request_start [ head ] request_head_end | ... L ........ S
//
// Why it is safe: the record is any number of updates old, and the former owner has acted on everything that the client
// had sent by then, up to S. So whatever requests lie below S may have been executed and answered, and bytes of those
// answers may be anywhere above c, unless the client says that it holds none there (SACK, and no block above c) or
// cannot have asked for any. Two kinds of bytes may be written at c:
//   - identical ones: those that the record holds (journal), and a body's rest, by the same strong entity tag and
//     length (range) or by a digest of its beginning (refetch, up to a mark);
//   - our own words (503, a new response, new events): only if c is exactly the end of a message, or of what the record
//     holds of it, and nothing can lie above it. This is stricter than PROTOCOL.md's "S = L" for clients without SACK:
//     S = L says that nothing was asked beyond the record, not that what the record itself owes was not half delivered.
// A FIN at the end of a complete response is safe where the client holds nothing behind it: else its kernel, once the
// gap is filled, stands behind our FIN and never sees it.
//
// What the record holds is written first, and the rung is chosen for the place behind it: for its end, or where that
// leads nowhere for the end of a message below, or for c itself.
//
// Requests behind the one that is resumed are gone through again if the record holds all of their bytes. If it does
// not, a clean end is what remains: replay announces Connection: close; range and refetch, whose head was sent long
// ago, end with a FIN behind the complete response (RFC 9112 section 9.3.2: the client repeats what was not answered);
// between exchanges it is a 503, or a FIN where all that is lost is one place behind an answer to everything: most
// likely the client's own FIN.
#pragma once

#include <cstdint>

#include "proxy/client/adoption.hpp"

namespace suture::healing {

// From the client's answer to the fence (claim), as offsets.
struct ProofFacts {
  std::uint64_t cursor = 0;       // c
  std::uint64_t received = 0;     // the rebuilt socket's next byte of `in`: L, or S on the lost-bytes rung
  std::uint64_t client_sent = 0;  // S. Where the answer's SEQ was clipped: the most that it may be
  bool sack_above = false;
  std::uint64_t sack_edge = 0;  // sack_above: end of the highest block that the client told of
  bool sack_full = false;       // ... of so many that it may hold more above
  bool lost_bytes = false;      // the former owner acknowledged [L, S), and nobody has it
  // Not decisive: without a fence the claim rests on majority and lease instead.
  bool fenced = false;
  bool identical_only = false;  // an owner of whom no record came served it: nothing is known of what lies above c
  // ... nor of what lies below c, from where the record's owner knew the client to be: that owner took over anywhere
  // there, and may have written anything (a 503, a response with a head or chunks of its own).
  bool unknown_owner = false;
};

// `reason` of the result: heal_reasons.hpp for refuse and reset, else "".
Resumption plan_healing(const SessionRecord& record, const ProofFacts& proof);

// As far as the record goes there is no rung but refuse, close and reset, wherever the client stands, even if it has
// sent nothing more. A guess, because the record may be late: for those who can wait.
bool ends_as_known(const SessionRecord& record);

}  // namespace suture::healing
