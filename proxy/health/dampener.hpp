// Turns single check results into a state that does not flap: `rise` successes in a row make it up, `fall` failures in
// a row make it down. Pure. From `unknown` (at start) the first result decides alone: a PoP that starts beside a
// running application should not wait `rise` intervals to serve, and one beside a dead application should not announce
// at all.
#pragma once

#include <cstdint>

namespace suture {

enum class HealthState : std::uint8_t { unknown, up, down };
const char* to_string(HealthState state);

class Dampener {
 public:
  // Both at least 1.
  Dampener(std::uint32_t rise, std::uint32_t fall);

  // True if the state changed.
  bool record(bool success);

  HealthState state() const { return state_; }
  // Results in a row against the current state, towards `rise` or `fall`.

 private:
  std::uint32_t rise_;
  std::uint32_t fall_;
  std::uint32_t contrary_ = 0;
  HealthState state_ = HealthState::unknown;
};

}  // namespace suture
