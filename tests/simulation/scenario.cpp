#include "tests/simulation/scenario.hpp"

#include <algorithm>

#include <suture/sequence.hpp>

#include "tests/simulation/client.hpp"
#include "tests/simulation/http_world.hpp"
#include "tests/simulation/node.hpp"

namespace suture::sim {
namespace {

constexpr Micros kQuiet = seconds(90);  // longer than any timeout, and than a retransmission that has backed off

std::size_t some_node(World& w) {
  return w.rng.below(World::kNodes);
}

void move_route(World& w, std::size_t to) {
  if (!w.nodes[to]->alive()) return;
  w.route = to;
  w.say(to, "the route leads here");
}

void route_away(World& w, std::size_t from) {
  if (w.route != from) return;
  for (std::size_t i = 1; i < World::kNodes; ++i) {
    if (w.nodes[(from + i) % World::kNodes]->responsive()) return move_route(w, (from + i) % World::kNodes);
  }
}

void kill(World& w, std::size_t i, Micros down) {
  if (!w.nodes[i]->alive()) return;
  w.say(i, "killed");
  w.nodes[i]->kill();
  w.liveness_changed();
  w.after(w.rng.between(ms(3), ms(450)), [&w, i] { route_away(w, i); });
  w.after(down, [&w, i] {
    ++w.totals.restarts;
    w.say(i, "restarted");
    w.nodes[i]->restart();
    w.liveness_changed();
  });
}

void stall(World& w, std::size_t i, Micros time) {
  if (!w.nodes[i]->responsive()) return;
  ++w.totals.stalls;
  w.say(i, "stalled");
  w.nodes[i]->stall();
  w.liveness_changed();
  if (w.rng.chance(0.7)) w.after(w.rng.between(ms(150), ms(450)), [&w, i] { route_away(w, i); });
  const bool suspended = w.rng.chance(0.3);
  w.after(time, [&w, i, suspended] {
    if (!w.nodes[i]->stalled()) return;
    w.say(i, "goes on");
    w.nodes[i]->go_on(suspended);
    w.liveness_changed();
  });
}

void isolate(World& w, std::size_t i, Micros time) {
  ++w.totals.partitions;
  w.say(i, "cut off");
  for (std::size_t j = 0; j < World::kNodes; ++j) w.cut(i, j, true);
  w.after(time, [&w, i] {
    w.say(i, "reachable again");
    for (std::size_t j = 0; j < World::kNodes; ++j) w.cut(i, j, false);
  });
}

void cut_pair(World& w, Micros time) {
  const std::size_t a = some_node(w), b = (a + 1) % World::kNodes;
  ++w.totals.partitions;
  w.say(a, "does not hear pop" + std::to_string(b));
  w.cut(a, b, true);
  w.after(time, [&w, a, b] { w.cut(a, b, false); });
}

void fault(World& w, bool fenced) {
  Rng& r = w.rng;
  // The one that matters most is where the client is.
  const std::size_t target = r.chance(0.6) ? w.route : some_node(w);
  switch (r.below(w.http ? 10 : 11)) {
    case 0:
    case 1:
      return kill(w, target, r.chance(0.4) ? r.between(ms(50), ms(900)) : r.between(seconds(1), seconds(9)));
    case 2:
    case 3:
      return stall(w, target, r.between(ms(50), seconds(4)));
    case 4:
    case 5:
      return isolate(w, target, r.between(ms(200), seconds(7)));
    case 6:
      return cut_pair(w, r.between(ms(200), seconds(7)));
    case 7: {
      // Everybody alone, and the client goes round: each fences over the one before.
      for (std::size_t i = 0; i < World::kNodes; ++i) isolate(w, i, seconds(8));
      const Micros step = r.between(ms(600), seconds(2));
      const std::size_t moves = fenced ? 4 : 1;
      for (std::size_t i = 1; i <= moves; ++i) w.after(i * step, [&w, i] { move_route(w, i % World::kNodes); });
      return;
    }
    case 8:
    case 9: {
      // It hears its client and acts, but nothing that it says arrives anywhere, neither ACK nor record; then it dies.
      w.say(target, "is not heard");
      w.nodes[target]->mute(true);
      w.after(r.between(ms(50), ms(1200)), [&w, target] {
        w.nodes[target]->mute(false);
        kill(w, target, w.rng.between(seconds(1), seconds(9)));
      });
      return;
    }
    default: {
      const std::int64_t far = static_cast<std::int64_t>(r.below(5'000'000));
      const std::int64_t by = r.chance(0.5) ? far : -static_cast<std::int64_t>(r.below(60'000));
      w.say(target, "slot clock steps by " + std::to_string(by) + " ms");
      w.nodes[target]->step_slot_clock(by);
      w.settings.slot_apart_ms[target] += by;
    }
  }
}

std::vector<Packet>& memory(World& w) {
  return w.old_packets;
}

// A blind attacker knows the addresses, and here even the windows; not what the client echoes.
void forge(World& w) {
  Rng& r = w.rng;
  Packet p;
  p.forged = true;
  ++w.totals.forged;
  p.timestamps = w.settings.timestamps;
  p.seq = w.client->snd_nxt();
  p.ack = w.client->rcv_nxt();
  p.tsval = r.u32();
  p.tsecr = r.u32();
  p.window = 65535;
  switch (r.below(6)) {
    case 0:  // a fence that nobody sent
      p.tsecr = w.client->ts_recent() + (1U << 17) + (r.u32() >> 3);
      break;
    case 1:                                                    // a cursor that the client has not reached
      if (!w.settings.timestamps || !w.settings.hint) return;  // no nonce: an in-window ACK is all it takes
      p.ack += 1 + static_cast<std::uint32_t>(r.below(30000));
      break;
    case 2:
      p.flags = healing::kRst;
      p.timestamps = false;
      p.seq = r.u32();
      break;
    case 3:
      p.length = 100;
      p.seq += static_cast<std::uint32_t>(r.below(30000));
      if (!w.settings.timestamps || !w.settings.hint) return;
      break;
    default:  // no forgery: a real packet, delivered again
      if (memory(w).empty()) return;
      p = memory(w)[r.below(memory(w).size())];
  }
  w.nodes[some_node(w)]->ingress(p, Node::Via::access, 0);
}

void write_requests(World& w, Micros begin, Micros end, Micros gap_at, Micros gap) {
  Rng& r = w.rng;
  std::uint64_t at = 0;
  const std::size_t n = 3 + r.below(10);
  std::vector<Micros> times;
  for (std::size_t i = 0; i < n; ++i) times.push_back(r.between(begin, end));
  std::sort(times.begin(), times.end());
  times[0] = begin;
  for (Micros time : times) {
    Request request;
    request.start = at;
    at += 30 + r.below(r.chance(0.2) ? 20'000 : 400);
    if (w.settings.client_burst > 50 && r.chance(0.15)) at += 100'000;
    request.end = at;
    request.may_replay = r.chance(0.4);
    request.response_bytes = static_cast<std::uint32_t>(20 + r.below(r.chance(0.25) ? 200'000 : 3000));
    w.ledger.requests.push_back(request);
    if (time > gap_at) time += gap;
    w.at(time, [&w, at] { w.client->write(at); });
  }
  // When the faults are over, one more each few seconds: is the session served?
  for (int i = 0; i < 4; ++i) {
    Request request{at, at + 50, false, 200};
    at += 50;
    w.ledger.requests.push_back(request);
    w.at(end + gap + seconds(18 + 5 * i), [&w, at] { w.client->write(at); });
  }
}

}  // namespace

void remember(World& world, const Packet& packet) {
  if (!world.settings.forge) return;
  if (memory(world).size() < 24) {
    memory(world).push_back(packet);
  } else {
    memory(world)[world.rng.below(24)] = packet;
  }
}

Micros write_scenario(World& w) {
  Rng& r = w.rng;
  const bool fenced = w.settings.timestamps && w.settings.hint;
  const Micros calm = seconds(12);
  const bool idle = !w.http && r.chance(0.03);
  const Micros gap_at = seconds(2), gap = idle ? seconds(static_cast<double>(1200 + r.below(900))) : 0;
  const Micros over = gap + calm + seconds(10);
  if (w.http) {
    w.http->conversation().begin(over);
    for (Micros t = seconds(3); t < over + kQuiet; t += seconds(3)) w.at(t, [&w] { w.client->keep_alive(); });
  } else {
    write_requests(w, ms(20), calm, gap_at, gap);
  }
  const auto shifted = [&](Micros t) { return t > gap_at ? t + gap : t; };
  const std::size_t faults = 1 + r.below(4);
  for (std::size_t i = 0; i < faults; ++i) {
    w.at(shifted(r.between(ms(100), calm)), [&w, fenced] { fault(w, fenced); });
  }
  // Without a fence the lease must be longer than the time between two moves (PROTOCOL.md promises no more).
  const std::size_t moves = fenced ? r.below(8) : r.below(3);
  const Micros dwell = fenced ? ms(1) : seconds(5);
  for (std::size_t i = 0; i < moves; ++i) {
    w.at(shifted(fenced ? r.between(ms(100), calm) : (i + 1) * dwell), [&w] { move_route(w, some_node(w)); });
  }
  if (w.settings.forge) {
    const std::size_t n = 10 + r.below(60);
    for (std::size_t i = 0; i < n; ++i) w.at(shifted(r.between(ms(50), calm + seconds(2))), [&w] { forge(w); });
  }
  if (!w.http && r.chance(0.03)) w.at(shifted(r.between(ms(500), calm)), [&w] { w.client->vanish(); });
  if (r.chance(0.03)) w.at(shifted(r.between(ms(500), calm)), [&w] { w.nodes[w.route]->hear_false_claim(NodeId{3}); });
  w.at(over, [&w] {
    w.faults_over = true;
    if (!w.nodes[w.route]->responsive()) route_away(w, w.route);
  });
  return over + kQuiet;
}

void judge_end(World& w) {
  static const char* const names[] = {"none", "probing", "fencing", "proven", "owner", "frozen", "released"};
  std::size_t owners = 0;
  bool known = false, apart = false;
  for (std::size_t i = 0; i < World::kNodes; ++i) {
    const Node& node = *w.nodes[i];
    for (std::size_t j = 0; j < World::kNodes; ++j) {
      const std::int64_t d = static_cast<std::int64_t>(node.slot_ms() - w.nodes[j]->slot_ms());
      apart = apart || d > 60'000 || d < -60'000;
    }
    if (node.socket() != nullptr && !node.frozen()) ++owners;
    known = known || node.record() != nullptr;
    if (node.claim() == nullptr) continue;
    const auto state = node.claim()->state();
    using healing::FlowState;
    if (state == FlowState::none || state == FlowState::owner || state == FlowState::released) continue;
    // A probe of a client that does not answer may just be under way.
    if (w.now - node.state_since() < seconds(18)) continue;
    w.ledger.violation(std::string("pop") + std::to_string(i) + " is for ever " + names[static_cast<int>(state)]);
  }
  const bool over =
      w.client->reset() || w.client->gone() || w.record_ended || (w.http && w.http->conversation().over());
  if (owners > 1 && !over) w.ledger.violation(std::to_string(owners) + " owners at the end");
  if (w.http) {
    w.http->totals.freezes = w.totals.freezes;
    w.http->totals.thaws = w.totals.thaws;
    for (const auto& node : w.nodes) node->judge_http();
    return w.http->conversation().judge();
  }
  if (w.client->gone()) return;
  if (w.client->reset()) {
    ++w.totals.reset;
  } else if (w.client->everything_acknowledged()) {
    ++w.totals.healed;
  } else {
    ++w.totals.stranded;
    if (known && !apart && !w.settings.same_id && !w.record_ended)
      w.ledger.violation("nobody serves the client at the end");
  }
}

}  // namespace suture::sim
