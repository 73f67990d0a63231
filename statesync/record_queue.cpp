#include <statesync/record_queue.hpp>

namespace suture::statesync {

bool RecordQueue::push(const QueuedRecord& change) {
  const bool pushed = queue_.push(change);
  if (!pushed) full_.add();
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

bool RecordQueue::drain(std::size_t max, const std::function<void(QueuedRecord&&)>& take) {
  awake_.exchange(false);
  for (std::size_t i = 0; i < max; ++i) {
    if (!queue_.consume_one([&](QueuedRecord& change) { take(std::move(change)); })) return false;
  }
  if (queue_.read_available() == 0) return false;
  awake_.store(true);
  return true;
}

}  // namespace suture::statesync
