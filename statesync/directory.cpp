#include <statesync/directory.hpp>

#include <algorithm>
#include <chrono>
#include <limits>
#include <string>
#include <tuple>
#include <vector>

#include <suture/sequence.hpp>

namespace suture::statesync {
namespace {

bool same_owner(const SessionRecord& a, const SessionRecord& b) {
  return a.owner == b.owner && a.incarnation == b.incarnation;
}

// Two states of one owner's sessions of one key that reached us on different ways (a snapshot of a third node).
bool newer(const SessionRecord& a, const SessionRecord& b) {
  if (a.session_id != b.session_id) return a.session_id > b.session_id;
  if (a.fenced && b.fenced && a.fence != b.fence) return seq_before(b.fence, a.fence);  // renewed
  // Each grows while those before it stay.
  const auto progress = [](const SessionRecord& r) {
    return std::tuple(r.epoch, r.http ? r.http->exchanges : 0, r.http ? r.http->phase : HttpPhase::idle, r.in_known,
                      r.out_sent, r.out_acked);
  };
  return progress(a) > progress(b);
}

}  // namespace

bool same_connection(const SessionRecord& a, const SessionRecord& b) {
  const bool known = a.facts.iss != 0 || a.facts.irs != 0;
  return known && a.facts.iss == b.facts.iss && a.facts.irs == b.facts.irs;
}

bool supersedes(const SessionRecord& a, bool a_living, const SessionRecord& b, bool b_living) {
  if (same_connection(a, b)) {
    if (a.fenced && b.fenced && a.fence != b.fence) return seq_before(b.fence, a.fence);
    if (a.fenced != b.fenced) return a.fenced ? a.epoch >= b.epoch : a.epoch > b.epoch;
  } else if (a_living != b_living) {
    return a_living;
  }
  return std::tuple(a.epoch, to_int(a.owner), a.incarnation) > std::tuple(b.epoch, to_int(b.owner), b.incarnation);
}

Directory::Directory(Options options, OwnerMap& map, Events events)
    : options_(options), map_(map), events_(std::move(events)) {
  living_[to_int(options_.self)] = options_.incarnation;
}

Applied Directory::count(Applied outcome) {
  applied_[static_cast<std::size_t>(outcome)].add();
  return outcome;
}

bool Directory::living(NodeId node, Incarnation incarnation) const {
  return incarnation != 0 && living_[to_int(node)] == incarnation;
}

std::optional<Millis> Directory::dead_for(NodeId node, Incarnation incarnation, TimePoint now) const {
  if (living(node, incarnation)) return std::nullopt;
  const auto since = dead_since_.find({node, incarnation});
  if (living_[to_int(node)] != 0 || since == dead_since_.end()) return Millis::max();
  return std::chrono::duration_cast<Millis>(now - since->second);
}

bool Directory::is_own(const SessionRecord& record) const {
  return record.owner == options_.self && record.incarnation == options_.incarnation;
}

Applied Directory::upsert_own(const SessionRecord& record, TimePoint now) {
  return count(place(record, now));
}

bool Directory::erase_own(const suture_flow_key& key, std::uint64_t session_id) {
  return erase(key, [&](const SessionRecord& record) { return is_own(record) && record.session_id == session_id; });
}

Applied Directory::apply_remote(NodeId peer, Incarnation incarnation, SessionRecord record, TimePoint now) {
  const bool of_sender = record.owner == peer && record.incarnation == incarnation;
  if (!of_sender) {
    if (!in_snapshot_[to_int(peer)]) return count(Applied::not_owner);
    // The sender's own former incarnations are third nodes, too.
    if (living(record)) return count(record.owner == options_.self ? Applied::not_owner : Applied::older);
    const SessionRecord* known = find(record.facts.key);
    if (known && same_owner(*known, record) && !newer(record, *known)) return count(Applied::older);
  }
  const auto it = entries_.find(record.facts.key);
  const bool comparable = it != entries_.end() && same_connection(it->second->record, record);
  const std::uint64_t known_epoch = comparable ? it->second->epoch_max : 0;
  if (record.epoch > known_epoch + kEpochJumpMax) return count(Applied::epoch_jump);
  if (of_sender && it != entries_.end() && contradicts(*it->second, record)) {
    // Of two stories neither can be healed by.
    it->second->contradicted = true;
    it->second->record.http.reset();
    it->second->mark = marks_[to_int(peer)];
    it->second->updated = now;
    return count(Applied::contradictory);
  }
  if (!of_sender) {
    hearsay_.insert(record.facts.key);
  } else if (!hearsay_.empty()) {
    hearsay_.erase(record.facts.key);
  }
  return count(place(std::move(record), now));
}

// Of one session under one claim, an owner cannot know less of either stream than it did. (A FIN takes a place in the
// stream for a while, and is no byte.)
bool Directory::contradicts(const Entry& known, const SessionRecord& record) {
  const SessionRecord& before = known.record;
  if (!same_owner(before, record) || before.session_id != record.session_id || before.epoch != record.epoch)
    return false;
  return known.contradicted || before.facts.iss != record.facts.iss || before.facts.irs != record.facts.irs ||
         before.mode != record.mode || record.in_known + 1 < before.in_known || record.out_acked + 1 < before.out_acked;
}

bool Directory::stands(const SessionRecord& a, const SessionRecord& b) const {
  if (!same_connection(a, b) && is_own(a) != is_own(b)) return is_own(a);
  return supersedes(a, living(a), b, living(b));
}

void Directory::note_epoch(Entry& entry, const SessionRecord& record) {
  entry.epoch_max = same_connection(entry.record, record) ? std::max(entry.epoch_max, record.epoch) : record.epoch;
}

// The one way in.
Applied Directory::place(SessionRecord record, TimePoint now) {
  const auto it = entries_.find(record.facts.key);
  Entry next;
  next.mark = marks_[to_int(record.owner)];
  next.updated = now;
  next.record = std::move(record);
  if (it == entries_.end()) {
    if (entries_.size() >= options_.records_max) return Applied::full;
    note_owner(next.record, now);
    auto entry = std::make_unique<Entry>(std::move(next));
    const auto key = entry->record.facts.key;
    entry->epoch_max = entry->record.epoch;
    ++per_owner_[to_int(entry->record.owner)];
    publish(*entry, true);
    entries_.emplace(key, std::move(entry));
    return Applied::stored_new;
  }
  Entry& entry = *it->second;
  if (same_owner(entry.record, next.record)) {
    const bool fresh = entry.record.session_id != next.record.session_id;
    note_epoch(entry, next.record);
    entry.record = std::move(next.record);
    entry.contradicted = false;
    entry.mark = next.mark;
    entry.updated = now;
    publish(entry, false);
    // The owner may speak of another connection now.
    if (entry.loser && stands(entry.loser->record, entry.record)) {
      Entry former{std::move(entry.record), entry.mark, entry.updated, 0, nullptr, false, entry.contradicted};
      replace(entry, std::move(*std::exchange(entry.loser, nullptr)));
      keep_loser(entry, std::move(former));
      tell_if_restored(entry);
    }
    tell_claim_if_contested(entry);
    return fresh ? Applied::stored_new : Applied::stored;
  }
  note_owner(next.record, now);
  const bool known = entry.loser && same_owner(entry.loser->record, next.record) &&
                     entry.loser->record.session_id == next.record.session_id;
  const bool same = same_connection(entry.record, next.record);
  if (same) note_epoch(entry, next.record);
  if (stands(next.record, entry.record)) {
    Entry former{entry.record, entry.mark, entry.updated, 0, nullptr, false, entry.contradicted};
    replace(entry, std::move(next));
    keep_loser(entry, std::move(former));
    tell_claim_if_contested(entry);
    return known ? Applied::stored : Applied::stored_new;
  }
  if (same && is_own(entry.record)) {
    // The dead owner is back with what it knew, or a claim that lost: ours is the better one.
    if (next.record.epoch == 0 || next.record.epoch < entry.record.epoch) return Applied::lower_claim;
    tell_claim(next.record);
  }
  keep_loser(entry, std::move(next));
  tell_claim_if_contested(entry);
  return Applied::older;
}

// A loser of the same owner as the winner would be an outdated state of it; of several losers the best one waits, our
// own before all.
void Directory::keep_loser(Entry& entry, Entry loser) {
  if (entry.loser && !same_owner(entry.loser->record, loser.record) && !is_own(loser.record) &&
      (is_own(entry.loser->record) || stands(entry.loser->record, loser.record))) {
    return;
  }
  entry.loser = std::make_unique<Entry>(std::move(loser));
}

// `next` takes the place of the standing record, which the caller keeps or drops.
void Directory::replace(Entry& entry, Entry next) {
  if (entry.loser && same_owner(entry.loser->record, next.record)) entry.loser.reset();
  const NodeId former = entry.record.owner;
  const bool was_dead = !living(entry.record);
  note_epoch(entry, next.record);
  --per_owner_[to_int(former)];
  ++per_owner_[to_int(next.record.owner)];
  entry.mark = next.mark;
  entry.updated = next.updated;
  entry.record = std::move(next.record);
  entry.contradicted = next.contradicted;
  publish(entry, true);
  if (was_dead && events_.on_owner_changed) events_.on_owner_changed(entry.record.facts.key, &entry.record);
}

void Directory::tell_claim(const SessionRecord& theirs) {
  const Told now{theirs.owner, theirs.incarnation, theirs.epoch, theirs.fence};
  const auto [it, fresh] = told_.try_emplace(theirs.facts.key, now);
  if (!fresh && it->second == now) return;
  it->second = now;
  claims_heard_.add();
  if (events_.on_claimed) events_.on_claimed(theirs);
}

void Directory::tell_claim_if_contested(const Entry& entry) {
  if (entry.loser && is_own(entry.loser->record)) tell_claim(entry.record);
}

void Directory::tell_if_restored(const Entry& entry) {
  if (!is_own(entry.record)) return;
  told_.erase(entry.record.facts.key);
  if (events_.on_own_restored) events_.on_own_restored(entry.record.facts.key);
}

void Directory::publish(Entry& entry, bool owner_changed) {
  const SessionRecord& record = entry.record;
  if (is_own(record)) {
    if (entry.in_map) map_.erase(record.facts.key);
    entry.in_map = false;
    return;
  }
  if (owner_changed && !living(record) && events_.on_orphan) events_.on_orphan(record, entry.updated);
  // A map that was full is tried again at the record's next state.
  if (entry.in_map && !owner_changed) return;
  const bool set = map_.set(record.facts.key, record.owner, record.incarnation);
  // A full map (it counts that itself) may still hold the flow's former owner: worse than no entry.
  if (!set && entry.in_map) map_.erase(record.facts.key);
  entry.in_map = set;
}

bool Directory::erase_remote(NodeId peer, Incarnation incarnation, const suture_flow_key& key) {
  return erase(key,
               [&](const SessionRecord& record) { return record.owner == peer && record.incarnation == incarnation; });
}

bool Directory::erase(const suture_flow_key& key, const std::function<bool(const SessionRecord&)>& is_it) {
  const auto it = entries_.find(key);
  if (it == entries_.end()) return false;
  Entry& entry = *it->second;
  if (entry.loser && is_it(entry.loser->record)) {
    if (is_own(entry.loser->record)) told_.erase(key);
    entry.loser.reset();
    return true;
  }
  if (!is_it(entry.record)) return false;
  if (is_own(entry.record)) told_.erase(key);
  remove(it, Removal::ended);
  return true;
}

void Directory::remove(Entries::iterator it, Removal why) {
  Entry& entry = *it->second;
  const auto loser = std::exchange(entry.loser, nullptr);
  const bool ended_for_both = loser && why == Removal::ended && !living(loser->record) &&
                              same_connection(loser->record, entry.record) &&
                              (entry.record.fenced || entry.record.epoch > loser->record.epoch);
  if (loser && !ended_for_both) {
    replace(entry, std::move(*loser));
    tell_if_restored(entry);
    return;
  }
  if (ended_for_both) ended_by_claimant_.add();
  if (entry.in_map) map_.erase(it->first);
  --per_owner_[to_int(entry.record.owner)];
  const auto key = it->first;
  const bool was_dead = !living(entry.record);
  entries_.erase(it);
  if (was_dead && events_.on_owner_changed) events_.on_owner_changed(key, nullptr);
}

void Directory::snapshot_begin(NodeId peer) {
  ++marks_[to_int(peer)];
  in_snapshot_[to_int(peer)] = true;
}

void Directory::snapshot_abort(NodeId peer) {
  in_snapshot_[to_int(peer)] = false;
}

std::size_t Directory::snapshot_end(NodeId peer, Incarnation incarnation) {
  in_snapshot_[to_int(peer)] = false;
  std::vector<suture_flow_key> gone;
  const auto unnamed = [&](const Entry& entry) {
    return entry.record.owner == peer && entry.record.incarnation == incarnation && entry.mark != marks_[to_int(peer)];
  };
  for (const auto& [key, entry] : entries_) {
    if (entry->loser && unnamed(*entry->loser)) entry->loser.reset();
    if (unnamed(*entry)) gone.push_back(key);
  }
  for (const auto& key : gone) erase_remote(peer, incarnation, key);
  return gone.size();
}

void Directory::node_living(NodeId node, Incarnation incarnation, TimePoint now) {
  const Incarnation before = living_[to_int(node)];
  if (before == incarnation) return;
  if (before != 0) dead_since_.try_emplace({node, before}, now);
  living_[to_int(node)] = incarnation;
  dead_since_.erase({node, incarnation});
  // Its own stream brings again what it still has and had not told us.
  boost::unordered::erase_if(hearsay_, [&](const suture_flow_key& key) {
    return !entries_.contains(key) || erase_remote(node, incarnation, key);
  });
}

void Directory::node_not_living(NodeId node, TimePoint now) {
  Incarnation& current = living_[to_int(node)];
  if (current != 0) dead_since_.try_emplace({node, current}, now);
  current = 0;
}

std::vector<std::pair<NodeId, Incarnation>> Directory::dead_owners() const {
  std::vector<std::pair<NodeId, Incarnation>> owners;
  for (const auto& [owner, since] : dead_since_) owners.push_back(owner);
  return owners;
}

void Directory::note_owner(const SessionRecord& record, TimePoint now) {
  if (!living(record)) dead_since_.try_emplace({record.owner, record.incarnation}, now);
}

std::size_t Directory::forget_dead(TimePoint now, Millis after) {
  std::map<std::pair<NodeId, Incarnation>, bool> expired;
  for (const auto& [owner, since] : dead_since_) {
    if (now - since >= after) expired[owner] = true;
  }
  if (expired.empty()) return 0;
  std::vector<suture_flow_key> gone;
  for (const auto& [key, entry] : entries_) {
    if (entry->loser && expired.contains({entry->loser->record.owner, entry->loser->record.incarnation})) {
      entry->loser.reset();
    }
    if (expired.contains({entry->record.owner, entry->record.incarnation})) gone.push_back(key);
  }
  for (const auto& key : gone) remove(entries_.find(key), Removal::forgotten);
  for (const auto& [owner, yes] : expired) dead_since_.erase(owner);
  forgotten_.add(gone.size());
  return gone.size();
}

const SessionRecord* Directory::find(const suture_flow_key& key) const {
  const auto it = entries_.find(key);
  return it == entries_.end() ? nullptr : &it->second->record;
}

const SessionRecord* Directory::find_own(const suture_flow_key& key) const {
  const auto it = entries_.find(key);
  if (it == entries_.end()) return nullptr;
  const Entry& entry = *it->second;
  if (is_own(entry.record)) return &entry.record;
  return entry.loser && is_own(entry.loser->record) ? &entry.loser->record : nullptr;
}

std::optional<TimePoint> Directory::updated(const suture_flow_key& key) const {
  const auto it = entries_.find(key);
  return it == entries_.end() ? std::nullopt : std::optional(it->second->updated);
}

Epoch Directory::claim_epoch(const suture_flow_key& key) const {
  const auto it = entries_.find(key);
  if (it == entries_.end()) return 1;
  return it->second->epoch_max == std::numeric_limits<Epoch>::max() ? it->second->epoch_max : it->second->epoch_max + 1;
}

void Directory::for_each(const std::function<void(const SessionRecord&)>& visit) const {
  for (const auto& [key, entry] : entries_) visit(entry->record);
}

void Directory::for_each_of(NodeId owner, Incarnation incarnation,
                            const std::function<void(const SessionRecord&, TimePoint)>& visit) const {
  if (per_owner_[to_int(owner)] == 0) return;
  for (const auto& [key, entry] : entries_) {
    if (entry->record.owner == owner && entry->record.incarnation == incarnation) visit(entry->record, entry->updated);
  }
}

void Directory::register_metrics(MetricsRegistry& registry) {
  constexpr std::array<const char*, static_cast<std::size_t>(Applied::count_)> kOutcomes{
      "stored_new", "stored", "older", "not_owner", "full", "lower_claim", "epoch_jump", "contradictory"};
  for (std::size_t i = 0; i < kOutcomes.size(); ++i) {
    registry.counter("suture_directory_records_total", "Session records offered to the directory, by outcome.",
                     std::string("outcome=\"") + kOutcomes[i] + '"', applied_[i]);
  }
  registry.counter("suture_directory_forgotten_total", "Records of dead owners that were forgotten.", "", forgotten_);
  registry.counter("suture_claims_heard_total", "Claims of other nodes to sessions that this node serves.", "",
                   claims_heard_);
  registry.counter("suture_directory_ended_by_claimant_total",
                   "Records of dead owners that went with the session that their claimant ended.", "",
                   ended_by_claimant_);
  registry.collector([this] {
    MetricsRegistry::Family family{
        "suture_directory_sessions", "Sessions known, by owner.", MetricsRegistry::Type::gauge, {}};
    for (std::size_t id = 1; id < per_owner_.size(); ++id) {
      if (per_owner_[id] == 0 && id != to_int(options_.self)) continue;
      family.samples.push_back(
          {family.name, "owner=\"" + std::to_string(id) + '"', static_cast<double>(per_owner_[id])});
    }
    return std::vector{family};
  });
}

}  // namespace suture::statesync
