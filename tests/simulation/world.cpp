#include "tests/simulation/world.hpp"

#include <cstdio>

#include <suture/sequence.hpp>

#include "tests/simulation/client.hpp"
#include "tests/simulation/http_world.hpp"
#include "tests/simulation/node.hpp"
#include "tests/simulation/scenario.hpp"

namespace suture::sim {
namespace {

constexpr Micros kDeadInterval = ms(250);  // 50 ms x 5
constexpr Micros kUpDelay = ms(60);

}  // namespace

World::World(std::uint64_t seed_, Break broken_, bool verbose, Mode mode)
    : seed(seed_), broken(broken_), rng(seed_ * 0x2545f4914f6cdd1dULL + 1), verbose_(verbose) {
  const auto loopback = boost::asio::ip::make_address("127.0.0.1");
  key = make_flow_key({loopback, 4242}, {loopback, 80});
  choose_settings();
  if (mode == Mode::positions) return;
  choose_http_settings();
  http = std::make_unique<HttpWorld>(*this);
}

World::~World() = default;

void World::choose_settings() {
  Settings& s = settings;
  s.timestamps = !rng.chance(0.12);
  s.hint = s.timestamps && !rng.chance(0.05);
  s.sack = !rng.chance(0.1);
  s.wscale = !rng.chance(0.15);
  if (rng.chance(0.5)) s.loss = 0.1 * static_cast<double>(rng.below(100)) / 100;
  if (rng.chance(0.4)) s.doubled = 0.1;
  if (rng.chance(0.4)) s.reordered = 0.1;
  if (rng.chance(0.4)) s.record_loss = 0.3;
  if (rng.chance(0.4)) s.path_max = ms(60);
  if (rng.chance(0.3)) s.record_lag = ms(static_cast<double>(rng.below(2000)));
  s.client_burst = rng.chance(0.3) ? 60 : 10;
  const bool fenced = s.timestamps && s.hint;
  s.ecmp = fenced && rng.chance(0.06);
  s.same_id = rng.chance(0.03);
  s.forge = rng.chance(0.3);
  if (rng.chance(0.2)) s.rebuild_failure = 0.3;
  if (rng.chance(0.2)) {
    for (auto& apart : s.slot_apart_ms) apart = static_cast<std::int64_t>(rng.below(80'000)) - 40'000;
  }
  if (rng.chance(0.05)) s.slot_apart_ms[rng.below(kNodes)] += 3'600'000;
}

// What is misconfigured, or forged, is the other mode's subject.
void World::choose_http_settings() {
  Settings& s = settings;
  s.same_id = s.forge = false;
  s.slot_apart_ms = {};
  if (rng.chance(0.5)) s.loss = 0;  // most of what can happen has nothing to do with it
}

void World::at(Micros time, std::function<void()> what) {
  events_.push({time, event_number_++, std::move(what)});
}

void World::run() {
  for (std::size_t i = 0; i < kNodes; ++i) {
    const auto id = NodeId{static_cast<std::uint8_t>(settings.same_id && i == 2 ? 1 : i + 1)};
    nodes.push_back(std::make_unique<Node>(*this, i, id));
  }
  iss = rng.chance(0.2) ? 0U - static_cast<std::uint32_t>(rng.below(20000)) : rng.u32();
  irs = rng.chance(0.2) ? 0U - static_cast<std::uint32_t>(rng.below(5000)) : rng.u32();
  client = std::make_unique<Client>(*this, irs, iss, rng.u32());
  nodes[0]->accept(iss, irs);
  const Micros end = write_scenario(*this);
  housekeeping();
  while (!events_.empty() && events_.top().time <= end) {
    Event event = events_.top();
    events_.pop();
    now = event.time;
    event.what();
  }
  judge_end(*this);
}

void World::housekeeping() {
  for (auto& node : nodes) node->housekeeping();
  after(ms(100), [this] { housekeeping(); });
}

// ---- network

Micros World::delay() {
  Micros d = rng.between(settings.path_min, settings.path_max);
  if (rng.chance(settings.reordered)) d += rng.between(0, ms(150));
  return d;
}

void World::from_client(Packet packet) {
  remember(*this, packet);
  const int copies = rng.chance(settings.loss) && !faults_over ? 0 : rng.chance(settings.doubled) ? 2 : 1;
  for (int i = 0; i < copies; ++i) {
    after(delay(), [this, packet] { to_node(packet); });
  }
}

void World::to_node(Packet packet) {
  std::size_t to = route;
  if (settings.ecmp && !faults_over) to = rng.below(kNodes);
  nodes[to]->ingress(packet, Node::Via::access, to);
}

void World::to_client(Packet packet) {
  const int copies = rng.chance(settings.loss) && !faults_over ? 0 : rng.chance(settings.doubled) ? 2 : 1;
  for (int i = 0; i < copies; ++i) {
    after(delay(), [this, packet] { client->on_packet(packet); });
  }
}

void World::forward(std::size_t from, std::size_t to, Packet packet) {
  after(delay(), [this, from, to, packet] {
    if (reachable(from, to)) nodes[to]->ingress(packet, Node::Via::final, from);
  });
}

void World::replicate(std::size_t from, std::size_t to, RecordPtr record) {
  if (!faults_over && rng.chance(settings.record_loss)) return;
  Micros lag = ms(2) + delay();
  if (!faults_over) lag += rng.below(settings.record_lag + 1);
  after(lag, [this, from, to, record] {
    if (reachable(from, to) && nodes[to]->responsive()) nodes[to]->on_record(record);
  });
}

// ---- who hears whom

bool World::link_living(const Link& link) const {
  if (link.ok) return link.was_living || now - link.changed >= kUpDelay;
  return link.was_living && now - link.changed < kDeadInterval;
}

bool World::living(std::size_t self, std::size_t peer) const {
  return self != peer && link_living(links_[self][peer]);
}

void World::cut(std::size_t a, std::size_t b, bool yes) {
  if (a == b) return;
  cut_[a][b] = cut_[b][a] = yes;
  liveness_changed();
}

void World::liveness_changed() {
  for (std::size_t a = 0; a < kNodes; ++a) {
    for (std::size_t b = 0; b < kNodes; ++b) {
      if (a == b) continue;
      Link& link = links_[a][b];
      const bool ok = !cut_[a][b] && nodes[a]->responsive() && nodes[b]->responsive();
      if (ok == link.ok) continue;
      link.was_living = link_living(link);
      link.ok = ok;
      link.changed = now;
      if (!ok) continue;
      // A session between the two comes up again: everything that a knows goes to b.
      after(kUpDelay + ms(5), [this, a, b] { nodes[a]->send_all(b); });
    }
  }
}

std::optional<std::size_t> World::find(NodeId id, std::size_t from) const {
  for (std::size_t i = 0; i < kNodes; ++i) {
    if (i != from && nodes[i]->id() == id) return i;
  }
  return {};
}

std::uint64_t World::out_offset(std::uint32_t seq) const {
  return to_offset(iss, seq, 1U << 30);
}

std::uint64_t World::in_offset(std::uint32_t seq) const {
  return to_offset(irs, seq, 1U << 30);
}

void World::say(std::size_t node, const std::string& text) const {
  if (!verbose_) return;
  std::printf("%10.3f ms  %s%zu  %s\n", static_cast<double>(now) / 1000, node < kNodes ? "pop" : "---", node % kNodes,
              text.c_str());
}

}  // namespace suture::sim
