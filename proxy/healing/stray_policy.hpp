// What to do with a stray that the kernel's ladder could not place (PROTOCOL.md, ingress rung 7), as a pure function:
// facts in, verdict out. No sockets, no clock. One flat ladder; each verdict has a counter of its own name.
#pragma once

#include <cstdint>
#include <string_view>

namespace suture::healing {

// X(NAME, "metric label"): suture_strays_total{verdict="label"}
#define SUTURE_STRAY_VERDICTS(X)                                                                                \
  X(drop_rst, "drop_rst")                 /* nobody answers an RST */                                           \
  X(forward_record, "forward_record")     /* the directory knows a living owner that the kernel's map missed */ \
  X(deliver, "deliver")                   /* our own session's: to its socket, past the ingress program */      \
  X(claim, "claim")                       /* its owner is dead: the healer takes it */                          \
  X(forward_answer, "forward_answer")     /* a peer has just said "mine"; its record is still under way */      \
  X(hold, "hold")                         /* the peers have been asked: wait with the others of this flow */    \
  X(ask, "ask")                           /* ask every living peer, packet attached, and hold what follows */   \
  X(reset, "reset")                       /* nobody has it and nobody could have it */                          \
  X(reset_unrecorded, "reset_unrecorded") /* ... but a dead node, which died before it had told anybody */      \
  X(drop_unproven, "drop_unproven")       /* nobody answered, but a peer that may have it is not in sync */

enum class StrayVerdict : std::uint8_t {
#define SUTURE_STRAY_ENUM(name, label) name,
  SUTURE_STRAY_VERDICTS(SUTURE_STRAY_ENUM)
#undef SUTURE_STRAY_ENUM
      count
};
std::string_view to_label(StrayVerdict verdict);

enum class KnownOwner : std::uint8_t {
  none,    // no record
  own,     // our own session; punted while it was frozen, or its socket has just gone
  living,  // in two-way liveness, same incarnation, has not said "not mine" for this key
  dead,
};
enum class Question : std::uint8_t {
  none,      // not asked (lately)
  open,      // asked, no answer yet
  answered,  // one living peer said "mine"
};

struct StrayFacts {
  bool rst = false;
  bool claimed = false;  // this node is at work on a claim of this flow
  KnownOwner owner = KnownOwner::none;
  Question question = Question::none;
};
StrayVerdict judge_stray(const StrayFacts& facts);

// When a question has stayed unanswered for one retransmission time.
struct UnansweredFacts {
  KnownOwner owner = KnownOwner::none;  // a record may have come meanwhile
  // Every configured peer that was alive within forget_after is in sync (PROTOCOL.md, "RST to an unknown flow"), and
  // every one that was asked has said that it does not know the flow: a slow peer may be its owner.
  bool peers_complete = false;
  // The same but for nodes that have been dead for healing.end_grace_ms, to every living peer, too; and the client has
  // gone on sending here for as long. A flow of a node that is only cut off from us would have to have been made since,
  // and its route to have moved for good.
  bool owner_must_be_dead = false;
};
StrayVerdict judge_unanswered(const UnansweredFacts& facts);

}  // namespace suture::healing
