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
  std::uint64_t hurry() override;
  bool left(std::uint64_t changes) const override { return left_.load() >= changes || !listened_.load(); }
  void rest() override { awaited_ = false; }

  // Control thread's side: hands up to `max` changes to `take`, in order. True: more are waiting; the caller comes back
  // by itself, no wake-up is sent for these.
  bool drain(std::size_t max, const std::function<void(QueuedRecord&&)>& take);
  std::size_t waiting() const { return queue_.read_available(); }  // control thread
  // Before the worker starts, or when it has ended.
  void set_on_left(std::function<void()> call) override { on_left_ = std::move(call); }
  // Control thread: `hurried` posts to the control io_context, like `wake`, for a drain without delay.
  void set_on_hurry(std::function<void()> hurried) { on_hurry_ = std::move(hurried); }
  void set_listened(bool listened);
  void leave();  // whatever was drained has left
  const Counter& full() const { return full_; }

 private:
  bool push(const QueuedRecord& change);

  std::function<void()> wake_;
  boost::lockfree::spsc_queue<QueuedRecord> queue_;
  std::atomic<bool> awake_{false};
  Counter full_;
  std::function<void()> on_hurry_, on_left_;
  std::uint64_t pushed_ = 0;   // worker's
  std::uint64_t drained_ = 0;  // control thread's
  std::atomic<std::uint64_t> left_{0};
  std::atomic<bool> hurried_{false}, awaited_{false}, listened_{false};
};

}  // namespace suture::statesync
