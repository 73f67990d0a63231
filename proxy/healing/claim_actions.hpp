// What goes into the claim table (claim.hpp) beside packets, and what comes out of it.
#pragma once

#include <bitset>
#include <cstdint>
#include <optional>
#include <variant>

#include <boost/container/static_vector.hpp>

#include <suture/clock.hpp>
#include <suture/node_id.hpp>

#include "proxy/healing/nudge.hpp"

namespace suture::healing {

// Times in ms. Every state that is not a resting place ends by one of these.
struct ClaimOptions {
  unsigned tries = 3;               // of a probe or fence at one position; each waits twice as long
  Millis first_timeout{200};        // TCP_RTO_MIN
  unsigned rounds_max = 16;         // positions of one claim: a client that moves on for ever is being served
  Millis lease{1000};               // PROTOCOL.md, egress rule 4
  Millis unfenced_timeout{30'000};  // a flow without fence that finds no majority or no quiet
  // ... whose client has sent something that we do not know: so long it has to send it again (RFC 6298, twice as late
  // each time) before it counts as acknowledged by the dead owner.
  Millis resend_patience{3000};
  Millis rebuild_timeout{5000};       // proven, and the driver says nothing
  Millis session_timeout{3'600'000};  // frozen, and nobody says anything
  Millis announce_timeout{3000};      // a claimant that lives announces its claim within it
  Millis grace{5000};                 // after a false alarm; doubles with each further one, up to grace_max
  Millis grace_max{60'000};           //
  Millis renew_every{240'000};        // a fence lapses after 2,147 s (PAWS since Linux 6.7)
};

// The outside, as of one event. Filled by the driver; all of it may change from event to event.
struct ClaimContext {
  TimePoint now;
  std::uint64_t slot_now_ms = 0;
  std::uint32_t random = 0;  // fresh for every event
  // The TSval that the record's owner would send now, extrapolated from its ts_offset and liveness; for our own
  // sessions that of our own socket. `former_first`: its TSval when the ownership began, as far as known (a bound for
  // echoes).
  std::uint32_t former_clock = 0;
  std::uint32_t former_first = 0;
  bool former_clock_known = false;
  bool clocks_apart = false;  // the owner's slot clock and ours differ by more than limits::clock_claim_apart_max_ms
  bool owner_living = false;  // two-way liveness, same incarnation, and it has not said "not mine"
  Millis owner_dead_for{0};   // not living: since when, as far as known
  bool owner_heard_by_any = false;  // a living peer hears the owner
  bool majority = false;            // we are in liveness with a majority of the configured nodes, ourselves included
  bool former_may_live = true;      // some former owner is not surely silent: its fence is renewed
  std::bitset<256> living;          // nodes in two-way liveness, by id; without ourselves
};

// What the client has proven. Sequence numbers are absolute (on the wire).
//
//    out: ... c |                   in: ... received ... S
//               next byte we send       next byte we take     all that the client had sent when it answered
struct Proof {
  std::uint32_t ack = 0;       // c
  std::uint32_t received = 0;  // L, or what the lost-bytes fence acknowledged: RCV.NXT of the rebuilt socket
  std::uint32_t seq = 0;       // S
  bool seq_clipped = false;    // SEQ was the edge of the window that we offered: exactly S or clipped to it (claim.cpp)
  // The client holds bytes above c: only identical bytes may follow, and those up to its largest window must be in the
  // rebuilt send queue as already sent (written in repair mode): its ACK will jump over them, and Linux ignores an ACK
  // of unsent bytes for ever.
  std::uint32_t sack_edge = 0;  // sack_above: the end of the highest such block
  bool sack_above = false;
  bool sack_full =
      false;  // as many blocks as an answer has room for: a higher one may be left out (RFC 2018 section 4)
  bool lost_bytes = false;     // the former owner acknowledged bytes that no record knows: [L, received)
  bool unknown_owner = false;  // before our fence it followed an owner of whom we have no record
  bool fenced = false;         // the client accepts nothing older than `fence`
  std::uint32_t fence = 0;     // F; unfenced: what the rebuilt socket's TSval must be above
  std::uint32_t ts_advance = 0;
  std::uint16_t window = 0;  // of the answer, unscaled
};

// X(name, "metric label"): why a claim ended without a proof
#define SUTURE_CLAIM_GIVE_UPS(X)                                                                       \
  X(no_answer, "no_answer")       /* the client answers nobody, or another PoP */                      \
  X(moving, "moving")             /* its ACK moves on from round to round: somebody serves it */       \
  X(owner_living, "owner_living") /* false suspicion: forward what is held to the owner */             \
  X(superseded, "superseded")     /* another claimant's later fence: forward what is held to it */     \
  X(no_majority, "no_majority")   /* no fence, and no majority, a witness of the owner, or no quiet */ \
  X(clocks_apart, "clocks_apart") /* no claims between these two clocks */                             \
  X(ts_advance, "ts_advance")     /* the fence would turn PAWS around: the session ends */             \
  X(rebuild_failed,                                                                                    \
    "rebuild_failed") /* the client is fenced for us, but there is no socket: the next stray tries again */

enum class GiveUpReason : std::uint8_t {
#define SUTURE_CLAIM_ENUM(name, label) name,
  SUTURE_CLAIM_GIVE_UPS(SUTURE_CLAIM_ENUM)
#undef SUTURE_CLAIM_ENUM
      count
};

namespace action {
struct Send {
  Nudge nudge;
};
struct Proven {  // rebuild, then on_rebuilt() or on_rebuild_failed()
  Proof proof;
};
struct Freeze {};  // egress gate, ingress punts, the session neither reads nor writes
struct Thaw {      // undo Freeze; deliver what is held
  bool claimed = false;
  Epoch epoch = 0;  // claimed: announce our ownership anew with it
};
struct Release {};        // the session ends without a segment; drop what is held
struct Reset {            // an RST for the client, which nobody can serve any more
  std::uint32_t seq = 0;  // c
  std::uint32_t ack = 0;
};
struct EndRecord {};  // the client is gone: erase the record everywhere
struct GiveUp {
  GiveUpReason reason{};
  std::optional<NodeId> served_by;  // what is held belongs to this living node
};
}  // namespace action
using Action = std::variant<action::Send, action::Proven, action::Freeze, action::Thaw, action::Release, action::Reset,
                            action::EndRecord, action::GiveUp>;

// What becomes of the packet that caused the event.
enum class PacketVerdict : std::uint8_t { none, hold, drop, deliver, forward };

struct Outcome {
  PacketVerdict packet = PacketVerdict::none;
  NodeId forward_to{};
  boost::container::static_vector<Action, 5> actions;  // in order
};

}  // namespace suture::healing
