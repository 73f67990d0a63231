// What happened, as somebody who sees everything would write it down, and the invariants over it.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "tests/simulation/wire.hpp"

namespace suture::sim {

// A request of the client: [start, end) of its stream, as offsets.
struct Request {
  std::uint64_t start = 0, end = 0;
  bool may_replay = false;  // GET
  std::uint32_t response_bytes = 0;
};

// X(name): totals over all seeds; the simulation fails if one stays 0.
// clang-format off
#define SUTURE_SIM_TOTALS(X) \
  X(claims) X(probes) X(fences) X(verifications) X(proven) X(proven_unfenced) X(rebuilt) X(rebuild_failed) \
  X(discarded) X(lost_bytes) X(sack_above) X(unknown_owner) X(clipped) X(freezes) X(thaws) X(thaws_claimed) \
  X(releases) X(ended) X(held) X(forwarded) X(dropped) X(delivered) X(gave_up_no_answer) X(gave_up_moving) \
  X(gave_up_owner_living) X(gave_up_superseded) X(gave_up_no_majority) X(gave_up_clocks_apart) \
  X(gave_up_ts_advance) X(gave_up_rebuild_failed) X(replaced) X(forged) X(restarts) X(stalls) X(partitions) \
  X(refused) X(replayed) X(healed) X(reset) X(stranded) X(reclaimed) X(third_pop)
// clang-format on

struct Totals {
#define SUTURE_SIM_TOTAL(name) std::uint64_t name = 0;
  SUTURE_SIM_TOTALS(SUTURE_SIM_TOTAL)
#undef SUTURE_SIM_TOTAL
  void add(const Totals& other);
  // Names of those that are 0, space-separated.
  std::string missing() const;
  std::string text() const;
};

class Ledger {
 public:
  std::vector<Request> requests;

  // An ownership begins at `cursor` (out offset). Fenced ones are ordered by their fence, as the client orders them.
  void ownership(Content content, std::uint64_t cursor, bool fenced, std::uint32_t fence);
  // The client's application reads [start, end).
  void accepted(std::uint64_t start, std::uint64_t end, Content content);
  void executed(std::size_t request, int instance);
  void violation(std::string text) { violations_.push_back(std::move(text)); }

  // Everything that was violated; empty: nothing.
  std::vector<std::string> check() const;

 private:
  struct Ownership {
    Content content = 0;
    std::uint64_t cursor = 0;
    bool fenced = false;
    std::uint32_t fence = 0;
  };
  struct Run {
    std::uint64_t start = 0, end = 0;
    Content content = 0;
  };
  std::vector<Ownership> ownerships_;
  std::vector<Run> accepted_;
  std::map<std::size_t, std::vector<int>> executions_;
  std::vector<std::string> violations_;
};

}  // namespace suture::sim
