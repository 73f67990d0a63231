#include "proxy/healing/prober.hpp"

#include <algorithm>
#include <cstring>
#include <map>
#include <set>

#include <gtest/gtest.h>

namespace suture::healing {
namespace {

using Phase = Prober::Phase;
constexpr NodeId kSelf{1}, kB{2}, kC{3}, kDead{9};
constexpr Incarnation kLife = 100;

TimePoint at(std::int64_t ms) {
  return TimePoint{} + std::chrono::hours(100) + Millis{ms};
}

suture_flow_key key(std::uint32_t n) {
  const auto client = boost::asio::ip::make_address_v4(0x0a000000U + (n >> 12));
  return make_flow_key({client, static_cast<std::uint16_t>(1 + (n & 0xfff))},
                       {boost::asio::ip::make_address("198.51.100.1"), 80});
}
struct Less {
  bool operator()(const suture_flow_key& a, const suture_flow_key& b) const {
    return std::memcmp(&a, &b, sizeof a) < 0;
  }
};
using Keys = std::set<suture_flow_key, Less>;

class FakeSource final : public ProbeSource {
 public:
  void for_each(NodeId node, Incarnation incarnation,
                const std::function<void(const suture_flow_key&, TimePoint)>& visit) const override {
    if (node != kDead || incarnation != kLife) return;
    for (const auto& [k, active] : flows) visit(k, active);
  }
  std::map<suture_flow_key, TimePoint, Less> flows;
};

class ProberTest : public ::testing::Test {
 protected:
  FakeSource source;
  Prober::Options options{.self = kSelf, .first_timeout = Millis{1000}, .backoff_min = Millis{1000}};
  std::optional<Prober> made;
  Keys asked;             // at least once
  std::size_t count = 0;  // of all probes
  std::int64_t now = 0;

  void flows(std::uint32_t from, std::uint32_t to, std::int64_t active_ms = 0) {
    for (auto n = from; n < to; ++n) source.flows[key(n)] = at(active_ms);
  }
  Prober& prober() {
    if (!made) {
      made.emplace(options, source);
      made->set_members({kSelf});
    }
    return *made;
  }
  // Runs until `ms`, a call every 10 ms; `answers` says whether a client's answer reaches us.
  void run(std::int64_t ms, const std::function<bool(const suture_flow_key&)>& answers = {}) {
    for (; now < ms; now += 10) {
      for (const auto& k : prober().next(at(now))) {
        asked.insert(k);
        ++count;
        if (answers && answers(k)) prober().answered(k, at(now));
      }
    }
  }
  std::optional<Phase> phase() { return prober().phase(kDead, kLife); }
};

bool everybody(const suture_flow_key&) {
  return true;
}

TEST_F(ProberTest, shares_are_disjoint_complete_even_and_stable) {
  const std::vector<NodeId> three{kSelf, kB, kC}, two{kSelf, kC};
  std::map<NodeId, int> shares;
  for (std::uint32_t n = 0; n < 30000; ++n) {
    const auto before = prober_of(key(n), three), after = prober_of(key(n), two);
    ++shares[before];
    if (before != kB) {
      ASSERT_EQ(before, after) << "only the share of the one that left moves";
    }
    const std::vector<NodeId> other_order{kC, kSelf, kB};
    ASSERT_EQ(prober_of(key(n), other_order), before);
  }
  for (const NodeId id : three) EXPECT_NEAR(shares[id], 10000, 400) << to_int(id);
}

TEST_F(ProberTest, first_a_sample_of_the_most_recently_active_and_then_the_rest_paced) {
  flows(0, 9000, -100000);
  flows(9000, 10000, -10);
  prober().start(kDead, kLife);
  run(500);
  EXPECT_EQ(count, 100u) << "1 %";
  for (const auto& k : asked) EXPECT_EQ(source.flows[k], at(-10));
  EXPECT_EQ(phase(), Phase::judge);
  for (const auto& k : asked) prober().answered(k, at(500));
  run(510, everybody);
  EXPECT_EQ(phase(), Phase::burst);
  const auto before = count;
  run(610, everybody);
  EXPECT_NEAR(static_cast<double>(count - before), 2000, 220) << "20,000 a second";
  run(2000, everybody);
  EXPECT_EQ(asked.size(), 10000u);
  EXPECT_EQ(count, 10000u) << "each once";
}

// The PoP that the answers reach may have taken the node for living still, and sent them to the dead.
TEST_F(ProberTest, by_default_a_round_without_answers_is_soon_followed_by_another) {
  options = {.self = kSelf};
  flows(0, 16);
  prober().start(kDead, kLife);
  run(20);
  EXPECT_EQ(count, 16u);
  run(250);
  EXPECT_EQ(count, 32u);
}

TEST_F(ProberTest, answers_that_never_come_to_us_stop_the_burst) {
  flows(0, 10000);
  prober().start(kDead, kLife);
  run(1500);
  EXPECT_EQ(count, 100u);
  EXPECT_EQ(phase(), Phase::wait);
  run(600000);
  EXPECT_LE(count, 1600u) << "a sample a minute, after some quicker ones";
  EXPECT_GE(count, 1000u);
  // The route of some clients has moved to us; that is no death.
  int n = 0;
  run(800000, [&](const auto&) { return ++n % 50 == 0; });
  EXPECT_NE(phase(), Phase::burst);
  // Now all of them are here.
  run(1000000, everybody);
  EXPECT_EQ(asked.size(), 10000u);
}

TEST_F(ProberTest, a_burst_into_silence_stops) {
  flows(0, 100000);
  prober().start(kDead, kLife);
  run(300, everybody);
  ASSERT_EQ(phase(), Phase::burst);
  run(2900);
  EXPECT_EQ(phase(), Phase::wait);
  EXPECT_LT(count, 45000u) << "two seconds' worth at most";
}

TEST_F(ProberTest, a_claim_that_we_only_hear_of_is_an_answer) {
  flows(0, 10000);
  prober().start(kDead, kLife);
  run(100);
  for (const auto& k : asked) prober().owner_changed(k);
  run(120);
  EXPECT_EQ(phase(), Phase::burst);
  EXPECT_EQ(prober().waiting(), 9900u);
}

TEST_F(ProberTest, the_node_is_alive_again) {
  flows(0, 10000);
  prober().start(kDead, kLife);
  run(1000, everybody);
  const auto before = count;
  prober().stop(kDead, kLife);
  EXPECT_TRUE(prober().idle());
  run(5000);
  EXPECT_EQ(count, before);
}

TEST_F(ProberTest, silent_clients_are_asked_again_with_back_off_until_the_sessions_timeout) {
  flows(0, 16);
  prober().start(kDead, kLife);
  std::map<suture_flow_key, std::vector<std::int64_t>, Less> times;
  const auto silent = key(3);
  for (; now < 3700000; now += 20) {
    for (const auto& k : prober().next(at(now))) {
      if (!(k == silent)) {
        prober().owner_changed(k);
      } else {
        times[k].push_back(now);
      }
    }
  }
  const auto& asked_at = times[silent];
  ASSERT_GE(asked_at.size(), 10u);
  std::int64_t expected = 1000;
  for (std::size_t i = 1; i < asked_at.size(); ++i) {
    const auto gap = asked_at[i] - asked_at[i - 1];
    EXPECT_GE(gap, expected);
    EXPECT_LE(gap, expected + 40);
    expected = std::min<std::int64_t>(75000, 2 * expected);
  }
  EXPECT_LT(asked_at.back(), 3600000);
  EXPECT_TRUE(prober().idle()) << "given up";
}

TEST_F(ProberTest, an_answer_without_a_claim_is_asked_again_much_later) {
  flows(0, 1);
  prober().start(kDead, kLife);
  run(74000, everybody);
  EXPECT_EQ(count, 1u);
  run(77000);
  EXPECT_EQ(count, 2u);
  run(149000);
  EXPECT_EQ(count, 2u) << "and not sooner after that";
  prober().owner_changed(key(0));
  run(149010);
  EXPECT_TRUE(prober().idle());
}

TEST_F(ProberTest, ended_and_expired_sessions_are_left_out) {
  flows(0, 8);
  flows(8, 10, -3600000);
  prober().start(kDead, kLife);
  run(10);
  EXPECT_EQ(asked.size(), 8u) << "two had timed out before their owner died";
  for (const auto& k : asked) prober().erased(k);
  run(20);
  EXPECT_TRUE(prober().idle());
}

TEST_F(ProberTest, a_change_of_members_moves_the_share_and_keeps_what_was_done) {
  options.late_after = std::chrono::hours(1);
  flows(0, 3000);
  prober().set_members({kSelf, kB, kC});
  prober().start(kDead, kLife);
  run(2000, everybody);
  Keys expected;
  for (const auto& [k, active] : source.flows) {
    const std::vector<NodeId> three{kSelf, kB, kC};
    if (prober_of(k, three) == kSelf) expected.insert(k);
  }
  EXPECT_EQ(asked, expected);
  EXPECT_EQ(count, expected.size());
  prober().set_members({kSelf, kC});
  run(3000, everybody);
  EXPECT_EQ(asked.size(), count) << "none twice";
  for (const auto& [k, active] : source.flows) {
    const std::vector<NodeId> two{kSelf, kC};
    EXPECT_EQ(asked.contains(k), prober_of(k, two) == kSelf);
  }
}

// The one whose share it is may not have the record, or may have begun after the death.
TEST_F(ProberTest, other_members_keys_are_asked_late_if_nobody_has_claimed_them) {
  flows(0, 300);
  prober().set_members({kSelf, kB, kC});
  prober().start(kDead, kLife);
  run(900, everybody);
  const Keys mine = asked;
  EXPECT_LT(mine.size(), 150u);
  std::size_t claimed = 0;
  for (const auto& [k, active] : source.flows) {
    if (mine.contains(k) || ++claimed > 100) continue;
    prober().owner_changed(k);
  }
  run(3000, everybody);
  EXPECT_EQ(asked.size(), 200u);
}

// Sessions that can only be ended wait for their owner; they say nothing about the node and do not hold up the others.
TEST_F(ProberTest, keys_that_are_put_off_are_asked_when_it_is_time_and_count_for_nothing) {
  flows(0, 1000);  // put off; asked first, since they were active last
  flows(1000, 1020, -100000);
  prober().start(kDead, kLife);
  std::size_t healed = 0, ended = 0;
  for (; now < 1000; now += 10) {
    for (const auto& k : prober().next(at(now))) {
      if (source.flows[k] == at(0)) {
        prober().put_off(k, at(1000));
      } else {
        ++healed;
        prober().owner_changed(k);
      }
    }
  }
  EXPECT_EQ(healed, 20u);
  for (; now < 1200; now += 10) {
    for (const auto& k : prober().next(at(now))) {
      ++ended;
      prober().owner_changed(k);
    }
  }
  EXPECT_EQ(ended, 1000u);
  MetricsRegistry registry;
  prober().register_metrics(registry);
  EXPECT_NE(registry.prometheus_text().find("suture_probe_suspicions_total 0"), std::string::npos);
}

TEST_F(ProberTest, a_record_that_comes_after_the_death_is_asked_as_well) {
  prober().add(kDead, kLife, key(1), at(0));
  run(20, everybody);
  EXPECT_EQ(asked.size(), 1u) << "nobody told us of this death";
  flows(0, 10);
  prober().start(kDead, kLife);
  run(200, everybody);
  EXPECT_EQ(asked.size(), 10u) << "and then somebody did";
  prober().add(kDead, kLife, key(77), at(0));
  prober().add(kDead, kLife, key(5), at(0));
  run(400, everybody);
  EXPECT_EQ(asked.size(), 11u);
  EXPECT_EQ(count, 11u) << "none twice";
}

TEST_F(ProberTest, is_bounded_and_digests_a_million_in_slices) {
  options.keys_max = 1000;
  flows(0, 3000);
  prober().start(kDead, kLife);
  run(10);
  EXPECT_EQ(prober().waiting(), 1000u);
  prober().stop(kDead, kLife);
  flows(3000, 50000);
  made.reset();
  options.keys_max = 1U << 20;
  prober().start(kDead, kLife);
  prober().next(at(now));
  EXPECT_EQ(phase(), Phase::digest) << "16,384 a call";
  for (int i = 0; i < 3; ++i) prober().next(at(now));
  EXPECT_NE(phase(), Phase::digest);
  EXPECT_EQ(prober().waiting(), 50000u);
  EXPECT_LE(prober().next(at(now + 60000)).size(), options.per_call_max);
}

TEST_F(ProberTest, metrics) {
  flows(0, 10);
  MetricsRegistry registry;
  prober().register_metrics(registry);
  prober().start(kDead, kLife);
  run(20, everybody);
  const auto text = registry.prometheus_text();
  EXPECT_NE(text.find("suture_probes_due_total{kind=\"first\"} 10"), std::string::npos) << text;
  EXPECT_NE(text.find("suture_probe_outcomes_total{outcome=\"answered_here\"} 10"), std::string::npos);
  EXPECT_NE(text.find("suture_probe_flows 10"), std::string::npos);
}

}  // namespace
}  // namespace suture::healing
