// Sessions healed as a node heals them: the plan decides, and another session of the same worker goes on.
#pragma once

#include <algorithm>
#include <optional>
#include <string>

#include <poll.h>
#include <proxy/healing/heal_plan.hpp>

#include "../client/adoption_fixture.hpp"

namespace suture::test {

// Where the client has proven to be.
struct Stand {
  std::uint64_t cursor = 0;
  std::optional<std::uint64_t> sent = {};  // S; none: L
  bool lost = false;                       // the dead owner had acknowledged [L, S)
  std::uint64_t sack_edge = 0;             // it holds bytes up to here; 0: none above the cursor
};

inline Resumption plan_for(SessionRecord record, const Stand& stand) {
  record.facts.sack_ok = true;
  healing::ProofFacts proof;
  proof.cursor = stand.cursor;
  proof.client_sent = stand.sent.value_or(record.in_known);
  proof.lost_bytes = stand.lost;
  proof.received = stand.lost ? proof.client_sent : record.in_known;
  proof.sack_above = stand.sack_edge != 0;
  proof.sack_edge = stand.sack_edge;
  proof.fenced = true;
  return healing::plan_healing(record, proof);
}

class HeirTest : public AdoptionTest {
 protected:
  struct Heir {
    Flow flow;
    Resumption plan;
  };
  // Nothing is adopted where the plan says reset.
  Heir heal(SessionRecord record, const Stand& stand) {
    Heir heir{flow(), plan_for(record, stand)};
    Adoption a;
    a.fd = heir.flow.fd;
    a.record = std::move(record);
    a.record.facts.key = heir.flow.key;
    a.record.facts.sack_ok = true;
    a.resume = heir.plan;
    if (heir.plan.rung != ResumeRung::reset) adopt(a);
    return heir;
  }
  // The latest of `key`'s records.
  SessionRecord last_of(const suture_flow_key& key) const {
    const auto records = sink.records();
    const auto it = std::find_if(records.rbegin(), records.rend(), [&](const auto& r) { return r.facts.key == key; });
    return it == records.rend() ? SessionRecord{} : *it;
  }
  // What became of `heir`, waited for.
  Outcome outcome_of(const Heir& heir) {
    const auto of = [&] {
      const auto all = outcomes();
      const auto it = std::find_if(all.begin(), all.end(), [&](const Outcome& o) { return o.key == heir.flow.key; });
      return it == all.end() ? std::nullopt : std::optional(*it);
    };
    EXPECT_TRUE(eventually([&] { return of().has_value(); }));
    return of().value_or(Outcome{});
  }
  // The application was connected to, and has not accepted.
  bool application_asked() const {
    pollfd asked{application.fd(), POLLIN, 0};
    return ::poll(&asked, 1, 0) == 1;
  }
};

}  // namespace suture::test
