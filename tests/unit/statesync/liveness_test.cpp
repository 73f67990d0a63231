#include <statesync/liveness.hpp>

#include "support.hpp"

namespace suture::statesync::test {
namespace {

using Outcome = Liveness::Outcome;

// One node with its verdicts.
struct Node {
  Node(NodeId node, Incarnation inc)
      : id(node),
        incarnation(inc),
        liveness({.self = node, .incarnation = inc, .secret = key_of(node, inc)},
                 {.on_up = [this](NodeId, Incarnation) { ++ups; },
                  .on_down = [this](NodeId, Incarnation) { ++downs; },
                  .on_heard = [this](const Datagram& d, TimePoint) { last = d; },
                  .on_answer = [this](const Datagram& d) { answers.push_back(d); },
                  .delivered_ms = [this](NodeId, TimePoint) { return delivered_ms; }}) {}
  static LivenessKey key_of(NodeId node, Incarnation inc) {
    LivenessKey k{};
    k[0] = static_cast<std::uint8_t>(to_int(node));
    k[1] = static_cast<std::uint8_t>(inc);
    return k;
  }
  void learn(const Node& other) {
    liveness.set_peer(other.id, other.incarnation, hello_key(key_of(other.id, other.incarnation), id), at(0));
  }
  DatagramBytes beat(std::int64_t ms) {
    const auto out = liveness.tick(at(ms), 12345);
    return out.empty() ? DatagramBytes{} : out.front().bytes;
  }
  Outcome hear(const DatagramBytes& bytes, std::int64_t ms) {
    return liveness.on_datagram({bytes.data(), bytes.size()}, at(ms));
  }

  NodeId id;
  Incarnation incarnation;
  int ups = 0, downs = 0;
  Datagram last;
  std::uint64_t delivered_ms = 0;
  std::vector<Datagram> answers;
  Liveness liveness;
};

class LivenessTest : public ::testing::Test {
 protected:
  Node a{kA, 10}, b{kB, 20};
  LivenessTest() {
    a.learn(b);
    b.learn(a);
  }
  void exchange(std::int64_t ms, bool to_b = true, bool to_a = true) {
    const auto from_a = a.beat(ms), from_b = b.beat(ms);
    if (to_b && !from_a.empty()) b.hear(from_a, ms);
    if (to_a && !from_b.empty()) a.hear(from_b, ms);
  }
  bool both(bool alive) const { return a.liveness.alive(kB) == alive && b.liveness.alive(kA) == alive; }
};

TEST_F(LivenessTest, alive_only_when_both_directions_work) {
  for (int i = 0; i < 10; ++i) exchange(i * 50, true, false);
  EXPECT_TRUE(both(false)) << "b hears a, but a's beats echo nothing";
  exchange(500);
  exchange(550);
  EXPECT_TRUE(both(true));
  EXPECT_EQ(b.last.slot_ms, 12345u);
  for (int i = 0; i < 4; ++i) exchange(600 + i * 50, true, false);
  EXPECT_TRUE(both(true));
  for (int i = 0; i < 4; ++i) exchange(850 + i * 50, true, false);
  EXPECT_TRUE(both(false)) << "b still hears a, and yet its own beats do not arrive";
  EXPECT_EQ(a.downs, 1);
  EXPECT_EQ(b.downs, 1);
  exchange(1100);
  exchange(1150);
  exchange(1200);
  EXPECT_TRUE(both(true));
}

TEST_F(LivenessTest, sends_once_per_interval) {
  EXPECT_FALSE(a.beat(0).empty());
  EXPECT_TRUE(a.beat(49).empty());
  EXPECT_EQ(a.liveness.next_tick(at(49)), at(50));
  EXPECT_FALSE(a.beat(50).empty());
}

TEST_F(LivenessTest, replays_are_refused_and_reordering_is_not) {
  const auto first = a.beat(0), second = a.beat(50), third = a.beat(100);
  EXPECT_EQ(b.hear(second, 100), Outcome::accepted);
  EXPECT_EQ(b.hear(first, 100), Outcome::accepted);
  EXPECT_EQ(b.hear(third, 100), Outcome::accepted);
  for (const auto& again : {first, second, third}) EXPECT_EQ(b.hear(again, 100), Outcome::replayed);
  DatagramBytes newest;
  for (int i = 0; i < 300; ++i) newest = a.beat(150 + i * 50);
  const auto late = first;
  EXPECT_EQ(b.hear(newest, 200), Outcome::accepted);
  EXPECT_EQ(b.hear(late, 200), Outcome::replayed) << "beyond the window";
  EXPECT_EQ(b.liveness.outcome(Outcome::replayed).value(), 4u);
}

TEST_F(LivenessTest, every_changed_bit_is_noticed) {
  const auto good = a.beat(0);
  for (std::size_t bit = 0; bit < good.size() * 8; ++bit) {
    auto forged = good;
    forged[bit / 8] ^= static_cast<std::uint8_t>(1U << bit % 8);
    EXPECT_NE(b.hear(forged, 0), Outcome::accepted) << "bit " << bit;
  }
  EXPECT_EQ(b.hear(good, 0), Outcome::accepted);
}

TEST_F(LivenessTest, garbage_strangers_and_reflections) {
  for (std::size_t size = 0; size <= kLivenessBytesMax; ++size) {
    EXPECT_NE(b.hear(DatagramBytes(size, 0), 0), Outcome::accepted);
    EXPECT_NE(b.hear(DatagramBytes(size, 1), 0), Outcome::accepted);
  }
  Node stranger(kC, 1);
  stranger.learn(b);
  EXPECT_EQ(b.hear(stranger.beat(0), 0), Outcome::unknown_peer);
  EXPECT_EQ(b.hear(b.beat(0), 0), Outcome::misdirected) << "our own words come back";
  // The right id and incarnation, without the key of the Hello.
  Node impostor(kA, 10);
  LivenessKey wrong{};
  impostor.liveness.set_peer(kB, 20, wrong, at(0));
  EXPECT_EQ(b.hear(impostor.beat(0), 0), Outcome::forged);
}

TEST_F(LivenessTest, what_a_node_tells_one_peer_is_of_no_use_to_another) {
  // C was told these by A and B, and is in the place of A.
  const auto from_a = hello_key(Node::key_of(kA, 10), kC), from_b = hello_key(Node::key_of(kB, 20), kC);
  const auto pair = derive_key(kA, 10, from_a, kB, 20, from_b);
  const Datagram d{.sender = kA, .receiver = kB, .incarnation = 10, .seq = 1};
  EXPECT_EQ(b.hear(encode(d, pair), 0), Outcome::forged);
}

TEST_F(LivenessTest, an_echo_of_what_was_never_sent_proves_nothing) {
  const auto pair =
      derive_key(kA, 10, hello_key(Node::key_of(kA, 10), kB), kB, 20, hello_key(Node::key_of(kB, 20), kA));
  Datagram d{.sender = kB, .receiver = kA, .incarnation = 20, .seq = 1, .echo = 1000};
  EXPECT_EQ(a.hear(encode(d, pair), 0), Outcome::accepted);
  EXPECT_FALSE(a.liveness.alive(kB));
}

TEST_F(LivenessTest, a_restarted_peer_starts_from_nothing) {
  for (int i = 0; i < 4; ++i) exchange(i * 50);
  ASSERT_TRUE(both(true));
  const auto old_beat = b.beat(200);
  Node b2(kB, 21);
  b2.learn(a);
  EXPECT_EQ(a.hear(b2.beat(200), 200), Outcome::unknown_peer) << "before its Hello";
  a.learn(b2);
  EXPECT_EQ(a.downs, 1);
  EXPECT_EQ(a.hear(old_beat, 200), Outcome::unknown_peer);
  for (int i = 0; i < 3; ++i) {
    b2.hear(a.beat(250 + i * 50), 250 + i * 50);
    a.hear(b2.beat(250 + i * 50), 250 + i * 50);
  }
  EXPECT_EQ(a.liveness.alive_incarnation(kB), 21u);
  a.learn(b2);
  EXPECT_EQ(a.downs, 1) << "the same Hello again changes nothing";
}

TEST_F(LivenessTest, a_stalled_node_listens_before_it_judges) {
  for (int i = 0; i < 4; ++i) exchange(i * 50);
  ASSERT_TRUE(both(true));
  EXPECT_FALSE(a.liveness.stalled(at(200)));
  // a sleeps for three seconds; b's beats wait in a's socket.
  std::vector<DatagramBytes> waiting;
  for (int ms = 200; ms < 3200; ms += 50) waiting.push_back(b.beat(ms));
  EXPECT_FALSE(b.liveness.alive(kA)) << "for b it was a that died";
  ASSERT_EQ(a.liveness.stalled(at(3200)), Millis{3050});
  for (const auto& bytes : waiting) a.hear(bytes, 3200);
  const auto first = a.beat(3200);
  EXPECT_TRUE(a.liveness.alive(kB)) << "nobody is judged by the time we lost";
  EXPECT_EQ(a.downs, 0);
  b.hear(first, 3200);
  for (int i = 1; i < 4; ++i) exchange(3200 + i * 50);
  EXPECT_TRUE(both(true));
}

TEST_F(LivenessTest, a_stalled_node_does_not_keep_a_dead_peer) {
  for (int i = 0; i < 4; ++i) exchange(i * 50);
  ASSERT_TRUE(a.liveness.stalled(at(3200)));
  a.beat(3200);  // nothing waited in the socket
  EXPECT_FALSE(a.liveness.alive(kB));
}

TEST_F(LivenessTest, answers_go_between_living_nodes_only) {
  EXPECT_FALSE(a.liveness.answer(kB, key(5), Answer::mine, at(0), 0));
  for (int i = 0; i < 4; ++i) exchange(i * 50);
  const auto answer = a.liveness.answer(kB, key(5), Answer::not_mine, at(200), 0);
  ASSERT_TRUE(answer);
  EXPECT_EQ(b.hear(answer->bytes, 200), Outcome::accepted);
  ASSERT_EQ(b.answers.size(), 1u);
  EXPECT_EQ(b.answers[0].type, DatagramType::not_mine);
  EXPECT_EQ(b.answers[0].key, key(5));
  EXPECT_EQ(b.hear(answer->bytes, 200), Outcome::replayed);
  EXPECT_EQ(b.answers.size(), 1u);
  EXPECT_FALSE(a.liveness.answer(kC, key(5), Answer::mine, at(0), 0)) << "no such peer";
}

TEST_F(LivenessTest, nodes_say_whom_they_hear_and_what_was_delivered) {
  exchange(0);
  EXPECT_TRUE(b.last.hears.none());
  a.delivered_ms = 0x0102030405060708;
  for (int i = 1; i < 4; ++i) exchange(i * 50);
  EXPECT_EQ(b.last.hears, NodeSet().set(to_int(kB))) << "two-way only";
  EXPECT_EQ(b.last.delivered_ms, 0x0102030405060708u);
  EXPECT_EQ(a.liveness.sent_seq(kB), 4u);
  b.hear(a.beat(600), 600);
  EXPECT_TRUE(b.last.hears.none()) << "b is dead for a";
}

// Byte for byte as docs/wire_format.md has it.
TEST_F(LivenessTest, layout) {
  Datagram d{.sender = kA, .receiver = kB, .incarnation = 0x0a0b0c0d, .seq = 2, .echo = 3};
  d.slot_ms = 4, d.monotonic_ms = 5, d.flags = 6, d.delivered_ms = 7;
  d.hears.set(1).set(9).set(255);
  const auto bytes = encode(d, LivenessKey{});
  ASSERT_EQ(bytes.size(), 100u);
  EXPECT_EQ(bytes[0], 2);
  EXPECT_EQ(bytes[51], 7) << "last byte of delivered_ms";
  EXPECT_EQ(bytes[52], 1 << 1);
  EXPECT_EQ(bytes[53], 1 << 1);
  EXPECT_EQ(bytes[83], 1 << 7);
  d.type = DatagramType::mine;
  EXPECT_EQ(encode(d, LivenessKey{}).size(), 136u);
  Datagram back;
  auto other = bytes;
  other[0] = 1;
  EXPECT_EQ(parse({other.data(), other.size()}, back), ParseError::version);
  EXPECT_EQ(parse({bytes.data(), bytes.size() - 1}, back), ParseError::size);
  ASSERT_EQ(parse({bytes.data(), bytes.size()}, back), ParseError::none);
  EXPECT_EQ(back.hears, d.hears);
}

TEST_F(LivenessTest, flags_and_clocks_arrive) {
  a.liveness.set_flags(kB, kFlagSynced | kFlagDraining);
  b.hear(a.beat(70), 70);
  EXPECT_EQ(b.last.flags, kFlagSynced | kFlagDraining);
  EXPECT_EQ(b.last.monotonic_ms, monotonic_ms(at(70)));
}

}  // namespace
}  // namespace suture::statesync::test
