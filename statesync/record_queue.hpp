// The way of a worker's records to the control thread: a bounded single-producer, single-consumer queue without locks.
// The consumer is woken at most once between two drains; it drains one flush interval after the wake-up, so that a busy
// worker posts once per flush interval and not once per record.
#pragma once

#include <atomic>
#include <cstddef>
#include <functional>

#include <boost/lockfree/spsc_queue.hpp>

#include <statesync/record.hpp>
#include <suture/limits.hpp>
#include <suture/metrics.hpp>

namespace suture::statesync {

struct QueuedRecord {
  bool erased = false;
  SessionRecord record;  // erased: only facts.key and session_id
};

class RecordQueue final : public RecordSink {
 public:
  // `wake` is called on the worker's thread; it posts to the control io_context and does no more.
  explicit RecordQueue(std::function<void()> wake, std::size_t capacity = limits::worker_queue_records)
      : wake_(std::move(wake)), queue_(capacity) {}

  // Worker's side.
  bool upsert(const SessionRecord& record) override;
  bool erase(const suture_flow_key& key, std::uint64_t session_id) override;

  // Control thread's side: hands up to `max` changes to `take`, in order. True: more are waiting; the caller comes back
  // by itself, no wake-up is sent for these.
  bool drain(std::size_t max, const std::function<void(QueuedRecord&&)>& take);
  std::size_t waiting() const { return queue_.read_available(); }  // control thread
  const Counter& full() const { return full_; }

 private:
  bool push(const QueuedRecord& change);

  std::function<void()> wake_;
  boost::lockfree::spsc_queue<QueuedRecord> queue_;
  std::atomic<bool> awake_{false};
  Counter full_;
};

}  // namespace suture::statesync
