#include "proxy/healing/prober.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <string>
#include <utility>

namespace suture::healing {
namespace {

// The finalizer of splitmix64: every input bit changes every output bit with probability 1/2.
constexpr std::uint64_t mix(std::uint64_t x) {
  x ^= x >> 30;
  x *= 0xbf58476d1ce4e5b9ULL;
  x ^= x >> 27;
  x *= 0x94d049bb133111ebULL;
  return x ^ x >> 31;
}

std::uint64_t hash(const suture_flow_key& key) {
  std::array<std::uint8_t, 40> bytes{};
  static_assert(sizeof key <= bytes.size());
  std::memcpy(bytes.data(), &key, sizeof key);
  std::uint64_t h = 0x9e3779b97f4a7c15ULL;
  for (std::size_t word = 0; word < bytes.size() / 8; ++word) {
    std::uint64_t value = 0;  // little-endian on every machine
    for (std::size_t i = 0; i < 8; ++i) value |= static_cast<std::uint64_t>(bytes[8 * word + i]) << (8 * i);
    h = mix(h ^ value) + 0x9e3779b97f4a7c15ULL;
  }
  return h;
}

}  // namespace

NodeId prober_of(const suture_flow_key& key, std::span<const NodeId> members) {
  const std::uint64_t flow = hash(key);
  const auto weight = [&](NodeId id) { return std::pair(mix(flow ^ mix(to_int(id))), to_int(id)); };
  return *std::max_element(members.begin(), members.end(), [&](NodeId a, NodeId b) { return weight(a) < weight(b); });
}

bool Prober::ours(const suture_flow_key& key) const {
  return !members_.empty() && prober_of(key, members_) == options_.self;
}

Millis Prober::backoff(std::size_t level) const {
  return std::min(options_.backoff_max, options_.backoff_min * (Millis::rep{1} << level));  // level < kLevels
}

// Membership and deaths
// ----------------------------------------------------------------------------------------------------

void Prober::set_members(std::vector<NodeId> members) {
  std::sort(members.begin(), members.end());
  if (members == members_) return;
  members_ = std::move(members);
  // What is ours now comes before its late turn.
  for (auto& [name, burst] : bursts_) pull(name, burst);
}

void Prober::start(NodeId node, Incarnation incarnation) {
  if (std::exchange(told_[node], incarnation) == incarnation) return;
  const auto [it, fresh] = bursts_.try_emplace({node, incarnation});
  if (fresh) started_.add();
  pull(it->first, it->second);
}

void Prober::stop(NodeId node, Incarnation incarnation) {
  told_.erase(node);
  if (bursts_.erase({node, incarnation}) != 0) stopped_.add();
}

void Prober::add(NodeId node, Incarnation incarnation, const suture_flow_key& key, TimePoint active) {
  const auto [it, fresh] = bursts_.try_emplace({node, incarnation});
  if (fresh) started_.add();
  it->second.raw.push_back({key, active});
}

void Prober::pull(const Name& name, Burst& burst) {
  burst.raw.clear();
  source_.for_each(name.first, name.second, [&](const suture_flow_key& key, TimePoint active) {
    burst.raw.push_back({key, active});
  });
  // Growing step by step would hash everything again, at one go.
  burst.pending.reserve(burst.raw.size());
}

// Hashing a million keys at once would be a stall; sorting them by more than a power of two of age is not worth it.
void Prober::digest(Burst& burst, TimePoint now) {
  for (std::size_t n = 0; n < options_.digest_per_call_max && !burst.raw.empty(); ++n) {
    const Candidate candidate = burst.raw.back();
    burst.raw.pop_back();
    if (candidate.active + options_.idle_timeout <= now) continue;
    if (burst.pending.size() >= options_.keys_max) {
      dropped_.add();
      continue;
    }
    const auto [it, fresh] = burst.pending.try_emplace(candidate.key);
    Pending& pending = it->second;
    const bool first = ours(candidate.key);
    if (!fresh && (pending.asked || !first)) continue;  // under way since before the members changed
    pending.expires = candidate.active + options_.idle_timeout;
    pending.ticket = ++burst.last_ticket;
    if (!first) {
      burst.late.push_back({candidate.key, burst.last_ticket, now + options_.late_after});
      continue;
    }
    const auto age_ms = std::max<Millis::rep>(0, std::chrono::duration_cast<Millis>(now - candidate.active).count());
    const auto bucket = static_cast<std::size_t>(std::bit_width(static_cast<std::uint64_t>(age_ms) >> 6));
    burst.fresh[std::min(bucket, kBuckets - 1)].push_back({candidate.key, burst.last_ticket, {}});
  }
  if (burst.raw.empty()) finish_digest(burst);
}

void Prober::finish_digest(Burst& burst) {
  burst.raw = {};
  burst.sample = std::clamp(burst.pending.size() * options_.sample_percent / 100, options_.sample_min,
                            std::max(options_.sample_min, options_.sample_max));
  if (burst.phase == Phase::digest) begin_sample(burst);
}

// Rounds
// -----------------------------------------------------------------------------------------------------------------

void Prober::begin_sample(Burst& burst) {
  burst.phase = Phase::sample;
  burst.round_sent = burst.round_answers = 0;
}

void Prober::judge(Burst& burst, TimePoint now) {
  switch (burst.phase) {
    case Phase::judge:
      if (burst.round_answers > 0 && burst.round_answers * options_.answered_part >= burst.round_sent) {
        burst.phase = Phase::burst;
        burst.wait = Millis{0};
        burst.round_sent = burst.round_answers = 0;
        burst.round_ends = now + options_.first_timeout;
      } else if (now >= burst.round_ends) {
        if (burst.round_answers > 0) {
          burst.wait = options_.backoff_min;  // some: routes may be moving
        } else if (burst.round_sent > 0) {
          suspected_.add();
          burst.wait = burst.wait.count() == 0 ? options_.backoff_min : std::min(2 * burst.wait, options_.backoff_max);
        }
        burst.phase = Phase::wait;
        burst.round_ends = now + burst.wait;
      }
      break;
    case Phase::wait:
      if (now >= burst.round_ends) begin_sample(burst);
      break;
    case Phase::burst:
      if (now < burst.round_ends) break;
      if (burst.round_sent >= burst.sample && burst.round_answers == 0) {
        suspected_.add();
        burst.wait = options_.backoff_min;
        burst.phase = Phase::wait;
        burst.round_ends = now + burst.wait;
      } else {
        burst.round_sent = burst.round_answers = 0;
        burst.round_ends = now + options_.first_timeout;
      }
      break;
    case Phase::digest:
    case Phase::sample:
      break;
  }
}

std::vector<suture_flow_key> Prober::next(TimePoint now) {
  std::vector<suture_flow_key> out;
  const double per_second = options_.probe_per_second;
  const auto per_call = static_cast<double>(options_.per_call_max);
  tokens_ += refilled_at_ ? per_second * std::chrono::duration<double>(now - *refilled_at_).count() : per_call;
  tokens_ = std::min(tokens_, per_call);
  refilled_at_ = now;
  for (auto it = bursts_.begin(); it != bursts_.end();) {
    Burst& burst = it->second;
    if (burst.phase == Phase::digest || !burst.raw.empty()) digest(burst, now);
    judge(burst, now);
    const auto room = static_cast<std::size_t>(tokens_);
    const std::size_t before = out.size();
    if (burst.phase == Phase::burst) {
      pick(burst, room, now, out);
    } else if (burst.phase == Phase::sample) {
      const std::size_t wanted = std::min(room, burst.sample - burst.round_sent);
      pick(burst, wanted, now, out);
      burst.round_sent += out.size() - before;
      // Fewer than wanted: nothing else is due.
      if (burst.round_sent >= burst.sample || (room > 0 && out.size() - before < wanted)) {
        burst.phase = Phase::judge;
        burst.round_ends = now + options_.first_timeout;
      }
    }
    tokens_ -= static_cast<double>(out.size() - before);
    if (burst.raw.empty() && burst.pending.empty()) {
      finished_.add();
      it = bursts_.erase(it);
    } else {
      ++it;
    }
  }
  return out;
}

// Keys
// -------------------------------------------------------------------------------------------------------------------

// Fresh ones and retries in turn: neither may starve the other. Other members' keys when there is nothing else to do.
void Prober::pick(Burst& burst, std::size_t max, TimePoint now, std::vector<suture_flow_key>& out) {
  const std::size_t end = out.size() + max;
  while (out.size() < end) {
    const bool fresh = pick_fresh(burst, now, out);
    if (out.size() == end) break;
    if (!pick_retry(burst, now, out) && !fresh && !pick_due(burst, burst.late, now, out)) break;
  }
}

bool Prober::pick_fresh(Burst& burst, TimePoint now, std::vector<suture_flow_key>& out) {
  for (auto& bucket : burst.fresh) {
    while (!bucket.empty()) {
      const Place place = bucket.back();
      bucket.pop_back();
      if (!take(burst, place, now, out)) continue;
      first_probes_.add();
      if (burst.phase == Phase::burst) ++burst.round_sent;
      return true;
    }
  }
  return false;
}

bool Prober::pick_retry(Burst& burst, TimePoint now, std::vector<suture_flow_key>& out) {
  if (pick_due(burst, burst.put_off, now, out)) return true;
  for (auto& queue : burst.retries) {
    if (pick_due(burst, queue, now, out)) return true;
  }
  return false;
}

bool Prober::pick_due(Burst& burst, std::deque<Place>& queue, TimePoint now, std::vector<suture_flow_key>& out) {
  while (!queue.empty() && queue.front().due <= now) {
    const Place place = queue.front();
    queue.pop_front();
    if (!take(burst, place, now, out)) continue;
    (&queue == &burst.late ? late_ : retries_).add();
    return true;
  }
  return false;
}

bool Prober::take(Burst& burst, const Place& place, TimePoint now, std::vector<suture_flow_key>& out) {
  const auto it = burst.pending.find(place.key);
  if (it == burst.pending.end() || it->second.ticket != place.ticket) return false;
  if (it->second.expires <= now) {
    expired_.add();
    burst.pending.erase(it);
    return false;
  }
  out.push_back(place.key);
  it->second.answered = false;
  it->second.asked = true;
  const std::size_t level = it->second.level;
  if (level + 1 < kLevels) ++it->second.level;
  ask_again(burst, place.key, it->second, level, now);
  return true;
}

void Prober::ask_again(Burst& burst, const suture_flow_key& key, Pending& pending, std::size_t level, TimePoint now) {
  pending.ticket = ++burst.last_ticket;
  burst.retries[level].push_back({key, pending.ticket, now + backoff(level)});
}

// What was counted for the round is taken back: the key says nothing about the node.
void Prober::put_off(const suture_flow_key& key, TimePoint due) {
  for (auto& [name, burst] : bursts_) {
    const auto it = burst.pending.find(key);
    if (it == burst.pending.end()) continue;
    if (burst.round_sent > 0) --burst.round_sent;
    if (burst.phase == Phase::judge && burst.round_sent < burst.sample) burst.phase = Phase::sample;
    it->second.level = 0;
    it->second.ticket = ++burst.last_ticket;
    burst.put_off.push_back({key, burst.last_ticket, due});
  }
}

// Answers
// ----------------------------------------------------------------------------------------------------------------

void Prober::answered(const suture_flow_key& key, TimePoint now) {
  for (auto& [name, burst] : bursts_) {
    const auto it = burst.pending.find(key);
    if (it == burst.pending.end()) continue;
    if (!it->second.answered) {
      answered_.add();
      ++burst.round_answers;
    }
    it->second.answered = true;
    it->second.level = kLevels - 1;
    ask_again(burst, key, it->second, kLevels - 1, now);
  }
}

void Prober::owner_changed(const suture_flow_key& key) {
  for (auto& [name, burst] : bursts_) {
    const auto it = burst.pending.find(key);
    if (it == burst.pending.end()) continue;
    if (!it->second.answered) ++burst.round_answers;
    burst.pending.erase(it);
    claimed_.add();
  }
}

void Prober::erased(const suture_flow_key& key) {
  for (auto& [name, burst] : bursts_) burst.pending.erase(key);
}

std::optional<Prober::Phase> Prober::phase(NodeId node, Incarnation incarnation) const {
  const auto it = bursts_.find({node, incarnation});
  return it == bursts_.end() ? std::nullopt : std::optional(it->second.phase);
}

std::size_t Prober::waiting() const {
  std::size_t sum = 0;
  for (const auto& [name, burst] : bursts_) sum += burst.pending.size() + burst.raw.size();
  return sum;
}

void Prober::register_metrics(MetricsRegistry& registry) {
  const auto bursts = [&](const char* event, const Counter& counter) {
    registry.counter("suture_probe_bursts_total", "Nodes whose death made this node probe their clients, by event.",
                     std::string("event=\"") + event + '"', counter);
  };
  bursts("started", started_);
  bursts("node_alive_again", stopped_);
  bursts("finished", finished_);
  registry.counter("suture_probe_suspicions_total",
                   "Rounds of probes without any answer: a false suspicion, or routes that have not moved.", "",
                   suspected_);
  const auto probes = [&](const char* kind, const Counter& counter) {
    registry.counter("suture_probes_due_total", "Flows that were due for a probe.", std::string("kind=\"") + kind + '"',
                     counter);
  };
  probes("first", first_probes_);
  probes("retry", retries_);
  probes("of_another_member", late_);
  const auto outcomes = [&](const char* outcome, const Counter& counter) {
    registry.counter("suture_probe_outcomes_total", "What became of flows that waited for an answer.",
                     std::string("outcome=\"") + outcome + '"', counter);
  };
  outcomes("answered_here", answered_);
  outcomes("claimed", claimed_);
  outcomes("expired", expired_);
  outcomes("dropped_full", dropped_);
  registry.computed("suture_probe_flows", "Flows of dead nodes that this node still has to probe.",
                    MetricsRegistry::Type::gauge, "", [this] { return static_cast<double>(waiting()); });
}

}  // namespace suture::healing
