#include <statesync/replicator.hpp>

#include <algorithm>

namespace suture::statesync {
namespace {

// On the wire a record without HTTP state takes about 110 bytes; an erase about 40.
std::size_t estimated_bytes(const SessionRecord& record) {
  const auto exchange = [](const Exchange& e) {
    const std::size_t track = e.body ? 32 + 3 * e.body->chunks.size() + 34 * e.body->marks.size() : 0;
    return 60 + e.method.size() + e.etag.size() + e.content_coding.size() + track;
  };
  std::size_t bytes = 110;
  if (!record.http) return bytes;
  bytes += exchange(*record.http) + content_bytes(*record.http);
  for (const Exchange& answered : record.http->answered) bytes += exchange(answered);
  return bytes;
}
constexpr std::size_t kEraseBytes = 40;

}  // namespace

Replicator::Dirty& Replicator::make_dirty(const suture_flow_key& key, TimePoint since) {
  const auto [it, inserted] = dirty_.try_emplace(key);
  if (!inserted) {
    counters_.coalesced.add();
    return it->second;
  }
  it->second.since = since;
  it->second.ticket = ++last_ticket_;
  order_.push_back({key, last_ticket_});
  return it->second;
}

bool Replicator::current(const Queued& queued) const {
  const auto it = dirty_.find(queued.key);
  return it != dirty_.end() && it->second.ticket == queued.ticket;
}

// Short sessions leave stale places behind; while the peer takes nothing, nobody else would clear them away.
void Replicator::compact() {
  while (!order_.empty() && !current(order_.front())) order_.pop_front();
  if (order_.size() > 2 * dirty_.size() + 1024) {
    std::erase_if(order_, [this](const Queued& queued) { return !current(queued); });
  }
}

void Replicator::mark_upsert(const suture_flow_key& key, bool fresh, TimePoint now) {
  if (needs_snapshot_) return;
  const bool was_dirty = dirty_.contains(key);
  Dirty& dirty = make_dirty(key, now);
  if (!was_dirty) dirty.known = fresh ? Known::nothing : Known::something;
  if (dirty.erased) --tombstones_;
  dirty.erased = false;
}

void Replicator::mark_erase(const suture_flow_key& key, TimePoint now) {
  if (needs_snapshot_) return;
  const auto it = dirty_.find(key);
  if (it != dirty_.end() && it->second.known == Known::nothing) {
    dirty_.erase(it);
    counters_.never_sent.add();
    compact();
    return;
  }
  Dirty& dirty = make_dirty(key, now);
  if (dirty.erased) return;
  dirty.erased = true;
  if (++tombstones_ > options_.tombstones_max) give_up();
}

void Replicator::clear() {
  dirty_.clear();
  order_.clear();
  in_flight_.clear();
  in_flight_bytes_ = 0;
  tombstones_ = 0;
  in_snapshot_ = false;
  due_ = Mark::none;
}

void Replicator::give_up() {
  clear();
  needs_snapshot_ = true;
}

void Replicator::on_connect(Incarnation incarnation, std::optional<std::uint64_t> resume_from,
                            const Directory& directory, TimePoint now) {
  connected_ = true;
  const bool resumable = incarnation == peer_incarnation_ && resume_from && !needs_snapshot_ &&
                         *resume_from >= acked_ && *resume_from <= last_seq();
  peer_incarnation_ = incarnation;
  if (!resumable) {
    next_seq_ = 1;
    acked_ = 0;
    start_snapshot(directory, now);
    return;
  }
  counters_.resumes.add();
  on_ack(*resume_from);
  take_back();
  next_seq_ = *resume_from + 1;
}

void Replicator::start_snapshot(const Directory& directory, TimePoint now) {
  counters_.snapshots.add();
  clear();
  needs_snapshot_ = false;
  directory.for_each([&](const SessionRecord& record) {
    if (record.owner == options_.peer && record.incarnation == peer_incarnation_) return;
    make_dirty(record.facts.key, now);
  });
  snapshot_last_ticket_ = last_ticket_;
  in_snapshot_ = true;
  due_ = Mark::begin;
}

void Replicator::on_disconnect() {
  connected_ = false;
  // Half a snapshot is none: the peer will ask for another. Otherwise what is in flight stays known as such: the next
  // stream tells how much of it was applied.
  if (in_snapshot_) give_up();
}

// What was sent and not acknowledged is dirty again, at the front: it is the oldest.
void Replicator::take_back() {
  std::vector<Queued> again;
  for (const InFlight& batch : in_flight_) {
    for (const Sent& sent : batch.sent) {
      const auto [it, inserted] = dirty_.try_emplace(sent.key);
      Dirty& dirty = it->second;
      dirty.known = Known::something;
      dirty.since = inserted ? batch.oldest : std::min(dirty.since, batch.oldest);
      // Its former place in the queue, if any, is stale: what waits stays in order of `since`.
      dirty.ticket = ++last_ticket_;
      again.push_back({sent.key, last_ticket_});
      if (!inserted) continue;  // a later change is queued already and says it all
      dirty.erased = sent.erased;
      if (sent.erased) ++tombstones_;
    }
  }
  in_flight_.clear();
  in_flight_bytes_ = 0;
  order_.insert(order_.begin(), again.begin(), again.end());
  if (tombstones_ > options_.tombstones_max) give_up();
}

bool Replicator::on_ack(std::uint64_t seq) {
  if (seq > last_seq()) return false;
  while (!in_flight_.empty() && in_flight_.front().seq <= seq) {
    in_flight_bytes_ -= in_flight_.front().bytes;
    in_flight_.pop_front();
  }
  acked_ = std::max(acked_, seq);
  return true;
}

Replicator::Mark Replicator::next_mark() {
  if (!connected_) return Mark::none;
  if (due_ == Mark::begin) {
    due_ = Mark::none;
    return Mark::begin;
  }
  compact();
  if (in_snapshot_ && (order_.empty() || order_.front().ticket > snapshot_last_ticket_)) {
    in_snapshot_ = false;
    snapshot_seq_ = last_seq();
    return Mark::end;
  }
  return Mark::none;
}

std::optional<Batch> Replicator::next_batch(const Directory& directory) {
  if (!connected_ || needs_snapshot_ || due_ != Mark::none || in_flight_.size() >= options_.batches_in_flight_max ||
      in_flight_bytes_ >= options_.in_flight_bytes_max) {
    return std::nullopt;
  }
  Batch batch;
  InFlight flight;
  while (!order_.empty() && batch.changes.size() < options_.batch_records_max &&
         flight.bytes < options_.batch_bytes_max) {
    const Queued queued = order_.front();
    if (in_snapshot_ && queued.ticket > snapshot_last_ticket_) break;  // the end mark goes first
    order_.pop_front();
    const auto it = dirty_.find(queued.key);
    if (it == dirty_.end() || it->second.ticket != queued.ticket) continue;
    const Dirty dirty = it->second;
    dirty_.erase(it);
    if (dirty.erased) {
      --tombstones_;
      batch.changes.emplace_back(Erase{queued.key});
      flight.bytes += kEraseBytes;
      counters_.erases.add();
    } else {
      // Third nodes' records travel in snapshots only; one that took our session's place is its owner's to tell.
      const SessionRecord* record = directory.find(queued.key);
      if (!record || (!directory.is_own(*record) && !in_snapshot_)) continue;
      flight.bytes += estimated_bytes(*record);
      batch.changes.emplace_back(*record);
      counters_.records.add();
    }
    if (flight.sent.empty() || dirty.since < flight.oldest) flight.oldest = dirty.since;
    flight.sent.push_back({queued.key, dirty.erased});
  }
  if (batch.changes.empty()) return std::nullopt;
  batch.seq = flight.seq = next_seq_++;
  counters_.batches.add();
  counters_.bytes.add(flight.bytes);
  in_flight_bytes_ += flight.bytes;
  in_flight_.push_back(std::move(flight));
  return batch;
}

std::optional<TimePoint> Replicator::oldest() const {
  std::optional<TimePoint> oldest;
  if (!in_flight_.empty()) oldest = in_flight_.front().oldest;
  for (const Queued& queued : order_) {
    const auto it = dirty_.find(queued.key);
    if (it == dirty_.end() || it->second.ticket != queued.ticket) continue;
    if (!oldest || it->second.since < *oldest) oldest = it->second.since;
    break;
  }
  return oldest;
}

std::optional<TimePoint> Replicator::delivered_until(Incarnation incarnation, TimePoint now) const {
  if (incarnation == 0 || incarnation != peer_incarnation_ || needs_snapshot_ || in_snapshot_ ||
      acked_ < snapshot_seq_) {
    return std::nullopt;  // a snapshot's records are older than their places in the queue say
  }
  return oldest().value_or(now);
}

}  // namespace suture::statesync
