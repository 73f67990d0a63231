// Three whole services in one process: streams in memory, liveness datagrams over loopback UDP.
#include <statesync/service.hpp>

#include <boost/asio/ip/udp.hpp>
#include <boost/asio/post.hpp>

#include <suture/limits.hpp>
#include <suture/sequence.hpp>

#include "memory_link.hpp"
#include "support.hpp"

namespace suture::statesync::test {
namespace {

using boost::asio::ip::udp;

struct Node {
  FakeOwnerMap map;
  SlotClock clock;
  std::vector<PeerState> changes;
  std::vector<std::tuple<NodeId, suture_flow_key, Answer>> answers;
  std::vector<std::string> id_refused;
  std::vector<SessionRecord> claims;
  std::vector<std::pair<unsigned, std::optional<unsigned>>> owner_changes;  // client port, owner now
  std::unique_ptr<StateSync> sync;
};

class ServiceTest : public ::testing::Test {
 protected:
  boost::asio::io_context io;
  MemoryNetwork network{io};
  std::uint16_t port = free_port();

  static boost::asio::ip::address underlay(NodeId id) {
    return boost::asio::ip::make_address("127.0.1." + std::to_string(to_int(id)));
  }
  std::uint16_t free_port() {
    const udp::socket probe(io, udp::endpoint(underlay(kA), 0));
    return probe.local_endpoint().port();
  }
  std::unique_ptr<Node> start(NodeId id, Incarnation incarnation, std::uint64_t slot_offset = 0,
                              std::function<void(Options&)> adjust = {}) {
    auto node = std::make_unique<Node>();
    Options options;
    options.id = id;
    options.name = "n" + std::to_string(to_int(id));
    options.incarnation = incarnation;
    options.underlay4 = underlay(id);
    options.liveness_port = port;
    options.liveness_interval = Millis{10};
    options.liveness_multiplier = 50;  // sanitizers are slow
    options.redial_min = Millis{20};
    options.redial_max = Millis{50};
    options.sync_wait = Millis{1500};
    options.slot_offset_start_ms = slot_offset;
    for (const NodeId peer : {kA, kB, kC}) {
      if (peer != id) options.peers.push_back({peer, "n" + std::to_string(to_int(peer)), underlay(peer), {}});
    }
    if (adjust) adjust(options);
    node->sync = std::make_unique<StateSync>(options, network.transport(id), node->map, node->clock, io);
    Node* raw = node.get();
    node->sync->set_on_peer_change([raw](const PeerState& s) { raw->changes.push_back(s); });
    node->sync->set_on_answer(
        [raw](NodeId p, const suture_flow_key& k, Answer a) { raw->answers.emplace_back(p, k, a); });
    node->sync->set_on_id_refused([raw](const std::string& r) { raw->id_refused.push_back(r); });
    node->sync->set_on_claimed([raw](const SessionRecord& theirs) { raw->claims.push_back(theirs); });
    node->sync->set_on_owner_changed([raw](const suture_flow_key& k, const SessionRecord* r) {
      raw->owner_changes.emplace_back(ntohs(k.client_port), r ? std::optional(to_int(r->owner)) : std::nullopt);
    });
    const auto started = node->sync->start();
    EXPECT_TRUE(started) << started.error().message;
    return node;
  }
  bool until(const std::function<bool()>& condition) { return run_until(io, condition); }
  bool all_synchronised(std::initializer_list<const Node*> nodes) {
    return until(
        [&] { return std::all_of(nodes.begin(), nodes.end(), [](const Node* n) { return n->sync->synchronised(); }); });
  }
  static std::uint64_t snapshots(const Node& node) {
    MetricsRegistry registry;
    node.sync->register_metrics(registry);
    std::uint64_t sum = 0;
    for (const auto& family : registry.collect()) {
      if (family.name != "suture_replication_snapshots_total") continue;
      for (const auto& sample : family.samples) sum += static_cast<std::uint64_t>(sample.value);
    }
    return sum;
  }
};

TEST_F(ServiceTest, records_spread_and_end) {
  auto a = start(kA, 10), b = start(kB, 10), c = start(kC, 10);
  ASSERT_TRUE(all_synchronised({a.get(), b.get(), c.get()}));
  EXPECT_TRUE(a->sync->sync_waits_for().empty());
  ASSERT_TRUE(a->sync->sink(0).upsert(record(5, kA)));
  ASSERT_TRUE(until([&] { return b->map.at(5) && c->map.at(5); }));
  EXPECT_EQ(*b->map.at(5), std::pair(1u, 10u));
  EXPECT_FALSE(a->map.at(5));
  ASSERT_TRUE(a->sync->sink(0).erase(key(5), 1));
  ASSERT_TRUE(until([&] { return !b->map.at(5) && !c->map.at(5); }));
  EXPECT_TRUE(a->sync->may_reset());
}

TEST_F(ServiceTest, what_is_hurried_leaves_at_once_and_says_so) {
  const auto lazily = [](Options& options) { options.flush_interval = Millis{3600'000}; };
  auto a = start(kA, 10, 0, lazily), b = start(kB, 10), c = start(kC, 10);
  auto& sink = a->sync->sink(0);
  EXPECT_EQ(sink.hurry(), 0U) << "no peer yet";
  ASSERT_TRUE(all_synchronised({a.get(), b.get(), c.get()}));
  int told = 0;
  sink.set_on_left([&] { ++told; });
  ASSERT_TRUE(sink.upsert(record(5, kA)));
  const auto changes = sink.hurry();
  ASSERT_NE(changes, 0U);
  EXPECT_FALSE(sink.left(changes));
  ASSERT_TRUE(until([&] { return told > 0; }));
  EXPECT_TRUE(sink.left(changes));
  ASSERT_TRUE(until([&] { return b->map.at(5) && c->map.at(5); }));
}

// Its window is full of what it does not acknowledge.
TEST_F(ServiceTest, a_peer_that_is_behind_is_not_waited_for_for_long) {
  auto a = start(kA, 10), b = start(kB, 10), c = start(kC, 10);
  ASSERT_TRUE(all_synchronised({a.get(), b.get(), c.get()}));
  auto& sink = a->sync->sink(0);
  int told = 0;
  sink.set_on_left([&] { ++told; });
  network.mute[kB] = true;
  for (unsigned i = 0; i <= suture::limits::batches_in_flight_max; ++i) {
    told = 0;
    ASSERT_TRUE(sink.upsert(record(static_cast<std::uint16_t>(100 + i), kA)));
    const auto changes = sink.hurry();
    ASSERT_TRUE(until([&] { return told > 0; })) << i;
    EXPECT_TRUE(sink.left(changes)) << i;
  }
  MetricsRegistry registry;
  a->sync->register_metrics(registry);
  const auto families = registry.collect();
  const auto late = std::find_if(families.begin(), families.end(),
                                 [](const auto& family) { return family.name == "suture_records_left_late_total"; });
  ASSERT_NE(late, families.end());
  EXPECT_GE(late->samples.front().value, 1) << "the last of them found no room";
}

// A client's port again, at another worker whose queue is drained first.
TEST_F(ServiceTest, the_later_session_of_a_port_stays_whichever_worker_speaks_first) {
  auto a = start(kA, 10, 0, [](Options&options) { options.workers = 2; }), b = start(kB, 10), c = start(kC, 10);
  ASSERT_TRUE(all_synchronised({a.get(), b.get(), c.get()}));
  ASSERT_TRUE(a->sync->sink(0).upsert(record(5, kA, 10, 8)));
  ASSERT_TRUE(a->sync->sink(1).upsert(record(5, kA, 10, 7)));
  ASSERT_TRUE(a->sync->sink(1).erase(key(5), 7));
  ASSERT_TRUE(a->sync->sink(1).upsert(record(6, kA, 10, 9)));
  ASSERT_TRUE(until([&] { return b->map.at(6) && c->map.at(6); }));
  for (const auto* node : {a.get(), b.get(), c.get()}) {
    const SessionRecord* known = node->sync->directory().find(key(5));
    ASSERT_NE(known, nullptr);
    EXPECT_EQ(known->session_id, 8U);
  }
}

TEST_F(ServiceTest, flushed_says_when_the_living_peers_have_everything) {
  auto a = start(kA, 10), b = start(kB, 10);  // C is not there, and holds nobody up
  ASSERT_TRUE(all_synchronised({a.get(), b.get()}));
  ASSERT_TRUE(until([&] { return a->sync->flushed(); }));
  for (std::uint16_t client = 1; client <= 600; ++client) a->sync->sink(0).upsert(record(client, kA));
  EXPECT_FALSE(a->sync->flushed()) << "still in the worker's queue";
  ASSERT_TRUE(until([&] { return a->sync->flushed(); }));
  EXPECT_EQ(b->map.entries.size(), 600u);
  // As at the end of the process: the workers are gone, their last words are in the queue.
  for (std::uint16_t client = 1; client <= 600; ++client) a->sync->sink(0).erase(key(client), 1);
  ASSERT_TRUE(until([&] { return a->sync->flushed(); }));
  EXPECT_TRUE(b->map.entries.empty()) << "applied there, not only sent";
  // A healed session's end waits, so that nobody misses the claim; the end of the process waits with it.
  SessionRecord healed = record(7, kA);
  healed.epoch = 1;
  a->sync->sink(0).upsert(healed);
  ASSERT_TRUE(until([&] { return b->map.at(7).has_value(); }));
  a->sync->sink(0).erase(key(7), 1);
  ASSERT_TRUE(until([&] { return a->sync->flushed(); }));
  EXPECT_FALSE(b->map.at(7));
  a->sync->stop();
}

TEST_F(ServiceTest, a_living_peer_that_takes_nothing_is_not_flushed) {
  auto a = start(kA, 10), b = start(kB, 10);
  ASSERT_TRUE(all_synchronised({a.get(), b.get()}));
  ASSERT_TRUE(until([&] { return a->sync->flushed(); }));
  network.cut(kA, kB);
  a->sync->sink(0).upsert(record(5, kA));
  ASSERT_TRUE(until([&] { return a->sync->peer(kB)->queue == 1 && !a->sync->peer(kB)->sending; }));
  EXPECT_FALSE(a->sync->flushed());
  b.reset();
  ASSERT_TRUE(until([&] { return a->sync->flushed(); })) << "it died, and nobody else is there";
}

TEST_F(ServiceTest, an_unreachable_peer_is_told_once_and_is_no_refusal) {
  ::testing::internal::CaptureStderr();
  auto a = start(kA, 10, 0, [](Options& o) { o.peers[0].statesync = {underlay(kB), 7100}; });
  const auto metric = [&](const std::string& line) {
    MetricsRegistry registry;
    a->sync->register_metrics(registry);
    return registry.prometheus_text().find(line) != std::string::npos;
  };
  EXPECT_TRUE(until([&] { return metric("suture_statesync_unreachable_total{peer=\"2\"} 5"); }));
  EXPECT_TRUE(metric("suture_statesync_refused_total{reason=\"connect\"} 0"));
  EXPECT_TRUE(all_synchronised({a.get()}));
  // The peer comes, and goes again: worth another line.
  auto b = start(kB, 10);
  EXPECT_TRUE(until([&] { return a->sync->peer(kB)->sending; }));
  b.reset();
  EXPECT_TRUE(until([&] { return metric("suture_statesync_refused_total{reason=\"connect\"} 1"); }));
  network.cut(kA, kB);
  std::string text;
  const auto told = [&](const std::string& what) {
    text += ::testing::internal::GetCapturedStderr();
    ::testing::internal::CaptureStderr();
    std::size_t n = 0;
    for (std::size_t at = 0; (at = text.find(what, at)) != std::string::npos; at += what.size()) ++n;
    return n;
  };
  EXPECT_EQ(told("without=n2,n3"), 1u);
  EXPECT_TRUE(until([&] {
    return told(
               "statesync_unreachable peer=2 detail=\"127.0.1.2:7100 (peer 2, n2) does not answer: is suture running "
               "there, is TCP 7100 open?\"") == 2;
  }));
  EXPECT_EQ(told("statesync_disconnected peer=2"), 1u) << "only when it was connected";
  EXPECT_EQ(told("statesync_unreachable peer=3"), 2u) << "A and B, once each, however often they dialed";
  ::testing::internal::GetCapturedStderr();
}

TEST_F(ServiceTest, a_cut_stream_resumes_without_a_snapshot) {
  auto a = start(kA, 10), b = start(kB, 10), c = start(kC, 10);
  ASSERT_TRUE(all_synchronised({a.get(), b.get(), c.get()}));
  const auto before = snapshots(*a);
  network.cut(kA, kB);
  ASSERT_TRUE(until([&] { return !b->sync->peer(kA)->synced && !a->sync->peer(kB)->sending; }));
  EXPECT_TRUE(b->sync->peer(kA)->alive) << "a stream is not a life";
  EXPECT_FALSE(b->sync->may_reset());
  EXPECT_FALSE(b->sync->complete_but_for_dead(Millis{0})) << "alive and not in sync";
  a->sync->sink(0).upsert(record(6, kA));
  ASSERT_TRUE(until([&] { return c->map.at(6).has_value(); }));
  EXPECT_FALSE(b->map.at(6));
  network.mend(kA, kB);
  ASSERT_TRUE(until([&] { return b->map.at(6) && b->sync->peer(kA)->synced; }));
  EXPECT_EQ(snapshots(*a), before);
}

TEST_F(ServiceTest, a_restarted_node_learns_everything_also_of_the_dead_and_of_its_former_life) {
  auto a = start(kA, 10), b = start(kB, 10), c = start(kC, 10);
  ASSERT_TRUE(all_synchronised({a.get(), b.get(), c.get()}));
  c->sync->sink(0).upsert(record(7, kC));
  b->sync->sink(0).upsert(record(8, kB));
  ASSERT_TRUE(until([&] { return a->map.at(7) && a->map.at(8); }));
  c.reset();
  b.reset();
  ASSERT_TRUE(until([&] { return !a->sync->peer(kB)->alive && !a->sync->peer(kC)->alive; }));
  EXPECT_TRUE(a->map.at(7)) << "the dead owner's record is kept";
  b = start(kB, 11);
  ASSERT_TRUE(until([&] { return b->map.at(7) && b->map.at(8); }));
  EXPECT_EQ(*b->map.at(7), std::pair(3u, 10u));
  EXPECT_EQ(*b->map.at(8), std::pair(2u, 10u)) << "its own former incarnation is nobody living";
  ASSERT_TRUE(all_synchronised({b.get()}));
  EXPECT_FALSE(b->sync->may_reset()) << "node 3 may be alive somewhere for forget_after";
  EXPECT_FALSE(b->sync->complete_but_for_dead(Millis{60'000}));
  ASSERT_TRUE(until([&] { return b->sync->complete_but_for_dead(Millis{300}); }));
  ASSERT_TRUE(until([&] { return a->sync->peer(kB)->incarnation == 11 && a->sync->peer(kB)->alive; }));
  // The former incarnation's record stays at a until it is forgotten.
  EXPECT_EQ(*a->map.at(8), std::pair(2u, 10u));
}

TEST_F(ServiceTest, forgets_the_dead_after_the_time) {
  const auto soon = [](Options& o) { o.forget_after = Millis{700}; };
  auto a = start(kA, 10, 0, soon), b = start(kB, 10, 0, soon);
  ASSERT_TRUE(all_synchronised({a.get(), b.get()}));
  b->sync->sink(0).upsert(record(8, kB));
  ASSERT_TRUE(until([&] { return a->map.at(8).has_value(); }));
  b.reset();
  ASSERT_TRUE(until([&] { return !a->map.at(8); }));
  EXPECT_EQ(a->sync->directory().size(), 0u);
  ASSERT_TRUE(until([&] { return a->sync->may_reset(); }));
}

TEST_F(ServiceTest, a_second_process_with_the_same_id_is_refused_and_told) {
  auto a = start(kA, 10), b = start(kB, 10);
  ASSERT_TRUE(all_synchronised({a.get(), b.get()}));
  auto twin = start(kB, 11, 0, [](Options& o) {
    o.underlay4 = boost::asio::ip::make_address("127.0.1.200");
    o.refused_grace = Millis{50};
  });
  ASSERT_TRUE(until([&] { return !twin->id_refused.empty(); }));
  EXPECT_NE(twin->id_refused[0].find("same id is alive"), std::string::npos) << twin->id_refused[0];
  EXPECT_EQ(twin->id_refused.size(), 1u);
  EXPECT_EQ(a->sync->peer(kB)->incarnation, 10u);
  EXPECT_TRUE(a->sync->peer(kB)->alive);
  EXPECT_TRUE(b->id_refused.empty());
}

TEST_F(ServiceTest, unreachable_peers_hold_nobody_up_for_longer_than_sync_wait) {
  const auto before = Clock::now();
  auto a = start(kA, 10);
  EXPECT_FALSE(a->sync->synchronised());
  EXPECT_EQ(a->sync->sync_waits_for(), (std::vector<std::string>{"n2", "n3"}));
  ASSERT_TRUE(all_synchronised({a.get()}));
  EXPECT_GE(Clock::now() - before, Millis{1500});
  EXPECT_FALSE(a->sync->may_reset()) << "never heard: possibly alive";
}

TEST_F(ServiceTest, answers_draining_and_clock) {
  auto a = start(kA, 10, 5'000'000), b = start(kB, 10);
  ASSERT_TRUE(all_synchronised({a.get(), b.get()}));
  EXPECT_NEAR(static_cast<double>(b->clock.offset_ms()), 5e6, 2000) << "taken from the peer";
  ASSERT_TRUE(until([&] { return a->sync->peer(kB)->hint_ok && b->sync->peer(kA)->hint_ok; }));
  EXPECT_TRUE(b->sync->send_answer(kA, key(5), Answer::not_mine));
  EXPECT_FALSE(b->sync->send_answer(kC, key(5), Answer::mine));
  ASSERT_TRUE(until([&] { return !a->answers.empty(); }));
  EXPECT_EQ(a->answers[0], std::tuple(kB, key(5), Answer::not_mine));
  b->sync->set_draining(true);
  ASSERT_TRUE(until([&] { return !a->changes.empty() && a->changes.back().draining; }));
}

TEST_F(ServiceTest, clocks_an_hour_apart_raise_an_alarm_and_end_hints) {
  // Both start alone, so each settles on its own clock.
  network.cut(kA, kB), network.cut(kB, kA);
  auto a = start(kA, 10), b = start(kB, 10, 3'600'000);
  ASSERT_TRUE(all_synchronised({a.get(), b.get()}));
  network.mend(kA, kB), network.mend(kB, kA);
  ASSERT_TRUE(until([&] { return a->sync->peer(kB)->alive && b->sync->peer(kA)->alive; }));
  EXPECT_FALSE(a->sync->peer(kB)->hint_ok);
  EXPECT_NEAR(static_cast<double>(a->sync->peer(kB)->clock_apart_ms), 3.6e6, 2000);
  EXPECT_EQ(a->clock.offset_ms(), 0u) << "no step after the first accept";
}

TEST_F(ServiceTest, an_heir_claims_and_the_owner_that_comes_back_is_told) {
  auto a = start(kA, 10), b = start(kB, 10), c = start(kC, 10);
  ASSERT_TRUE(all_synchronised({a.get(), b.get(), c.get()}));
  c->sync->sink(0).upsert(record(5, kC));
  ASSERT_TRUE(until([&] { return a->map.at(5) && b->map.at(5); }));
  EXPECT_EQ(a->sync->claim_epoch(key(5)), 1u);
  auto adopted = record(5, kA, 10, 3, 1);
  adopted.facts.timestamps = true;
  adopted.fenced = true;
  adopted.fence = 1000;
  a->sync->sink(0).upsert(adopted);
  ASSERT_TRUE(until([&] { return c->claims.size() == 1 && b->map.at(5) == std::pair(1u, 10u); }));
  EXPECT_EQ(c->claims[0].owner, kA);
  EXPECT_EQ(c->claims[0].fence, 1000u);
  EXPECT_FALSE(a->map.at(5));
  // What C still has to say of it changes nothing; then C sees its own echo.
  c->sync->sink(0).upsert(record(5, kC));
  c->sync->sink(0).upsert(record(6, kC));
  ASSERT_TRUE(until([&] { return a->map.at(6).has_value(); }));
  EXPECT_FALSE(a->map.at(5));
  c->sync->sink(0).upsert(record(5, kC, 10, 1, c->sync->claim_epoch(key(5))));
  ASSERT_TRUE(until([&] { return a->claims.size() == 1 && b->map.at(5) == std::pair(3u, 10u); }));
  EXPECT_EQ(a->claims[0].epoch, 2u);
}

TEST_F(ServiceTest, a_claim_of_a_dead_owners_flow_tells_the_prober_and_its_clock_goes_on) {
  auto a = start(kA, 10), b = start(kB, 10), c = start(kC, 10);
  ASSERT_TRUE(all_synchronised({a.get(), b.get(), c.get()}));
  auto r = record(5, kC, 10);
  r.facts.ts_offset = 7000;
  c->sync->sink(0).upsert(r);
  c->sync->sink(0).upsert(record(6, kC));
  ASSERT_TRUE(until([&] { return a->map.at(5) && b->map.at(5) && a->map.at(6); }));
  c.reset();
  ASSERT_TRUE(until([&] { return !a->sync->peer(kC)->alive && !a->sync->heard_by_any(kC); }));
  EXPECT_TRUE(a->sync->majority());
  const auto now = Clock::now();
  const auto clock = a->sync->former_clock(*a->sync->directory().find(key(5)), now);
  ASSERT_TRUE(clock);
  const auto expected = 7000 + static_cast<std::uint32_t>(monotonic_ms(now));  // one kernel, one clock
  EXPECT_LE(seq_diff(clock->tsval, expected), 0) << "never late";
  EXPECT_GE(seq_diff(clock->tsval, expected), -500);
  EXPECT_TRUE(clock->hint_ok);
  EXPECT_FALSE(a->sync->former_clock(record(5, kC, 9), now));
  a->sync->sink(0).upsert(record(5, kA, 10, 1, 1));
  ASSERT_TRUE(until([&] { return !b->owner_changes.empty() && !a->owner_changes.empty(); }));
  EXPECT_EQ(b->owner_changes[0], std::pair(5u, std::optional(1u)));
}

TEST_F(ServiceTest, a_node_is_cut_off_until_it_knows_what_a_majority_claimed) {
  auto a = start(kA, 10);
  ASSERT_TRUE(all_synchronised({a.get()}));
  EXPECT_TRUE(a->sync->cut_off()) << "1 of 3";
  EXPECT_TRUE(a->sync->caught_up_all_alive());
  auto b = start(kB, 10);
  ASSERT_TRUE(until([&] { return !a->sync->cut_off() && !b->sync->cut_off(); }));
  EXPECT_TRUE(a->sync->caught_up(kB));
  b.reset();
  ASSERT_TRUE(until([&] { return a->sync->cut_off(); }));
  // Back, with a stream that brings nothing.
  network.cut(kB, kA);
  b = start(kB, 11);
  ASSERT_TRUE(until([&] { return a->sync->peer(kB)->alive && b->sync->caught_up(kA); }));
  EXPECT_TRUE(a->sync->majority());
  EXPECT_FALSE(b->sync->cut_off());
  EXPECT_TRUE(a->sync->cut_off()) << "alive, but its records do not come";
  EXPECT_FALSE(a->sync->caught_up_all_alive());
  network.mend(kB, kA);
  ASSERT_TRUE(until([&] { return !a->sync->cut_off(); }));
}

TEST_F(ServiceTest, garbage_on_the_liveness_port_is_counted) {
  auto a = start(kA, 10);
  udp::socket socket(io, udp::endpoint(underlay(kC), 0));
  for (const std::string& junk : {std::string("hello"), '\x02' + std::string(99, '\x01'), std::string(3000, 'x')}) {
    socket.send_to(boost::asio::buffer(junk), udp::endpoint(underlay(kA), port));
  }
  MetricsRegistry registry;
  a->sync->register_metrics(registry);
  ASSERT_TRUE(until([&] {
    return registry.prometheus_text().find("suture_liveness_received_total{result=\"malformed\"} 2") !=
           std::string::npos;
  }));
}

TEST_F(ServiceTest, a_taken_port_is_a_clear_error) {
  const udp::socket taken(io, udp::endpoint(underlay(kA), port));
  Node node;
  Options options;
  options.id = kA;
  options.incarnation = 1;
  options.underlay4 = underlay(kA);
  options.liveness_port = port;
  StateSync sync(options, network.transport(kA), node.map, node.clock, io);
  const auto started = sync.start();
  ASSERT_FALSE(started);
  EXPECT_NE(started.error().message.find("used by another program"), std::string::npos) << started.error().message;
}

}  // namespace
}  // namespace suture::statesync::test
