// suture_sim: the claim table (proxy/healing/claim.hpp) in a simulated world, one seed after the other. In the HTTP
// mode with real sessions (proxy/client/http_session.hpp) behind the simulated sockets, and the real plan
// (heal_plan.hpp).
//
//   suture_sim [http] [--seeds N] [--from N]  N seeds from the given one; totals; exit status 1 if an invariant is
//                                             violated, or a state, action or outcome was never reached
//   suture_sim [http] --seed N                one seed, told step by step
//   suture_sim [http] --break RULE ...        with one rule taken away, until a seed fails (exit status 0 if one did)
//
// In the HTTP mode each node has a process of its own: the sessions' event loop (EventLoop::poll, on simulated time),
// the application of its PoP behind a unix socket, records that lag and are lost, Adoption of what plan_healing
// decides. The client's conversation (http_conversation, http_chat) must get the answers that it would have got without
// any of this, or a clean end (503, FIN, Close 1012), or an RST; POST and PATCH are executed once at most, WebSocket
// messages exactly once and in order; in the end nobody waits. Kernel calls on clients' sockets go to the simulated
// ones (http_kernel). One limit is accepted: of a flow without timestamps, an heir that dies before anybody has heard
// of it leaves a client whom nobody understands (HttpWorld::unannounced_death).
// --break gate, majority, window and data_proof are for the other mode: here nobody has seen them caught.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include <suture/log.hpp>

#include "tests/simulation/client.hpp"
#include "tests/simulation/http_world.hpp"
#include "tests/simulation/node.hpp"
#include "tests/simulation/world.hpp"

namespace suture::sim {
namespace {

struct Arguments {
  std::uint64_t from = 1, seeds = 3000;
  bool one = false;
  Break broken = Break::none;
  Mode mode = Mode::positions;
};

[[noreturn]] void usage() {
  std::fputs("usage: sim [http] [--seeds N] [--from N] | --seed N   [--break RULE]\nrules:", stderr);
#define SUTURE_SIM_ROW(name, what) std::fputs("\n  " #name ": " what, stderr);
  SUTURE_SIM_BREAKS(SUTURE_SIM_ROW)
  std::fputs("\nrules of http alone:", stderr);
  SUTURE_SIM_HTTP_BREAKS(SUTURE_SIM_ROW)
#undef SUTURE_SIM_ROW
  std::fputs("\n", stderr);
  std::exit(2);
}

Break break_named(const std::string& name) {
#define SUTURE_SIM_ROW(rule, what) \
  if (name == #rule) return Break::rule;
  SUTURE_SIM_BREAKS(SUTURE_SIM_ROW)
  SUTURE_SIM_HTTP_BREAKS(SUTURE_SIM_ROW)
#undef SUTURE_SIM_ROW
  usage();
}

Arguments parse(int argc, char** argv) {
  Arguments a;
  const bool http = argc > 1 && std::strcmp(argv[1], "http") == 0;
  if (http) a.mode = Mode::http;
  for (int i = http ? 2 : 1; i < argc; i += 2) {
    const std::string name = argv[i];
    if (i + 1 >= argc) usage();
    if (name == "--break") {
      a.broken = break_named(argv[i + 1]);
      continue;
    }
    char* end = nullptr;
    const std::uint64_t value = std::strtoull(argv[i + 1], &end, 10);
    if (*end != '\0') usage();
    if (name == "--seed") {
      a.one = true;
      a.from = value;
      a.seeds = 1;
    } else if (name == "--seeds") {
      a.seeds = value;
    } else if (name == "--from") {
      a.from = value;
    } else {
      usage();
    }
  }
  return a;
}

int run(const Arguments& a) {
  Totals totals;
  HttpTotals http;
  std::uint64_t failed = 0;
  const auto begin = std::chrono::steady_clock::now();
  for (std::uint64_t seed = a.from; seed < a.from + a.seeds; ++seed) {
    World world(seed, a.broken, a.one, a.mode);
    world.run();
    totals.add(world.totals);
    if (world.http) http.add(world.http->totals);
    const auto violations = world.ledger.check();
    if (violations.empty()) continue;
    if (++failed > 10) continue;
    if (a.broken != Break::none && !a.one) {
      std::printf("caught by seed %llu: %s\n", static_cast<unsigned long long>(seed), violations.front().c_str());
      return 0;
    }
    for (const auto& text : violations)
      std::printf("seed %llu: %s\n", static_cast<unsigned long long>(seed), text.c_str());
  }
  const double took = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  if (a.mode == Mode::http) std::printf("%s\n", http.text().c_str());
  std::printf("%s\n%llu seeds, %llu failed, %.1f s\n", totals.text().c_str(), static_cast<unsigned long long>(a.seeds),
              static_cast<unsigned long long>(failed), took);
  if (a.broken != Break::none) return failed > 0 ? 0 : 1;
  if (failed > 0) return 1;
  if (a.one || a.seeds < (a.mode == Mode::http ? 1000 : 3000)) return 0;
  const std::string missing = a.mode == Mode::http ? http.missing() : totals.missing();
  if (!missing.empty()) std::printf("never reached:%s\n", missing.c_str());
  return missing.empty() ? 0 : 1;
}

}  // namespace
}  // namespace suture::sim

int main(int argc, char** argv) {
  const auto arguments = suture::sim::parse(argc, argv);
  suture::log::set_level(arguments.one ? suture::log::Level::debug : suture::log::Level::error);
  return suture::sim::run(arguments);
}
