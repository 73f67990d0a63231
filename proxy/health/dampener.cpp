#include <proxy/health/dampener.hpp>

#include <algorithm>

namespace suture {

const char* to_string(HealthState state) {
  switch (state) {
    case HealthState::unknown:
      return "unknown";
    case HealthState::up:
      return "up";
    case HealthState::down:
      return "down";
  }
  return "unknown";
}

Dampener::Dampener(std::uint32_t rise, std::uint32_t fall) : rise_(std::max(rise, 1U)), fall_(std::max(fall, 1U)) {}

bool Dampener::record(bool success) {
  const HealthState said = success ? HealthState::up : HealthState::down;
  if (said == state_) {
    contrary_ = 0;
    return false;
  }
  ++contrary_;
  if (state_ != HealthState::unknown && contrary_ < (success ? rise_ : fall_)) return false;
  contrary_ = 0;
  state_ = said;
  return true;
}

}  // namespace suture
