// What happened to the HTTP sessions, over all seeds.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include <proxy/client/adoption.hpp>

namespace suture::sim {

// X(name): the simulation fails if one stays 0.
// clang-format off
#define SUTURE_SIM_HTTP_TOTALS(X) \
  X(connections) X(answered) X(refused) X(ended_clean) X(ended_reset) X(complete) X(executed) X(heals) X(heals_twice) \
  X(false_suspicions) X(freezes) X(thaws) X(primed) X(lost_bytes) X(sack_above) X(identical_only) X(clipped) \
  X(records) X(records_refused) X(journals_refused) X(erased) X(fins) X(resets_sent) X(resets_held_back) \
  X(resets_unknown) X(in_closed) X(pipelined) X(range_asked) X(events_asked) X(replays_asked) X(websockets) \
  X(reattach_asked) X(stood_again)
// clang-format on

struct HttpTotals {
#define SUTURE_SIM_TOTAL(name) std::uint64_t name = 0;
  SUTURE_SIM_HTTP_TOTALS(SUTURE_SIM_TOTAL)
#undef SUTURE_SIM_TOTAL
  std::map<std::string, std::uint64_t> rungs;    // as carried out
  std::map<std::string, std::uint64_t> reasons;  // of refuse, close and reset
  void add(const HttpTotals& other);
  // Names of those that must be reached and were not, space-separated.
  std::string missing() const;
  std::string text() const;
};

}  // namespace suture::sim
