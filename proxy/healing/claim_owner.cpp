// The owner's side of the claim table: suspicion, verification, silence.
#include <algorithm>
#include <tuple>

#include <suture/sequence.hpp>

#include "proxy/healing/claim.hpp"

namespace suture::healing {

Claim Claim::owner(NodeId self, const SessionRecord& record, const Options& options, const ClaimContext& context) {
  Claim claim(self, record, options, FlowState::owner);
  claim.rest_as_owner(context);
  return claim;
}

// An echo ahead of what we have sent: the client accepted somebody else's fence. (One behind us is merely old.)
bool Claim::foreign(std::uint32_t echo, const ClaimContext& context) const {
  return context.former_clock_known && seq_diff(echo, context.former_clock) > kReplacedAhead;
}

void Claim::rest_as_owner(const ClaimContext& context) {
  was_owner_ = false;
  claimed_ = false;
  foreign_echo_.reset();
  absent_since_.reset();
  deadline_ = TimePoint::max();
  // A false alarm is remembered, or the next would be the first again.
  if (grace_until_ && context.now - *grace_until_ <= options_.grace_max) {
    deadline_ = *grace_until_ + options_.grace_max + Millis{1};
  }
  if (facts_.fenced) deadline_ = std::min(deadline_, context.now + options_.renew_every);
}

// At c - 1 with our own clock: stored by a client that nobody has fenced, refused by one that somebody has.
void Claim::verify(Outcome& out, const ClaimContext& context) {
  nudge(out, cursor_ - 1, facts_.received, seq_max(context.former_clock, verify_since_), context);
}

// ---- owner

Outcome Claim::owner_packet(const Segment& segment, const ClaimContext& context) {
  if (!fenceable() || !segment.timestamps || !foreign(segment.timestamps->echo, context)) {
    Outcome out;
    out.packet = PacketVerdict::deliver;
    return out;
  }
  Outcome out = on_foreign_echo(segment.timestamps->echo, context);
  out.packet = PacketVerdict::drop;
  return out;
}

Outcome Claim::on_foreign_echo(std::uint32_t tsecr, const ClaimContext& context) {
  Outcome out;
  if (!fenceable()) return out;
  if (state_ == FlowState::proven) {
    if (seq_diff(tsecr, fence_) > kReplacedAhead) release(out);
    return out;
  }
  if ((state_ != FlowState::owner && state_ != FlowState::frozen) || !foreign(tsecr, context)) return out;
  if (!foreign_echo_ || !seq_before(tsecr, *foreign_echo_)) {
    foreign_echo_ = tsecr;
    foreign_node_ = NodeId{static_cast<std::uint8_t>(slot_owner(tsecr, context.slot_now_ms))};
  }
  if (state_ == FlowState::frozen) {
    client_here_ = true;
    // Claimed, and the client says so, too.
    if (claimed_ && !seq_before(tsecr, claimed_fence_)) release(out);
    return out;
  }
  // After a false alarm a forger could keep us frozen for ever. Not freezing is safe for a while: such packets do not
  // reach the socket, and what it still holds was sent before any fence, below S.
  if (!grace_until_ || context.now >= *grace_until_) {
    freeze(out, context);
  } else if (context.now >= verify_again_) {
    verify_again_ = context.now + grace_ / (options_.tries + 1);
    cursor_ = facts_.acked;
    verify_since_ = context.former_clock;
    verify(out, context);
  }
  return out;
}

Outcome Claim::owner_tick(const ClaimContext& context) {
  Outcome out;
  if (context.now < deadline_) return out;
  rest_as_owner(context);
  if (!facts_.fenced || !context.former_may_live) return out;
  cursor_ = facts_.acked;
  verify_since_ = context.former_clock;
  verify(out, context);
  return out;
}

Outcome Claim::owner_claimed(const SessionRecord& theirs, const ClaimContext& context) {
  Outcome out;
  if (!fenceable()) {
    const auto rank = [](const auto& r) { return std::tuple(r.epoch, to_int(r.owner), r.incarnation); };
    if (rank(theirs) > rank(facts_)) release(out);
    return out;
  }
  // No fence, or an earlier one than ours: not what the client accepts.
  if (!theirs.fenced || (facts_.fenced && seq_at_or_before(theirs.fence, facts_.fence))) return out;
  claimed_ = true;
  claimed_epoch_ = theirs.epoch;
  claimed_fence_ = theirs.fence;
  freeze(out, context);
  return out;
}

// ---- frozen

void Claim::freeze(Outcome& out, const ClaimContext& context) {
  state_ = FlowState::frozen;
  frozen_at_ = context.now;
  reclaim_from_ = context.now;
  client_here_ = foreign_echo_.has_value();
  cursor_ = facts_.acked;
  // Above whatever our socket has sent in this very millisecond.
  verify_since_ = context.former_clock + 2;
  attempt_ = 0;
  rounds_ = 0;
  out.actions.push_back(action::Freeze{});
  verify(out, context);
  arm(attempt_++, context);
}

Outcome Claim::frozen_packet(const Segment& segment, const ClaimContext& context) {
  Outcome out;
  out.packet = PacketVerdict::drop;
  if (!segment.timestamps) return out;
  const std::uint32_t echo = segment.timestamps->echo;
  if (foreign(echo, context)) {
    out = on_foreign_echo(echo, context);
    const unsigned named = slot_owner(echo, context.slot_now_ms);
    const bool there = context.living[named] && named != to_int(self_);
    out.packet = there ? PacketVerdict::forward : PacketVerdict::drop;
    if (there) out.forward_to = NodeId{static_cast<std::uint8_t>(named)};
    return out;
  }
  if (!plausible(segment) || !known_echo(segment, context)) return out;
  note(segment);
  client_here_ = true;
  if (!seq_before(echo, verify_since_)) {
    out.packet = PacketVerdict::deliver;
    thaw(out, context);
    return out;
  }
  // Its own echo, but from before the suspicion: nothing is proven.
  out.packet = PacketVerdict::hold;
  const bool moved = seq_before(cursor_, segment.ack) && rounds_ < options_.rounds_max;
  const bool silent = attempt_ >= options_.tries && context.now >= deadline_;
  if (!moved && !silent) return out;
  if (moved) ++rounds_;
  cursor_ = seq_max(cursor_, segment.ack);
  attempt_ = 0;
  verify(out, context);
  arm(attempt_++, context);
  return out;
}

Outcome Claim::frozen_tick(const ClaimContext& context) {
  Outcome out;
  if (context.now - frozen_at_ >= options_.session_timeout) {
    release(out);
    return out;
  }
  const bool absent = claimant_absent(context);
  if (context.now < deadline_) return out;
  if (attempt_ < options_.tries) {
    verify(out, context);
    arm(attempt_++, context);
    return out;
  }
  deadline_ = context.now + options_.first_timeout;
  if (claimed_) {
    release(out);  // nobody contradicts the claim
  } else if (absent && client_here_ && context.now >= reclaim_from_ && !context.clocks_apart) {
    was_owner_ = true;
    begin_probing(out, context);
  }
  return out;
}

// The node that fenced our client is dead, or lives and says nothing: it may have given up after a fence that was
// accepted nevertheless. To fence over it is safe, and somebody must.
bool Claim::claimant_absent(const ClaimContext& context) {
  if (foreign_echo_ && foreign_node_ != self_ && context.living[to_int(foreign_node_)]) {
    absent_since_.reset();
    return context.now - frozen_at_ >= options_.announce_timeout;
  }
  if (!absent_since_) absent_since_ = context.now;
  return context.now - *absent_since_ >= options_.lease;
}

Outcome Claim::frozen_claimed(const SessionRecord& theirs) {
  Outcome out;
  if (!theirs.fenced || (facts_.fenced && seq_at_or_before(theirs.fence, facts_.fence))) return out;
  if (state_ == FlowState::released) return out;
  // We are claiming it back, and our fence is later: the client will tell the other.
  if ((state_ == FlowState::fencing || state_ == FlowState::proven) && seq_before(theirs.fence, fence_)) return out;
  claimed_ = true;
  claimed_epoch_ = theirs.epoch;
  claimed_fence_ = theirs.fence;
  const bool client_agrees = foreign_echo_ && !seq_before(*foreign_echo_, theirs.fence);
  if (client_agrees || state_ != FlowState::frozen) release(out);
  return out;
}

void Claim::thaw(Outcome& out, const ClaimContext& context) {
  const bool quiet_long = grace_until_ && context.now - *grace_until_ > options_.grace_max;
  grace_ = grace_ == Millis{0} || quiet_long ? options_.grace : std::min(2 * grace_, options_.grace_max);
  grace_until_ = context.now + grace_;
  verify_again_ = context.now;
  if (claimed_) facts_.epoch = std::max(facts_.epoch, claimed_epoch_) + 1;
  out.actions.push_back(action::Thaw{claimed_, facts_.epoch});
  state_ = FlowState::owner;
  rest_as_owner(context);
}

void Claim::release(Outcome& out) {
  out.actions.push_back(action::Release{});
  state_ = FlowState::released;
  deadline_ = TimePoint::max();
}

}  // namespace suture::healing
