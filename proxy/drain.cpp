#include "proxy/drain.hpp"

namespace suture {

void Drain::begin(TimePoint now, bool terminate) {
  if (state_ == State::serving) {
    state_ = State::withdrawn;
    began_ = now;
  }
  if (terminate && !terminating_) {
    terminating_ = true;
    terminate_at_ = now;
  }
}

bool Drain::undrain() {
  if (terminating_) return false;
  state_ = State::serving;
  return true;
}

Drain::State Drain::tick(TimePoint now, std::size_t active_sessions) {
  if (state_ == State::withdrawn && now - began_ >= grace_) state_ = State::refusing;
  if (state_ == State::refusing && terminating_ && (active_sessions == 0 || now - terminate_at_ >= timeout_)) {
    state_ = State::done;
  }
  return state_;
}

}  // namespace suture
