// The healer, once a claim is proven: the plan, the socket, the worker that takes the session.
#include <utility>

#include <suture/log.hpp>
#include <suture/sequence.hpp>

#include "proxy/healing/heal_plan.hpp"
#include "proxy/healing/healer.hpp"

namespace suture::healing {
namespace {

// RFC 7323 section 2.3: more than the largest window a client can have sent beyond a SEQ that was clipped to it.
constexpr std::uint64_t kWindowMax = 65535ULL << 14;

}  // namespace

void Healer::try_rebuild(Entry& entry, TimePoint now) {
  const auto key = entry.record.facts.key;
  const Proof proof = *entry.proof;
  auto ours = rebuild(entry, proof, now);
  if (!ours && ours.error().errno_value == EADDRINUSE && now < entry.rebuild_until) {
    next_due_ = std::min(next_due_, now);  // again at the next tick
    return;
  }
  entry.proof.reset();
  if (ours) {
    entry.ours = true;
    entry.own_left = false;
    unlist(entry);
    const auto outcome = entry.claim.on_rebuilt(*ours, context(entry, now));
    entry.record = std::move(*ours);
    apply(key, outcome, now);
  } else {
    metrics_.rebuild_errors.add();
    log::warn("rebuild_failed", {{"flow", to_string(key)}, {"error", ours.error().message}});
    apply(key, entry.claim.on_rebuild_failed(context(entry, now)), now);
  }
}

// The session's record as ours, once a worker has taken it.
Result<SessionRecord> Healer::rebuild(Entry& entry, const Proof& proof, TimePoint now) {
  const SessionRecord& theirs = entry.record;
  const auto& key = theirs.facts.key;
  ProofFacts facts;
  facts.cursor = to_offset(theirs.facts.iss, proof.ack, theirs.out_acked);
  facts.received = to_offset(theirs.facts.irs, proof.received, theirs.in_known);
  facts.client_sent = to_offset(theirs.facts.irs, proof.seq, theirs.in_known);
  facts.sack_above = proof.sack_above;
  facts.sack_full = proof.sack_full;
  facts.sack_edge = to_offset(theirs.facts.iss, proof.sack_edge, theirs.out_acked);
  facts.lost_bytes = proof.lost_bytes;
  facts.fenced = proof.fenced;
  // Of an owner without a record what the client may hold above c is in doubt, and what it wrote below c; of the
  // client's stream, the S rule covers what lies below S.
  const bool may_hold = proof.sack_above || !theirs.facts.sack_ok;
  facts.identical_only = proof.unknown_owner && may_hold;
  facts.unknown_owner = proof.unknown_owner;
  if (proof.seq_clipped) facts.client_sent += kWindowMax;

  RebuildSpec spec;
  spec.facts = theirs.facts;
  spec.facts.hint = proof.fenced;
  spec.out_seq = proof.ack;
  spec.in_seq = proof.received;
  spec.tsval = (proof.fence + 3) & ~1U;  // above F, in F's own place of our slot, even
  spec.window = proof.window;
  spec.mss_max = client_of(key).address().is_v4() ? options_.mss_max4 : options_.mss_max6;
  const auto begin = Clock::now();
  const auto made = world_.rebuild(spec);
  if (!made) return made.error();
  metrics_.rebuilds.add();
  entry.story.rebuilt = now;
  entry.story.rebuild_micros =
      static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - begin).count());

  SessionRecord ours = theirs;
  ours.facts = made->facts;
  ours.owner = options_.self;
  ours.incarnation = options_.incarnation;
  ours.epoch = world_.claim_epoch(key);
  ours.fenced = proof.fenced;
  ours.fence = proof.fence;
  ours.ts_advance = proof.ts_advance;
  // First what the client said: its window, its timestamp for our echo; then the session may write.
  unlist(entry);
  inject_held(key);
  const auto plan = plan_healing(theirs, facts);
  if (!world_.adopt({made->fd, ours, plan, theirs.owner})) {
    metrics_.adoption_refused.add();
    world_.discard(made->fd);
    return Error{"no worker takes it: the node is ending"};
  }
  const std::uint64_t window = std::uint64_t{proof.window} << theirs.facts.snd_wscale;
  if (window < 2ULL * theirs.facts.mss && reminders_.size() < options_.claims_max) {
    reminders_.push_back({ours, proof.ack - 1, proof.received, now + reminder_first, reminder_first});
  }
  if (stories_.size() < options_.claims_max) stories_.insert_or_assign(key, entry.story);
  return ours;
}

void Healer::inject_held(const suture_flow_key& key) {
  for (const auto& packet : holding_.take(key)) world_.inject(packet);
}

}  // namespace suture::healing
