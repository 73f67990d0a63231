// suture_sim: the claim table (proxy/healing/claim.hpp) in a simulated world, one seed after the other.
//
//   suture_sim [--seeds N] [--from N]     N seeds from the given one; totals; exit status 1 if an invariant is violated
//                                         or a state, action or outcome was never reached
//   suture_sim --seed N                   one seed, told step by step
//   suture_sim --break RULE ...           with one rule taken away: must fail (exit status 0 if it was caught)
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "tests/simulation/client.hpp"
#include "tests/simulation/node.hpp"
#include "tests/simulation/world.hpp"

namespace suture::sim {
namespace {

struct Arguments {
  std::uint64_t from = 1, seeds = 3000;
  bool one = false;
  Break broken = Break::none;
};

[[noreturn]] void usage() {
  std::fputs("usage: sim [--seeds N] [--from N] | --seed N   [--break RULE]\nrules:", stderr);
#define SUTURE_SIM_ROW(name, what) std::fputs("\n  " #name ": " what, stderr);
  SUTURE_SIM_BREAKS(SUTURE_SIM_ROW)
#undef SUTURE_SIM_ROW
  std::fputs("\n", stderr);
  std::exit(2);
}

Break break_named(const std::string& name) {
#define SUTURE_SIM_ROW(rule, what) \
  if (name == #rule) return Break::rule;
  SUTURE_SIM_BREAKS(SUTURE_SIM_ROW)
#undef SUTURE_SIM_ROW
  usage();
}

Arguments parse(int argc, char** argv) {
  Arguments a;
  for (int i = 1; i < argc; i += 2) {
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
  std::uint64_t failed = 0;
  const auto begin = std::chrono::steady_clock::now();
  for (std::uint64_t seed = a.from; seed < a.from + a.seeds; ++seed) {
    World world(seed, a.broken, a.one);
    world.run();
    totals.add(world.totals);
    const auto violations = world.ledger.check();
    if (violations.empty()) continue;
    if (++failed > 10) continue;
    for (const auto& text : violations)
      std::printf("seed %llu: %s\n", static_cast<unsigned long long>(seed), text.c_str());
  }
  const double took = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  std::printf("%s\n%llu seeds, %llu failed, %.1f s\n", totals.text().c_str(), static_cast<unsigned long long>(a.seeds),
              static_cast<unsigned long long>(failed), took);
  if (a.broken != Break::none) return failed > 0 ? 0 : 1;
  if (failed > 0) return 1;
  if (a.one || a.seeds < 3000) return 0;
  const std::string missing = totals.missing();
  if (!missing.empty()) std::printf("never reached:%s\n", missing.c_str());
  return missing.empty() ? 0 : 1;
}

}  // namespace
}  // namespace suture::sim

int main(int argc, char** argv) {
  return suture::sim::run(suture::sim::parse(argc, argv));
}
