#include <proxy/client/journal.hpp>

#include <utility>

namespace suture {

std::shared_ptr<const std::string> JournalBudget::make(std::string bytes) const {
  const auto size = static_cast<std::int64_t>(bytes.size());
  // One worker makes them; others only give back.
  if (static_cast<std::size_t>(state_->used.value() + size) > state_->max) {
    state_->refused.add();
    return nullptr;
  }
  state_->used.add(size);
  return {new std::string(std::move(bytes)), [state = state_, size](const std::string* journal) {
            delete journal;
            state->used.add(-size);
          }};
}

}  // namespace suture
