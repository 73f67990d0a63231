// What travels in the simulation: segments without bytes. A byte of the server's stream is known by its position and by
// the content that it belongs to; two owners that write identical bytes share one content.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>

#include <boost/container/static_vector.hpp>

#include <statesync/record.hpp>
#include <suture/clock.hpp>

#include "proxy/healing/segment.hpp"

namespace suture::sim {

using Micros = std::uint64_t;  // simulated time since the start of the run
constexpr Micros ms(double n) {
  return static_cast<Micros>(n * 1000);
}
constexpr Micros seconds(double n) {
  return ms(n * 1000);
}
inline TimePoint time_point(Micros t) {
  return TimePoint{std::chrono::microseconds{t}};
}

using Content = int;
constexpr Content kGarbage = -1;

constexpr std::uint32_t kMss = 1400;
constexpr unsigned kWscale = 7;

struct Packet {
  std::uint32_t seq = 0, ack = 0, length = 0;
  std::uint8_t flags = healing::kAck;
  bool timestamps = false;
  std::uint32_t tsval = 0, tsecr = 0;
  std::uint32_t window = 0;  // bytes
  boost::container::static_vector<healing::SackBlock, 4> sacks;
  Content content = 0;  // of its bytes, to the client
  bool forged = false;  // for counting only; nobody looks at it
  bool rst() const { return (flags & healing::kRst) != 0; }
  // The client's: behind its bytes, not one of `length`. (The owner's is a byte like others here: nobody parses it.)
  bool fin() const { return (flags & healing::kFin) != 0; }
};

// A record on its way between nodes. `version` grows with every update of one owner.
struct WireRecord {
  SessionRecord record;
  std::uint64_t version = 0;
  std::uint32_t first_tsval = 0;
  Content content = 0;
  int instance = 0;
  std::uint64_t client_sent = 0;  // S of this ownership: an heir's is never below it
  bool erased = false;            // the session is over
};
using RecordPtr = std::shared_ptr<const WireRecord>;

// splitmix64: small, good enough, the same everywhere.
class Rng {
 public:
  explicit Rng(std::uint64_t seed) : state_(seed) {}
  std::uint64_t next() {
    std::uint64_t z = (state_ += 0x9e3779b97f4a7c15ULL);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
  }
  std::uint64_t below(std::uint64_t n) { return next() % n; }
  std::uint32_t u32() { return static_cast<std::uint32_t>(next()); }
  bool chance(double p) { return static_cast<double>(next() >> 11) * 0x1p-53 < p; }
  Micros between(Micros low, Micros high) { return low + below(high - low + 1); }

 private:
  std::uint64_t state_;
};

}  // namespace suture::sim
