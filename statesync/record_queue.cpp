#include <statesync/record_queue.hpp>

namespace suture::statesync {

bool RecordQueue::push(const QueuedRecord& change) {
  const bool pushed = queue_.push(change);
  if (!pushed) full_.add();
  if (pushed) ++pushed_;
  // After the push, so that a drain that has just cleared the flag either sees the change or is woken again.
  if (!awake_.exchange(true)) wake_();
  return pushed;
}

bool RecordQueue::upsert(const SessionRecord& record) {
  return push({false, record});
}

bool RecordQueue::erase(const suture_flow_key& key, std::uint64_t session_id) {
  QueuedRecord change;
  change.erased = true;
  change.record.facts.key = key;
  change.record.session_id = session_id;
  return push(change);
}

std::uint64_t RecordQueue::hurry() {
  if (!listened_.load()) return 0;
  // Before the caller looks at left(): leave() stores that first and looks at this then.
  awaited_.store(true);
  if (!hurried_.exchange(true)) on_hurry_();
  return pushed_;
}

void RecordQueue::set_listened(bool listened) {
  if (listened_.exchange(listened) && !listened && awaited_.load() && on_left_) on_left_();
}

void RecordQueue::leave() {
  if (left_.load() == drained_) return;
  left_.store(drained_);
  if (awaited_.load() && on_left_) on_left_();
}

bool RecordQueue::drain(std::size_t max, const std::function<void(QueuedRecord&&)>& take) {
  awake_.exchange(false);
  hurried_.exchange(false);
  for (std::size_t i = 0; i < max; ++i) {
    if (!queue_.consume_one([&](QueuedRecord& change) { take(std::move(change)); })) return false;
    ++drained_;
  }
  if (queue_.read_available() == 0) return false;
  awake_.store(true);
  return true;
}

}  // namespace suture::statesync
