#include <proxy/client/journal.hpp>

#include <utility>

namespace suture {

std::shared_ptr<const std::string> JournalBudget::make(std::string bytes) const {
  const std::size_t size = bytes.size();
  if (state_->used.fetch_add(size, std::memory_order_relaxed) + size > state_->max) {
    state_->used.fetch_sub(size, std::memory_order_relaxed);
    return nullptr;
  }
  return {new std::string(std::move(bytes)), [state = state_, size](const std::string* journal) {
            delete journal;
            state->used.fetch_sub(size, std::memory_order_relaxed);
          }};
}

}  // namespace suture
