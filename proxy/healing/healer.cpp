#include "proxy/healing/healer.hpp"

#include <tuple>
#include <utility>

#include <suture/log.hpp>
#include <suture/sequence.hpp>

#include "proxy/healing/heal_plan.hpp"

namespace suture::healing {
namespace {

// What a claim adds to ts_advance at most: a turn of all slots, and the lead.
constexpr std::uint64_t kAdvanceOfAClaim = (1U << 28) + Claim::kFenceLead;

constexpr Millis kReminderLast{1600};
constexpr auto kSweepEvery = std::chrono::seconds(1);
constexpr auto kReleaseTime = std::chrono::seconds(1);
constexpr auto kAdoptionTime = std::chrono::seconds(2);

bool same_state(const SessionRecord& a, const SessionRecord& b) {
  const auto exchange = [](const SessionRecord& r) {
    return r.http
               ? std::tuple(r.http->exchanges, r.http->phase, r.http->response_start, r.http->response_end)
               : decltype(std::tuple(r.http->exchanges, r.http->phase, r.http->response_start, r.http->response_end)){};
  };
  const auto state = [](const SessionRecord& r) {
    return std::tuple(r.owner, r.incarnation, r.session_id, r.epoch, r.in_known, r.out_sent, r.out_acked, r.fenced,
                      r.fence, r.facts.hint);
  };
  return state(a) == state(b) && exchange(a) == exchange(b);
}

bool same_owner(const SessionRecord& a, const SessionRecord& b) {
  return a.owner == b.owner && a.incarnation == b.incarnation && a.session_id == b.session_id;
}

}  // namespace

// --- events ------------------------------------------------------------------------------------------------------

bool Healer::on_packet(const Segment& segment, std::span<const std::uint8_t> packet, TimePoint now) {
  if ((segment.flags & kRst) != 0 && !has_claim(segment.key)) return on_reset_of_the_dead(segment, now);
  Entry* entry = open_claim(segment.key, now);
  if (entry == nullptr) return false;
  apply(segment.key, entry->claim.on_packet(segment, context(*entry, now)), now, packet);
  return true;
}

// A paced probe is sent without a claim. A client that is gone answers it with its ACK as SEQ (RFC 9293
// section 3.10.7.1); one that resets the connection by itself at that place means the same.
bool Healer::on_reset_of_the_dead(const Segment& segment, TimePoint now) {
  const SessionRecord* record = world_.record(segment.key);
  if (record == nullptr || world_.is_own(*record) || world_.situation(*record, now).owner_living) return false;
  if (segment.seq != to_seq(record->facts.irs, record->in_known)) return false;
  metrics_.records_ended.add();
  world_.end_record(segment.key);
  return true;
}

void Healer::on_replaced(const suture_flow_key& key, std::uint32_t tsecr, TimePoint now) {
  const SessionRecord* record = world_.record(key);
  if (record == nullptr || !world_.is_own(*record)) return;
  Entry* entry = open_owner(*record, now);
  if (entry != nullptr) apply(key, entry->claim.on_foreign_echo(tsecr, context(*entry, now)), now);
}

void Healer::on_claimed(const SessionRecord& theirs, TimePoint now) {
  const auto& key = theirs.facts.key;
  const auto it = claims_.find(key);
  Entry* entry = it != claims_.end() ? it->second.get() : nullptr;
  const SessionRecord* own = entry == nullptr || entry->ours ? world_.own_record(key) : nullptr;
  if (own != nullptr) entry = open_owner(*own, now);
  if (entry != nullptr) apply(key, entry->claim.on_claimed(theirs, context(*entry, now)), now);
}

void Healer::on_gated(const suture_flow_key& key, TimePoint now) {
  const SessionRecord* own = world_.own_record(key);
  if (own == nullptr || has_claim(key)) return;
  metrics_.gated_probes.add();
  send_probe(*own, now);
}

Healer::ProbeResult Healer::probe(const suture_flow_key& key, TimePoint now) {
  const SessionRecord* record = world_.record(key);
  if (record == nullptr || world_.is_own(*record) || world_.situation(*record, now).owner_living) {
    return {Probed::over, {}};
  }
  if (has_claim(key)) return {};
  if (const auto until = waits_for_owner(*record, now)) return {Probed::too_soon, *until};
  send_probe(*record, now);
  return {};
}

// The table's own first step, without the claim: the answer may reach any PoP.
void Healer::send_probe(const SessionRecord& record, TimePoint now) {
  auto situation = world_.situation(record, now);
  situation.now = now;
  situation.random = world_.random();
  for (const auto& action : Claim::probe_of(record, options_.claim, situation).actions) {
    if (const auto* send = std::get_if<action::Send>(&action)) {
      metrics_.nudges.add();
      world_.send(build_nudge(send->nudge));
    }
  }
}

void Healer::on_adopted(const suture_flow_key& key, ResumeRung rung, const char* reason, TimePoint now) {
  const auto it = stories_.find(key);
  if (it == stories_.end()) return;
  metrics_.heal_seconds.observe(std::chrono::duration<double>(now - it->second.opened).count());
  tell(key, it->second, options_.self, rung, reason, now);
  stories_.erase(it);
}

// Sessions that end take their entries with them; those that only wait to renew their fence are no open claims.
void Healer::sweep(TimePoint now) {
  if (now - swept_at_ < kSweepEvery) return;
  swept_at_ = now;
  std::vector<suture_flow_key> ended;
  resting_ = 0;
  for (const auto& [key, entry] : claims_) {
    if (!entry->ours) continue;
    const bool adopted = entry->story.rebuilt && now - *entry->story.rebuilt < kAdoptionTime;
    if (!adopted && world_.own_record(key) == nullptr) ended.push_back(key);
    if (entry->claim.state() == FlowState::owner) ++resting_;
  }
  for (const auto& key : ended) close(key);
  resting_ = std::min(resting_, claims_.size());
  metrics_.open.set(static_cast<std::int64_t>(claims_.size() - resting_));
}

void Healer::remind(TimePoint now) {
  std::erase_if(reminders_, [&](Reminder& one) {
    if (now < one.due) return false;
    const auto& facts = one.ours.facts;
    if (world_.own_record(facts.key) == nullptr && one.wait > reminder_first) return true;
    Nudge nudge{facts.key, one.seq, one.ack, std::nullopt, facts.flow_label};
    if (facts.timestamps) {
      nudge.timestamps = Timestamps{facts.ts_offset + static_cast<std::uint32_t>(monotonic_ms(now)), 0};
    }
    metrics_.nudges.add();
    world_.send(build_nudge(nudge));
    one.wait *= 2;
    one.due = now + one.wait;
    return one.wait > kReminderLast;
  });
}

void Healer::on_tick(TimePoint now) {
  sweep(now);
  remind(now);
  if (now < next_due_) return;
  std::vector<suture_flow_key> due, unbuilt;
  for (const auto& [key, entry] : claims_) {
    if (entry->proof) unbuilt.push_back(key);
  }
  for (const auto& key : unbuilt) {
    if (const auto it = claims_.find(key); it != claims_.end()) try_rebuild(*it->second, now);
  }
  for (const auto& [key, entry] : claims_) {
    if (entry->claim.next_tick() <= now) due.push_back(key);
  }
  next_due_ = TimePoint::max();
  for (const auto& key : due) {
    const auto it = claims_.find(key);
    if (it == claims_.end() || !refresh(*it->second, now)) continue;
    apply(key, it->second->claim.on_tick(context(*it->second, now)), now);
  }
  for (const auto& [key, entry] : claims_) {
    next_due_ = std::min(next_due_, entry->proof ? now : entry->claim.next_tick());
  }
}

void Healer::on_owner_living(NodeId node, TimePoint now) {
  std::vector<suture_flow_key> affected;
  for (const auto& [key, entry] : claims_) {
    if (!entry->ours && entry->record.owner == node) affected.push_back(key);
  }
  for (const auto& key : affected) {
    const auto it = claims_.find(key);
    if (it == claims_.end()) continue;
    const auto situation = context(*it->second, now);
    if (situation.owner_living) apply(key, it->second->claim.on_owner_living(situation), now);
  }
}

// --- claims ------------------------------------------------------------------------------------------------------

// The claim of a flow that lives at no living node; begun if there is none yet. Null: none can be begun.
Healer::Entry* Healer::open_claim(const suture_flow_key& key, TimePoint now) {
  if (const auto it = claims_.find(key); it != claims_.end()) {
    return refresh(*it->second, now) ? it->second.get() : nullptr;
  }
  const SessionRecord* record = world_.record(key);
  if (record == nullptr || world_.is_own(*record) || waits_for_owner(*record, now)) return nullptr;
  return open(Claim::claimant(options_.self, *record, options_.claim), *record, false, now);
}

// Where a claim could only end the session, its end waits a little: an owner that merely seemed dead (a machine that
// stood still for a moment, a path that was cut) takes it up again, and nothing was lost.
std::optional<TimePoint> Healer::waits_for_owner(const SessionRecord& record, TimePoint now) {
  const auto dead_for = world_.owner_dead_for(record, now);
  if (!dead_for || *dead_for >= options_.end_grace) return std::nullopt;
  if (!ends_as_known(record) && record.ts_advance + kAdvanceOfAClaim <= Claim::kAdvanceMax) return std::nullopt;
  metrics_.ends_put_off.add();
  return now + (options_.end_grace - *dead_for);
}

Healer::Entry* Healer::open_owner(const SessionRecord& own, TimePoint now) {
  if (const auto it = claims_.find(own.facts.key); it != claims_.end()) {
    Entry* known = it->second.get();
    return !known->ours || refresh(*known, now) ? known : nullptr;
  }
  auto situation = world_.situation(own, now);
  situation.now = now;
  situation.random = world_.random();
  return open(Claim::owner(options_.self, own, options_.claim, situation), own, true, now);
}

Healer::Entry* Healer::open(Claim claim, const SessionRecord& record, bool ours, TimePoint now) {
  if (claims_.size() - resting_ >= options_.claims_max) {
    metrics_.claims_full.add();
    return nullptr;
  }
  metrics_.claims_opened.add();
  auto entry = std::make_unique<Entry>(Entry{std::move(claim), record, {}, ours, {}, {}, false});
  entry->story.former = record.owner;
  entry->story.dead_for = world_.owner_dead_for(record, now);
  entry->story.opened = now;
  Entry* out = entry.get();
  claims_.emplace(record.facts.key, std::move(entry));
  metrics_.open.set(static_cast<std::int64_t>(claims_.size() - resting_));
  return out;
}

// What the directory has learnt since the last event. False: the session is over, and with it the claim.
bool Healer::refresh(Entry& entry, TimePoint now) {
  const auto key = entry.record.facts.key;
  if (entry.ours) {
    const SessionRecord* own = world_.own_record(key);
    if (own != nullptr) {
      entry.record = *own;
      entry.claim.on_own_record(*own);
    }
    // An adopted session says so through its worker's queue.
    if (own != nullptr || (entry.story.rebuilt && now - *entry.story.rebuilt < kAdoptionTime)) return true;
    return close(key), false;
  }
  const SessionRecord* record = world_.record(key);
  if (record == nullptr) return close(key), false;
  if (same_state(entry.record, *record)) return true;
  const bool claimed = !same_owner(entry.record, *record);
  entry.record = *record;
  if (claimed) {
    apply(key, entry.claim.on_claimed(*record, context(entry, now)), now);
  } else {
    apply(key, entry.claim.on_record(*record, context(entry, now)), now);
  }
  return claims_.contains(key);
}

ClaimContext Healer::context(const Entry& entry, TimePoint now) {
  auto situation = world_.situation(entry.record, now);
  situation.now = now;
  situation.random = world_.random();
  return situation;
}

void Healer::close(const suture_flow_key& key) {
  const auto it = claims_.find(key);
  if (it == claims_.end()) return;
  if (it->second->listed) world_.clear_flow_state(key);
  if (it->second->own_left) world_.forget_own(key);
  claims_.erase(it);
  holding_.take(key);
  resting_ = std::min(resting_, claims_.size());
  metrics_.open.set(static_cast<std::int64_t>(claims_.size() - resting_));
}

bool Healer::list(Entry& entry, suture_flow_phase phase) {
  if (world_.set_flow_state(entry.record.facts.key, phase)) {
    entry.listed = true;
    return true;
  }
  metrics_.flow_map_full.add();
  return false;
}

void Healer::unlist(Entry& entry) {
  if (entry.listed) world_.clear_flow_state(entry.record.facts.key);
  entry.listed = false;
}

// --- outcomes ----------------------------------------------------------------------------------------------------

void Healer::apply(const suture_flow_key& key, const Outcome& outcome, TimePoint now,
                   std::span<const std::uint8_t> packet) {
  switch (outcome.packet) {
    case PacketVerdict::hold:
      if (!holding_.hold(key, Packet(packet.begin(), packet.end()))) metrics_.packets_held_dropped.add();
      break;
    case PacketVerdict::deliver:
      world_.inject(packet);
      break;
    case PacketVerdict::forward:
      world_.forward(outcome.forward_to, packet);
      break;
    case PacketVerdict::none:
    case PacketVerdict::drop:
      break;
  }
  for (const auto& action : outcome.actions) {
    const auto it = claims_.find(key);  // an action may end the claim
    if (it == claims_.end()) return;
    std::visit([&](const auto& one) { carry_out(*it->second, one, now); }, action);
  }
  settle(key);
}

// A claim that rests is no claim any more.
void Healer::settle(const suture_flow_key& key) {
  const auto it = claims_.find(key);
  if (it == claims_.end()) return;
  const Claim& claim = it->second->claim;
  next_due_ = std::min(next_due_, claim.next_tick());
  const bool over = claim.state() == FlowState::none || claim.state() == FlowState::released ||
                    (claim.state() == FlowState::owner && claim.next_tick() == TimePoint::max());
  if (over) close(key);
}

void Healer::carry_out(Entry& entry, const action::Send& send, TimePoint) {
  // Without its place there the answer would not come here: no claim begins. The client sends again.
  if (!entry.listed && !entry.ours && !list(entry, SUTURE_FLOW_CLAIMING)) {
    const auto key = entry.record.facts.key;
    return close(key);
  }
  metrics_.nudges.add();
  entry.story.nudges += 1;
  if (entry.claim.state() == FlowState::fencing) entry.story.fences += 1;
  world_.send(build_nudge(send.nudge));
}

void Healer::carry_out(Entry& entry, const action::Proven& proven, TimePoint now) {
  const auto key = entry.record.facts.key;
  metrics_.proven.add();
  entry.story.proven = now;
  metrics_.claim_seconds.observe(std::chrono::duration<double>(now - entry.story.opened).count());
  entry.proof = proven.proof;
  entry.rebuild_until = now;
  if (entry.ours) {
    // The worker closes it in its own time.
    world_.release(key, false);
    entry.ours = false;
    entry.own_left = true;
    entry.rebuild_until = now + kReleaseTime;
  }
  try_rebuild(entry, now);
}

void Healer::carry_out(Entry& entry, const action::Freeze&, TimePoint now) {
  // A session in doubt that the kernel does not gate could write into another's stream.
  if (!list(entry, SUTURE_FLOW_FROZEN)) return carry_out(entry, action::Release{}, now);
  metrics_.freezes.add();
  world_.freeze(entry.record.facts.key);
}

void Healer::carry_out(Entry& entry, const action::Thaw& thaw, TimePoint) {
  const auto key = entry.record.facts.key;
  metrics_.thaws.add();
  unlist(entry);
  world_.thaw(key, thaw.claimed ? std::optional(thaw.epoch) : std::nullopt);
  inject_held(key);
}

void Healer::carry_out(Entry& entry, const action::Release&, TimePoint) {
  const auto key = entry.record.facts.key;
  metrics_.releases.add();
  if (entry.ours) world_.release(key, true);
  close(key);
}

void Healer::carry_out(Entry& entry, const action::Reset& reset, TimePoint) {
  metrics_.resets.add();
  const auto& facts = entry.record.facts;
  world_.send(build_session_reset(facts.key, reset.seq, reset.ack, std::nullopt, facts.flow_label));
}

void Healer::carry_out(Entry& entry, const action::EndRecord&, TimePoint) {
  const auto key = entry.record.facts.key;
  metrics_.records_ended.add();
  if (entry.ours) world_.release(key, true);
  world_.end_record(key);
  close(key);
}

void Healer::carry_out(Entry& entry, const action::GiveUp& give_up, TimePoint now) {
  const auto key = entry.record.facts.key;
  metrics_.give_ups[static_cast<std::size_t>(give_up.reason)].add();
  tell(key, entry.story, options_.self, give_up.reason, now);
  for (const auto& packet : holding_.take(key)) {
    if (give_up.served_by && !entry.ours) world_.forward(*give_up.served_by, packet);
  }
  if (!entry.ours) unlist(entry);
}

}  // namespace suture::healing
