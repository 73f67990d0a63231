// Events of the claim table, and where each state takes them.
#include "proxy/healing/claim.hpp"

#include <suture/sequence.hpp>

namespace suture::healing {
Claim Claim::claimant(NodeId self, const SessionRecord& record, const Options& options) {
  return {self, record, options, FlowState::none};
}

Outcome Claim::on_packet(const Segment& segment, const ClaimContext& context) {
  Outcome out;
  out.packet = PacketVerdict::drop;
  if ((segment.flags & kRst) != 0) {
    out = on_reset_from_client(segment.seq, context);
    out.packet = state_ == FlowState::owner ? PacketVerdict::deliver : PacketVerdict::drop;
    return out;
  }
  if ((segment.flags & kSyn) != 0) return out;
  switch (state_) {
    case FlowState::none:
      return stray(segment, context);
    case FlowState::probing:
      return probe_answer(segment, context);
    case FlowState::fencing:
      return fence_answer(segment, context);
    case FlowState::proven:
      return proven_packet(segment, context);
    case FlowState::owner:
      return owner_packet(segment, context);
    case FlowState::frozen:
      return frozen_packet(segment, context);
    case FlowState::released:
      return out;
  }
  return out;
}

Outcome Claim::on_tick(const ClaimContext& context) {
  switch (state_) {
    case FlowState::probing:
    case FlowState::fencing:
      return try_again(context);
    case FlowState::proven:
      return context.now < deadline_ ? Outcome{} : on_rebuild_failed(context);
    case FlowState::owner:
      return owner_tick(context);
    case FlowState::frozen:
      return frozen_tick(context);
    case FlowState::none:
    case FlowState::released:
      return {};
  }
  return {};
}

// ---- news

Outcome Claim::on_owner_living(const ClaimContext& context) {
  Outcome out;
  if (state_ == FlowState::probing && !was_owner_ && !in_force_)
    give_up(out, GiveUpReason::owner_living, context, facts_.owner);
  return out;
}

Outcome Claim::on_record(const SessionRecord& newer, const ClaimContext&) {
  Facts facts = facts_of(newer);
  if (facts.iss != facts_.iss || facts.irs != facts_.irs || facts.owner != facts_.owner) return {};
  facts.acked = seq_max(facts.acked, facts_.acked);
  facts.sent = seq_max(facts.sent, facts_.sent);
  facts.received = seq_max(facts.received, facts_.received);
  facts_ = facts;
  return {};
}

// Not the later of the two: between two events the stream may have gone round.
void Claim::on_own_record(const SessionRecord& newer) {
  const Facts facts = facts_of(newer);
  const bool of_this = facts.iss == facts_.iss && facts.irs == facts_.irs && facts.owner == facts_.owner &&
                       facts.incarnation == facts_.incarnation;
  // A lower epoch: the worker has not published yet what we have told it.
  if (of_this && facts.epoch >= facts_.epoch) facts_ = facts;
}

Outcome Claim::on_claimed(const SessionRecord& theirs, const ClaimContext& context) {
  Outcome out;
  // Not merely by id: two nodes may have been given one.
  if (theirs.owner == facts_.owner && theirs.incarnation == facts_.incarnation) return out;
  if (theirs.facts.iss != facts_.iss || theirs.facts.irs != facts_.irs) return out;
  if (state_ == FlowState::owner) return owner_claimed(theirs, context);
  if (state_ == FlowState::frozen || was_owner_) return frozen_claimed(theirs);
  const bool later = theirs.fenced ? seq_before(fence_, theirs.fence) : theirs.epoch > facts_.epoch;
  if (state_ == FlowState::proven) {
    if (later) release(out);
    return out;
  }
  if (state_ == FlowState::released || (state_ == FlowState::fencing && !later)) return out;  // the later fence wins
  const bool active = state_ != FlowState::none;
  facts_ = facts_of(theirs);
  if (!active) return out;
  if (context.living[to_int(theirs.owner)]) {
    give_up(out, GiveUpReason::superseded, context, theirs.owner);
  } else {
    begin_probing(out, context);
  }
  return out;
}

Outcome Claim::on_reset_from_client(std::uint32_t seq, const ClaimContext& context) {
  Outcome out;
  const bool nudging = state_ == FlowState::probing || state_ == FlowState::fencing || state_ == FlowState::frozen;
  if (!nudging || !nudged_at_ || context.now - *nudged_at_ > kResetWindow || seq != nudge_ack_) return out;
  out.actions.push_back(action::EndRecord{});
  if (state_ == FlowState::frozen || was_owner_) out.actions.push_back(action::Release{});
  state_ = FlowState::released;
  deadline_ = TimePoint::max();
  return out;
}

}  // namespace suture::healing
