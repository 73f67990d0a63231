#include <statesync/slot_clock.hpp>

#include <algorithm>
#include <cstdlib>
#include <vector>

#include <suture/limits.hpp>
#include <suture/log.hpp>

namespace suture::statesync {
namespace {

// Offsets wrap (a peer that booted later has a smaller CLOCK_MONOTONIC), so a median is one of distances to ours.
std::int64_t median(std::vector<std::int64_t> values) {
  std::sort(values.begin(), values.end());
  const std::size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

}  // namespace

SlotClockDiscipline::SlotClockDiscipline(Options options, SlotClock& clock) : options_(options), clock_(clock) {
  clock_.set_offset_ms(options_.start_offset_ms);
}

std::int64_t SlotClockDiscipline::apart(const Sample& sample) const {
  return static_cast<std::int64_t>(sample.offset_ms - clock_.offset_ms());
}

void SlotClockDiscipline::on_sample(NodeId peer, std::uint64_t peer_slot_ms, bool peer_settled, TimePoint now) {
  Sample& sample = samples_[peer];
  sample.offset_ms = peer_slot_ms - monotonic_ms(now);
  sample.settled = peer_settled;
  if (!settled_) choose_start();
  judge(peer, sample);
}

void SlotClockDiscipline::on_peer_lost(NodeId peer) {
  samples_.erase(peer);
}

void SlotClockDiscipline::choose_start() {
  std::vector<std::int64_t> settled;
  std::optional<Sample> lowest;
  for (const auto& [id, sample] : samples_) {
    if (sample.settled) settled.push_back(apart(sample));
    if (!lowest && to_int(id) < to_int(options_.self)) lowest = sample;  // the map is in order of ids
  }
  std::int64_t step = 0;
  if (!settled.empty()) {
    step = median(std::move(settled));
  } else if (lowest) {
    step = apart(*lowest);
  }
  if (step != 0) clock_.set_offset_ms(clock_.offset_ms() + static_cast<std::uint64_t>(step));
}

void SlotClockDiscipline::settle(TimePoint now) {
  if (settled_) return;
  settled_ = true;
  slewed_at_ = now;
  log::info("slot_clock_settled",
            {{"offset_ms", static_cast<std::int64_t>(clock_.offset_ms())}, {"peers_heard", samples_.size()}});
  for (auto& [id, sample] : samples_) judge(id, sample);
}

// While starting we follow; only a settled clock can be apart.
void SlotClockDiscipline::judge(NodeId peer, Sample& sample) {
  const bool is_apart = settled_ && std::chrono::milliseconds(std::abs(apart(sample))) > limits::clock_hint_apart_max;
  if (is_apart == sample.apart) return;
  sample.apart = is_apart;
  if (is_apart) {
    apart_total_.add();
    log::error("slot_clock_apart", {{"peer", to_int(peer)},
                                    {"apart_ms", apart(sample)},
                                    {"effect", "no hints between the two nodes; restart the one that is wrong"}});
  } else {
    log::info("slot_clock_agrees", {{"peer", to_int(peer)}, {"apart_ms", apart(sample)}});
  }
}

void SlotClockDiscipline::tick(TimePoint now) {
  if (!settled_ || !slewed_at_) return;
  const auto elapsed_ms = std::chrono::duration_cast<Millis>(now - *slewed_at_).count();
  const std::int64_t most = elapsed_ms * options_.slew_max_ms_per_s / 1000;
  if (most <= 0) return;  // not yet a whole millisecond
  slewed_at_ = now;
  std::vector<std::int64_t> distances{0};
  for (const auto& [id, sample] : samples_) {
    if (std::abs(apart(sample)) <= options_.follow_max_ms) distances.push_back(apart(sample));
  }
  // After a stall `most` is large: still no faster than one second's worth.
  const std::int64_t cap = std::min(most, options_.slew_max_ms_per_s);
  const std::int64_t distance = median(std::move(distances));
  if (std::abs(distance) <= options_.deadband_ms) return;
  const std::int64_t move = std::clamp(distance, -cap, cap);
  if (move != 0) clock_.set_offset_ms(clock_.offset_ms() + static_cast<std::uint64_t>(move));
}

bool SlotClockDiscipline::hint_ok(NodeId peer) const {
  const auto it = samples_.find(peer);
  return it != samples_.end() && !it->second.apart;
}

std::optional<std::int64_t> SlotClockDiscipline::apart_ms(NodeId peer) const {
  const auto it = samples_.find(peer);
  if (it == samples_.end()) return std::nullopt;
  return apart(it->second);
}

}  // namespace suture::statesync
