// The claimant's side of the claim table: probing, fencing, proof.
#include <algorithm>

#include <suture/sequence.hpp>

#include "proxy/healing/claim.hpp"

namespace suture::healing {
namespace {

// An ACK and nothing else: its SEQ is the client's SND.NXT (or clipped, see prove()). A data segment may be a
// retransmission from far below.
bool pure_ack(const Segment& segment) {
  return segment.payload_bytes == 0 && (segment.flags & (kFin | kSyn | kRst)) == 0;
}

void forward(Outcome& out, NodeId node) {
  out.packet = PacketVerdict::forward;
  out.forward_to = node;
}

}  // namespace

// ---- none

Outcome Claim::start(const ClaimContext& context) {
  Outcome out;
  if (state_ != FlowState::none) return out;
  if (context.clocks_apart) {
    give_up(out, GiveUpReason::clocks_apart, context);
  } else if (context.owner_living) {
    give_up(out, GiveUpReason::owner_living, context, facts_.owner);
  } else {
    begin_probing(out, context);
  }
  return out;
}

Outcome Claim::probe_of(const SessionRecord& record, const Options& options, const ClaimContext& context) {
  Claim claim(record.owner, record, options, FlowState::probing);
  Outcome out;
  if (!context.clocks_apart) claim.send_again(out, context);
  return out;
}

Outcome Claim::stray(const Segment& segment, const ClaimContext& context) {
  Outcome out;
  out.packet = PacketVerdict::drop;
  if (context.clocks_apart) {
    give_up(out, GiveUpReason::clocks_apart, context);
    return out;
  }
  if (const auto node = rival(segment, context)) {
    forward(out, *node);
    give_up(out, GiveUpReason::superseded, context, *node);
    return out;
  }
  // An earlier fence of ours is in force (given up, or its rebuild failed): the record's owner can serve nobody.
  in_force_ = fenced_for_us(segment, context);
  if (context.owner_living && !in_force_) {
    forward(out, facts_.owner);
    give_up(out, GiveUpReason::owner_living, context, facts_.owner);
    return out;
  }
  if (plausible(segment) && known_echo(segment, context)) {
    note(segment);
    out.packet = PacketVerdict::hold;
  }
  if (fenceable() && trusted(segment, context)) {
    begin_fencing(out, segment.ack, context);
  } else {
    begin_probing(out, context);
    // Sent when no acknowledgement of the dead owner's can have been under way any more.
    resent_ = out.packet == PacketVerdict::hold && sends_again(segment) && context.owner_dead_for >= 2 * options_.lease;
  }
  return out;
}

// From L on: the client's SND.UNA is not above.
bool Claim::sends_again(const Segment& segment) const {
  return seq_at_or_before(segment.seq, facts_.received) &&
         seq_before(facts_.received, segment.seq + segment.payload_bytes);
}

bool Claim::fenced_for_us(const Segment& segment, const ClaimContext& context) const {
  return fenceable() && segment.timestamps && foreign(segment.timestamps->echo, context) &&
         slot_owner(segment.timestamps->echo, context.slot_now_ms) == to_int(self_);
}

// The living node whose fence this client echoes; absent: it echoes the record's owner, or somebody dead, or us.
std::optional<NodeId> Claim::rival(const Segment& segment, const ClaimContext& context) const {
  if (!fenceable() || !segment.timestamps) return {};
  const unsigned named = slot_owner(segment.timestamps->echo, context.slot_now_ms);
  const NodeId node{static_cast<std::uint8_t>(named)};
  if (node == self_ || !context.living[named]) return {};
  if (was_owner_ && node == foreign_node_) return {};  // it lives, but it does not own: that is why we claim again
  if (!context.former_clock_known) {
    if (node == facts_.owner) return {};
    return node;
  }
  if (!foreign(segment.timestamps->echo, context)) return {};
  return node;
}

// ---- probing: where is the client, and what does it echo?

void Claim::begin_probing(Outcome& out, const ClaimContext& context) {
  state_ = FlowState::probing;
  started_ = context.now;
  attempt_ = 0;
  rounds_ = 0;
  quiet_since_.reset();
  answered_at_.reset();
  resent_ = false;
  allowed_since_.reset();
  try_answered_ = false;
  send_again(out, context);
  arm(attempt_++, context);
}

Outcome Claim::probe_answer(const Segment& segment, const ClaimContext& context) {
  Outcome out;
  out.packet = PacketVerdict::drop;
  if (const auto node = rival(segment, context)) {
    forward(out, *node);
    give_up(out, GiveUpReason::superseded, context, *node);
    return out;
  }
  if (!plausible(segment)) return out;
  if (!pure_ack(segment) && !known_echo(segment, context)) return out;
  if (!believe(segment, context)) {
    again_at_once(out, context);
    return out;
  }
  if (context.owner_living && !was_owner_ && !fenced_for_us(segment, context)) {  // it was forged
    forward(out, facts_.owner);
    give_up(out, GiveUpReason::owner_living, context, facts_.owner);
    return out;
  }
  note(segment);
  if (!fenceable()) return quiet_answer(segment, context);
  out.packet = PacketVerdict::hold;
  if (pure_ack(segment)) begin_fencing(out, segment.ack, context);
  return out;
}

// No timestamps, no proof: the lease stands in for the fence. A cut-off owner whose client is silent to it sends
// nothing after one lease; the second is for its packets that are still under way.
Outcome Claim::quiet_answer(const Segment& segment, const ClaimContext& context) {
  Outcome out;
  out.packet = PacketVerdict::hold;
  // Without a nonce an old packet looks like an answer: only answers in an unbroken row count.
  const bool gap = !answered_at_ || context.now - *answered_at_ > 2 * options_.lease;
  if (!quiet_since_ || gap || segment.ack != cursor_) quiet_since_ = context.now;
  answered_at_ = context.now;
  cursor_ = segment.ack;
  resent_ = resent_ || sends_again(segment);
  if (!pure_ack(segment)) return out;
  attempt_ = 0;
  deadline_ = context.now + options_.lease / 2;
  const auto two_leases_since = [&](const std::optional<TimePoint>& since) {
    return since && context.now - *since >= 2 * options_.lease;
  };
  note_allowed(context);
  if (!two_leases_since(quiet_since_)) return out;
  const bool in_doubt = !resent_ && seq_before(facts_.received, segment.seq);
  if (in_doubt && context.now - started_ < options_.resend_patience) return out;
  if (two_leases_since(allowed_since_)) {
    prove(out, segment, context);
  }
  return out;
}

// Without a fence a proof needs this for two leases, up to the very moment.
void Claim::note_allowed(const ClaimContext& context) {
  if (!context.majority || context.owner_heard_by_any) {
    allowed_since_.reset();
  } else if (!allowed_since_) {
    allowed_since_ = context.now;
  }
}

// ---- fencing: from now on only we

void Claim::begin_fencing(Outcome& out, std::uint32_t cursor, const ClaimContext& context) {
  const auto fence = choose_fence(context);
  if (!fence) return end_by_reset(out, cursor, context);
  state_ = FlowState::fencing;
  fence_ = *fence;
  unknown_owner_ = newest_ && foreign(newest_->echo, context);
  fence_ack_ = facts_.received;
  rounds_ = 0;
  fence_at(out, cursor, context);
}

void Claim::fence_at(Outcome& out, std::uint32_t cursor, const ClaimContext& context) {
  if (++rounds_ > options_.rounds_max) {
    give_up(out, GiveUpReason::moving, context);
    return;
  }
  cursor_ = cursor;
  attempt_ = 0;
  unechoed_ = 0;
  try_answered_ = false;
  send_again(out, context);
  arm(attempt_++, context);
}

Outcome Claim::fence_answer(const Segment& segment, const ClaimContext& context) {
  Outcome out;
  out.packet = PacketVerdict::drop;
  if (!plausible(segment)) return out;
  const std::uint32_t echo = segment.timestamps->echo;
  const bool above = seq_before(fence_, echo);  // somebody fenced above us: ours can never be accepted
  if (const auto node = rival(segment, context); above && node) {
    forward(out, *node);
    give_up(out, GiveUpReason::superseded, context, *node);
    return out;
  }
  if (!pure_ack(segment) && !known_echo(segment, context)) return out;
  if (!believe(segment, context)) {
    again_at_once(out, context);
    return out;
  }
  note(segment);
  if (echo == fence_) return echoed_answer(segment, context);
  return above ? fence_above(segment, context) : unechoed_answer(segment, context);
}

// One more nudge within this try, and no more: every nudge is answered.
void Claim::again_at_once(Outcome& out, const ClaimContext& context) {
  if (try_answered_) return;
  try_answered_ = true;
  send_again(out, context);
}

Outcome Claim::fence_above(const Segment& segment, const ClaimContext& context) {
  Outcome out;
  out.packet = PacketVerdict::hold;
  const auto fence = choose_fence(context);
  if (!fence) {
    end_by_reset(out, segment.ack, context);
    return out;
  }
  fence_ = *fence;
  unknown_owner_ = true;
  fence_at(out, segment.ack, context);
  return out;
}

Outcome Claim::echoed_answer(const Segment& segment, const ClaimContext& context) {
  Outcome out;
  out.packet = PacketVerdict::hold;
  if (pure_ack(segment)) {
    prove(out, segment, context);
  } else {
    // Fenced, but this SEQ may be a retransmission's: S needs the SEQ of a pure ACK.
    cursor_ = segment.ack;
    again_at_once(out, context);
  }
  return out;
}

Outcome Claim::unechoed_answer(const Segment& segment, const ClaimContext& context) {
  Outcome out;
  out.packet = PacketVerdict::hold;
  if (!pure_ack(segment)) return out;
  if (seq_before(cursor_, segment.ack)) {
    fence_at(out, segment.ack, context);
    return out;
  }
  // The same ACK: the client's SND.UNA is above our ACK, or the packet was sent before the fence came. The first is
  // only possible if it has sent something above; the second does not happen in each of two tries.
  if (segment.ack != cursor_ || seq_at_or_before(segment.seq, fence_ack_) || try_answered_) return out;
  try_answered_ = true;
  if (++unechoed_ < 2) return out;
  fence_ack_ = segment.seq;
  fence_at(out, cursor_, context);
  return out;
}

// ---- both

Outcome Claim::try_again(const ClaimContext& context) {
  Outcome out;
  const bool probing = state_ == FlowState::probing;
  if (probing && context.owner_living && !in_force_ &&
      !was_owner_) {  // once a fence is out it may be in force: then we go on
    give_up(out, GiveUpReason::owner_living, context, facts_.owner);
    return out;
  }
  if (probing && !fenceable()) {
    note_allowed(context);
    if (context.now - started_ >= options_.unfenced_timeout) {
      give_up(out, GiveUpReason::no_majority, context);
      return out;
    }
  }
  if (context.now < deadline_) return out;
  if (attempt_ >= options_.tries) {
    give_up(out, GiveUpReason::no_answer, context);
    return out;
  }
  try_answered_ = false;
  send_again(out, context);
  arm(attempt_++, context);
  return out;
}

void Claim::send_again(Outcome& out, const ClaimContext& context) {
  if (state_ == FlowState::probing) {
    // Never a position that was only sent: the byte would reach the application. While nothing is acknowledged, ISS
    // - 1.
    nudge(out, facts_.acked - 2, facts_.received, clock_of_former(context), context);
  } else {
    nudge(out, cursor_ - 1, fence_ack_, fence_, context);
  }
}

// No fence of anybody's would be accepted any more, now or later. An RST needs none (Linux, tcp_validate_incoming():
// "Reset is accepted even if it did not pass PAWS").
void Claim::end_by_reset(Outcome& out, std::uint32_t cursor, const ClaimContext& context) {
  const bool had_session = was_owner_ || state_ == FlowState::frozen;
  give_up(out, GiveUpReason::ts_advance, context);
  out.actions.push_back(action::Reset{cursor, facts_.received});
  out.actions.push_back(action::EndRecord{});
  if (had_session) out.actions.push_back(action::Release{});
  state_ = FlowState::released;
  deadline_ = TimePoint::max();
}

void Claim::give_up(Outcome& out, GiveUpReason reason, const ClaimContext& context, std::optional<NodeId> served_by) {
  out.actions.push_back(action::GiveUp{reason, served_by});
  state_ = was_owner_ ? FlowState::frozen : FlowState::none;
  deadline_ = was_owner_ ? context.now + options_.announce_timeout : TimePoint::max();
  in_force_ = false;
  attempt_ = options_.tries;  // frozen: its verifications are over
  reclaim_from_ = context.now + options_.announce_timeout;
}

// S. Every byte that somebody else can have taken was sent before the fence was accepted, so it lies below the SND.NXT
// of the answer. Linux clips that SEQ to the window it was last offered. Ours is 65535 scaled, and the client's SND.UNA
// is our ACK (else no echo), so no former owner can have offered more: even at the edge SEQ is an upper bound, and
// leaving it out would make S too small.
void Claim::prove(Outcome& out, const Segment& answer, const ClaimContext& context) {
  if (!fenceable()) {
    // A client whose SND.UNA is L sends again from there; one that did not has nothing to send: the dead owner
    // acknowledged it.
    fence_ack_ = resent_ ? facts_.received : seq_max(facts_.received, answer.seq);
  }
  const bool lost = seq_before(facts_.received, fence_ack_);
  Proof proof;
  proof.ack = answer.ack;
  proof.received = lost ? fence_ack_ : facts_.received;
  proof.seq = seq_max(seq_max(proof.received, answer.seq), seen_end_.value_or(answer.seq));
  proof.seq_clipped = answer.seq == (fenceable() ? fence_ack_ : facts_.received) + facts_.window_max;
  proof.sack_edge = answer.ack;
  for (const SackBlock& block : answer.sacks) proof.sack_edge = seq_max(proof.sack_edge, block.right);
  proof.sack_above = proof.sack_edge != answer.ack;
  proof.sack_full = answer.sacks.size() >= (facts_.timestamps ? 3U : 4U);
  proof.lost_bytes = lost;
  proof.unknown_owner = fenceable() && unknown_owner_;
  proof.fenced = fenceable();
  proof.fence = fenceable() ? fence_ : facts_.timestamps ? seq_max(newest_->echo, clock_of_former(context)) : 0;
  proof.ts_advance = fenceable() ? ts_advance_ : facts_.ts_advance;
  proof.window = answer.window;
  out.actions.push_back(action::Proven{proof});
  state_ = FlowState::proven;
  deadline_ = context.now + options_.rebuild_timeout;
}

// ---- proven: the driver rebuilds

Outcome Claim::proven_packet(const Segment& segment, const ClaimContext&) {
  Outcome out;
  out.packet = PacketVerdict::hold;
  if (fenceable() && segment.timestamps && seq_diff(segment.timestamps->echo, fence_) > kReplacedAhead) {
    out.packet = PacketVerdict::drop;
    release(out);
  }
  return out;
}

Outcome Claim::on_rebuilt(const SessionRecord& ours, const ClaimContext& context) {
  Outcome out;
  if (state_ != FlowState::proven) {
    release(out);  // too late: somebody fenced over us meanwhile, or we had given up
    return out;
  }
  facts_ = facts_of(ours);
  state_ = FlowState::owner;
  rest_as_owner(context);
  return out;
}

Outcome Claim::on_rebuild_failed(const ClaimContext& context) {
  Outcome out;
  if (state_ != FlowState::proven) return out;
  give_up(out, GiveUpReason::rebuild_failed, context);
  return out;
}

}  // namespace suture::healing
