// What a claim sends, and what it believes of what it hears.
#include <algorithm>
#include <chrono>

#include <suture/sequence.hpp>

#include "proxy/healing/claim.hpp"

namespace suture::healing {
namespace {

// Positions further apart than this are no lagging record but another connection or a forgery.
constexpr std::int32_t kPositionLag = 1 << 30;

bool within(std::uint32_t value, std::uint32_t low, std::uint32_t high) {
  return seq_at_or_before(low, value) && seq_at_or_before(value, high);
}

}  // namespace

Claim::Facts Claim::facts_of(const SessionRecord& record) {
  const ConnFacts& c = record.facts;
  Facts f;
  f.key = c.key;
  f.iss = c.iss;
  f.irs = c.irs;
  f.acked = to_seq(c.iss, record.out_acked);
  f.sent = to_seq(c.iss, record.out_sent);
  f.received = to_seq(c.irs, record.in_known);
  f.window_max = std::uint32_t{kNudgeWindow} << (c.wscale_ok ? c.rcv_wscale : 0);
  f.timestamps = c.timestamps;
  f.hint = c.hint;
  f.fenced = record.fenced;
  f.fence = record.fence;
  f.ts_advance = record.ts_advance;
  f.flow_label = c.flow_label;
  f.epoch = record.epoch;
  f.incarnation = record.incarnation;
  f.owner = record.owner;
  return f;
}

void Claim::nudge(Outcome& out, std::uint32_t seq, std::uint32_t ack, std::uint32_t tsval,
                  const ClaimContext& context) {
  Nudge nudge{.key = facts_.key, .seq = seq, .ack = ack, .timestamps = {}, .flow_label = facts_.flow_label};
  if (facts_.timestamps) nudge.timestamps = Timestamps{.value = tsval, .echo = newest_ ? newest_->value : 0};
  out.actions.push_back(action::Send{nudge});
  nudge_ack_ = ack;
  nudged_at_ = context.now;
}

void Claim::arm(unsigned attempt, const ClaimContext& context) {
  deadline_ = context.now + options_.first_timeout * (1 << attempt);
}

// Only of plausible segments: a forged end would make S too large, and later requests would be refused.
void Claim::note(const Segment& segment) {
  const std::uint32_t end = segment.seq + segment.length();
  seen_end_ = seen_end_ ? seq_max(*seen_end_, end) : end;
  if (segment.timestamps) {
    const std::uint32_t value =
        newest_ ? seq_max(newest_->value, segment.timestamps->value) : segment.timestamps->value;
    newest_ = Timestamps{.value = value, .echo = segment.timestamps->echo};
  }
}

// Could the client of this record have sent it? Loose, because records lag.
bool Claim::plausible(const Segment& segment) const {
  if ((segment.flags & kAck) == 0 || segment.timestamps.has_value() != facts_.timestamps) return false;
  if (seq_before(segment.ack, facts_.acked) || seq_diff(segment.ack, facts_.acked) > kPositionLag) return false;
  const std::int32_t ahead = seq_diff(segment.seq, facts_.received);
  return ahead <= kPositionLag && ahead >= -static_cast<std::int32_t>(facts_.window_max);
}

std::uint32_t Claim::first_echo(const SessionRecord& record, std::uint32_t clock, std::optional<Millis> since_state) {
  constexpr Millis kBeforeState = std::chrono::seconds(60);
  constexpr std::uint32_t kMost = 1U << 30;  // twelve days
  std::uint32_t age = kMost;
  if (since_state)
    age = static_cast<std::uint32_t>(std::min<Millis::rep>((*since_state + kBeforeState).count(), kMost));
  // The fence lies in the past, but after 24 days not in serial order any more.
  return clock - (record.fenced ? std::min(clock - record.fence, age) : age);
}

// The echo is the nonce that a blind spoofer lacks: a forged ACK ahead of the client's would put the garbage byte where
// it is data. It is ours, or one that the record's owner has sent since it became the owner, or believed already.
bool Claim::known_echo(const Segment& segment, const ClaimContext& context) const {
  if (!fenceable()) return true;  // there is none
  const std::uint32_t echo = segment.timestamps->echo;
  if (state_ == FlowState::fencing && echo == fence_) return true;
  if (believed_echo_ == echo) return true;
  return context.former_clock_known && within(echo, context.former_first, context.former_clock + kReplacedAhead);
}

// Any other echo (of a SYN-ACK; of a dead claimant that never announced; of an owner whose clock we do not know) is
// believed when a second answer brings it again.
bool Claim::believe(const Segment& segment, const ClaimContext& context) {
  if (known_echo(segment, context)) return true;
  const std::uint32_t echo = segment.timestamps->echo;
  if (candidate_ && candidate_->first == echo && candidate_->second == segment.ack) {
    believed_echo_ = echo;
    return true;
  }
  candidate_ = std::pair(echo, segment.ack);
  return false;
}

// May its ACK be the first fence's position without a probe?
bool Claim::trusted(const Segment& segment, const ClaimContext& context) const {
  return context.former_clock_known && segment.timestamps &&
         within(segment.timestamps->echo, context.former_first, context.former_clock) &&
         within(segment.ack, facts_.acked, facts_.sent) &&
         within(segment.seq, facts_.received - facts_.window_max, facts_.received + facts_.window_max);
}

// Nobody has told us the owner's clock (a third node's record): from the slot, at most 2^16 late. Its upper bits are
// those of what the client echoes, which is never ahead of the owner.
std::uint32_t Claim::clock_of_former(const ClaimContext& context) const {
  if (context.former_clock_known) return context.former_clock;
  const std::uint32_t echo = newest_ ? newest_->echo : facts_.fence;
  return facts_.hint ? slot_tsval(echo, context.slot_now_ms, to_int(facts_.owner), 0) : echo;
}

std::optional<std::uint32_t> Claim::choose_fence(const ClaimContext& context) {
  const std::uint32_t clock = clock_of_former(context);
  const std::uint32_t base = newest_ ? seq_max(newest_->echo, clock) : clock;
  const std::uint32_t fence = slot_tsval(base + kFenceLead, context.slot_now_ms, to_int(self_), context.random);
  // The record's owner is `ts_advance` ahead of the first former owner already.
  const std::uint64_t advance = std::uint64_t{facts_.ts_advance} + (fence - clock);
  if (advance > kAdvanceMax) return {};
  ts_advance_ = static_cast<std::uint32_t>(advance);
  return fence;
}

}  // namespace suture::healing
