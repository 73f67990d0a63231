// What the healer counts, and the story of one heal: one structured log line from the first stray to the first byte.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include <suture/clock.hpp>
#include <suture/ids.hpp>
#include <suture/metrics.hpp>

#include "proxy/client/adoption.hpp"
#include "proxy/healing/claim.hpp"

namespace suture::healing {

struct HealStory {
  NodeId former{};
  std::optional<Millis>
      dead_for;  // the former owner, when the claim began; absent: it was alive, or another life of it is
  TimePoint opened{};
  std::optional<TimePoint> proven, rebuilt;
  std::uint32_t nudges = 0;  // of these `fences`; the others were probes and verifications
  std::uint32_t fences = 0;
  std::uint64_t rebuild_micros = 0;
};

struct HealMetrics {
  Counter claims_opened, claims_full, nudges, proven, packets_held_dropped;
  Counter freezes, thaws, releases, records_ended, gated_probes, ends_put_off, resets;
  Counter rebuilds, rebuild_errors, adoption_refused, flow_map_full;
  std::array<Counter, static_cast<std::size_t>(GiveUpReason::count)> give_ups;
  Histogram claim_seconds;  // first packet of the claim to the client's proof
  Histogram heal_seconds;   // first packet of the claim to the session going on
  Gauge open;

  void register_metrics(MetricsRegistry& registry);
};

const char* to_label(GiveUpReason reason);

// The log line `healed`, when a worker has said how the session goes on.
void tell(const suture_flow_key& key, const HealStory& story, NodeId self, ResumeRung rung, const char* reason,
          TimePoint now);
// The log line `claim_ended`: no socket came of it.
void tell(const suture_flow_key& key, const HealStory& story, NodeId self, GiveUpReason reason, TimePoint now);

}  // namespace suture::healing
