#include "proxy/healing/heal_metrics.hpp"

#include <string>

#include <suture/log.hpp>

namespace suture::healing {
namespace {

std::int64_t millis(TimePoint from, std::optional<TimePoint> until) {
  return until ? std::chrono::duration_cast<Millis>(*until - from).count() : -1;
}

std::int64_t millis(std::optional<Millis> duration) {
  return duration && *duration != Millis::max() ? duration->count() : -1;
}

}  // namespace

const char* to_label(GiveUpReason reason) {
  switch (reason) {
#define SUTURE_GIVE_UP_LABEL(name, label) \
  case GiveUpReason::name:                \
    return label;
    SUTURE_CLAIM_GIVE_UPS(SUTURE_GIVE_UP_LABEL)
#undef SUTURE_GIVE_UP_LABEL
    case GiveUpReason::count:
      break;
  }
  return "invalid";
}

void HealMetrics::register_metrics(MetricsRegistry& registry) {
  const auto count = [&](const char* name, const char* help, const Counter& counter) {
    registry.counter(name, help, "", counter);
  };
  count("suture_claims_total", "Claims begun: a dead owner's packets, or a suspicion against our own.", claims_opened);
  count("suture_claims_refused_total", "Packets of dead owners' flows dropped because too many claims were open.",
        claims_full);
  count("suture_claims_proven_total", "Claims that the client has proven.", proven);
  registry.gauge("suture_claims_open", "Flows between two owners at this node.", "", open);
  for (std::size_t i = 0; i < give_ups.size(); ++i) {
    registry.counter("suture_claims_given_up_total", "Claims that ended without a proof, by reason.",
                     "reason=\"" + std::string(to_label(static_cast<GiveUpReason>(i))) + "\"", give_ups[i]);
  }
  count("suture_nudges_total", "Probes and fences sent to clients.", nudges);
  count("suture_heal_ends_put_off_total",
        "Packets and probes of sessions that could only be ended, within healing.end_grace_ms of their owner's death.",
        ends_put_off);
  count("suture_claim_resets_total", "RSTs to clients whose sessions nobody can claim any more (ts_advance).", resets);
  count("suture_gated_probes_total", "Probes sent because egress rule 4 held data back.", gated_probes);
  count("suture_sessions_frozen_total", "Own sessions under suspicion of having been replaced.", freezes);
  count("suture_sessions_thawed_total", "Frozen sessions that proved to be ours.", thaws);
  count("suture_sessions_released_total", "Own sessions left silently to another owner.", releases);
  count("suture_records_ended_total", "Sessions of dead owners whose client turned out to be gone.", records_ended);
  count("suture_rebuilds_total", "Sockets made anew for sessions of dead owners.", rebuilds);
  count("suture_rebuild_errors_total", "Sockets that the kernel refused to make anew.", rebuild_errors);
  count("suture_adoptions_refused_total", "Rebuilt sockets that no worker took.", adoption_refused);
  count("suture_flow_map_full_total", "Flows that the kernel's map of claims did not take.", flow_map_full);
  count("suture_claim_packets_dropped_total", "Packets of claimed flows that were too many to hold.",
        packets_held_dropped);
  registry.histogram("suture_claim_seconds", "From a claim's first packet to the client's proof.", claim_seconds);
  registry.histogram("suture_heal_seconds", "From a claim's first packet to the session going on.", heal_seconds);
}

void tell(const suture_flow_key& key, const HealStory& story, NodeId self, ResumeRung rung, const char* reason,
          TimePoint now) {
  log::info("healed", {{"flow", to_string(key)},
                       {"from", to_int(story.former)},
                       {"to", to_int(self)},
                       {"rung", to_label(rung)},
                       {"reason", reason},
                       {"dead_ms", millis(story.dead_for)},
                       {"nudges", story.nudges},
                       {"fences", story.fences},
                       {"proven_ms", millis(story.opened, story.proven)},
                       {"rebuilt_ms", millis(story.opened, story.rebuilt)},
                       {"rebuild_us", story.rebuild_micros},
                       {"resumed_ms", millis(story.opened, now)}});
}

void tell(const suture_flow_key& key, const HealStory& story, NodeId self, GiveUpReason reason, TimePoint now) {
  log::info("claim_ended", {{"flow", to_string(key)},
                            {"from", to_int(story.former)},
                            {"by", to_int(self)},
                            {"reason", to_label(reason)},
                            {"nudges", story.nudges},
                            {"after_ms", millis(story.opened, now)}});
}

}  // namespace suture::healing
