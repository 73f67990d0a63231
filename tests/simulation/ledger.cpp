#include "tests/simulation/ledger.hpp"

#include <suture/sequence.hpp>

namespace suture::sim {

void Totals::add(const Totals& other) {
#define SUTURE_SIM_TOTAL(name) name += other.name;
  SUTURE_SIM_TOTALS(SUTURE_SIM_TOTAL)
#undef SUTURE_SIM_TOTAL
}

std::string Totals::missing() const {
  std::string out;
#define SUTURE_SIM_TOTAL(name) \
  if (name == 0 && std::string(#name) != "stranded") out += " " #name;
  SUTURE_SIM_TOTALS(SUTURE_SIM_TOTAL)
#undef SUTURE_SIM_TOTAL
  return out;
}

std::string Totals::text() const {
  std::string out;
  int column = 0;
#define SUTURE_SIM_TOTAL(name) \
  out += std::string(#name) + " " + std::to_string(name) + (++column % 6 == 0 ? "\n" : "  ");
  SUTURE_SIM_TOTALS(SUTURE_SIM_TOTAL)
#undef SUTURE_SIM_TOTAL
  return out;
}

void Ledger::ownership(Content content, std::uint64_t cursor, bool fenced, std::uint32_t fence) {
  auto place = ownerships_.end();
  while (fenced && place != ownerships_.begin() && (place - 1)->fenced && seq_before(fence, (place - 1)->fence))
    --place;
  ownerships_.insert(place, {content, cursor, fenced, fence});
}

void Ledger::accepted(std::uint64_t start, std::uint64_t end, Content content) {
  if (!accepted_.empty() && accepted_.back().end == start && accepted_.back().content == content) {
    accepted_.back().end = end;
  } else {
    accepted_.push_back({start, end, content});
  }
}

void Ledger::executed(std::size_t request, int instance) {
  executions_[request].push_back(instance);
}

std::vector<std::string> Ledger::check() const {
  std::vector<std::string> out = violations_;
  // The stream changes hands exactly at the proven cursors.
  for (const Run& run : accepted_) {
    for (std::uint64_t at = run.start; at < run.end;) {
      Content wanted = 0;
      std::uint64_t until = run.end;
      for (const Ownership& o : ownerships_) {
        if (o.cursor <= at) wanted = o.content;
      }
      for (const Ownership& o : ownerships_) {
        if (o.cursor > at && o.cursor < until) until = o.cursor;
      }
      if (run.content != wanted) {
        out.push_back("the client read [" + std::to_string(at) + ", " + std::to_string(until) + ") of content " +
                      std::to_string(run.content) + ", its owner there wrote " + std::to_string(wanted));
        break;
      }
      at = until;
    }
  }
  for (const auto& [request, instances] : executions_) {
    if (requests[request].may_replay || instances.size() < 2) continue;
    out.push_back("request " + std::to_string(request) + " was executed " + std::to_string(instances.size()) +
                  " times, by ownerships " + std::to_string(instances[0]) + " and " + std::to_string(instances[1]));
  }
  return out;
}

}  // namespace suture::sim
