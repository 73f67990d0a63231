#include <statesync/peer_clocks.hpp>

#include <cstdlib>

#include <suture/limits.hpp>

namespace suture::statesync {
namespace {

// A sample is late by the path, and by our own loop if that was stuck: the earliest of some seconds is kept. Two
// clocks drift apart by less than a millisecond in that time.
constexpr Millis kSampleAge{5000};
// A node that starts again every second for forget_after is no reason to grow.
constexpr std::size_t kIncarnationsMax = 4096;

std::uint64_t elapsed_ms(TimePoint from, TimePoint to) {
  return static_cast<std::uint64_t>(std::chrono::duration_cast<Millis>(to - from).count());
}

}  // namespace

void PeerClocks::on_heard(const Datagram& datagram, TimePoint now) {
  const std::pair who(datagram.sender, datagram.incarnation);
  const auto it = heard_.find(who);
  if (it == heard_.end()) {
    if (heard_.size() >= kIncarnationsMax) forget(now);
    if (heard_.size() < kIncarnationsMax) heard_[who] = {datagram.monotonic_ms, datagram.slot_ms, now, now};
    return;
  }
  Heard& heard = it->second;
  heard.heard_at = now;
  const std::uint64_t expected = heard.monotonic_ms + elapsed_ms(heard.sampled_at, now);
  const bool late = datagram.monotonic_ms < expected;
  if (late && now - heard.sampled_at < kSampleAge) return;
  if (late && datagram.monotonic_ms < heard.monotonic_ms) return;  // overtaken on the way
  heard.monotonic_ms = datagram.monotonic_ms;
  heard.slot_ms = datagram.slot_ms;
  heard.sampled_at = now;
}

void PeerClocks::forget(TimePoint now) {
  std::erase_if(heard_, [&](const auto& entry) { return now - entry.second.heard_at >= forget_after_; });
}

std::optional<FormerClock> PeerClocks::former_clock(const SessionRecord& record, TimePoint now,
                                                    std::uint64_t our_slot_ms) const {
  const auto it = heard_.find({record.owner, record.incarnation});
  if (it == heard_.end() || now - it->second.heard_at >= forget_after_) return std::nullopt;
  const Heard& heard = it->second;
  const std::uint64_t since = elapsed_ms(heard.sampled_at, now);
  const auto apart = static_cast<std::int64_t>(heard.slot_ms + since - our_slot_ms);  // wraps
  const auto distance = static_cast<std::uint64_t>(std::abs(apart));
  FormerClock clock;
  clock.tsval = record.facts.ts_offset + static_cast<std::uint32_t>(heard.monotonic_ms + since);
  clock.hint_ok = Millis{distance} <= limits::clock_hint_apart_max;
  clock.claim_ok = distance <= limits::clock_claim_apart_max_ms;
  return clock;
}

}  // namespace suture::statesync
