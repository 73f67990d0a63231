// Bytes that go to the client and, before that, into the record: an heir can send them again without asking anybody.
// All journals of a worker share one budget; what is beyond it is not journaled, and such sessions heal on other rungs.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include <suture/metrics.hpp>

namespace suture {

class JournalBudget {
 public:
  explicit JournalBudget(std::size_t bytes_max) : state_(std::make_shared<State>()) { state_->max = bytes_max; }

  // nullptr: the budget is spent. The bytes count until the last copy of the record that holds them is gone, on
  // whichever thread.
  std::shared_ptr<const std::string> make(std::string bytes) const;
  const Gauge& used() const { return state_->used; }  // bytes
  const Counter& refused() const { return state_->refused; }

 private:
  struct State {
    Gauge used;
    Counter refused;
    std::size_t max = 0;
  };
  std::shared_ptr<State> state_;
};

}  // namespace suture
