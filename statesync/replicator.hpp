// What one peer does not know yet of our own sessions, and in which batches it gets it. Sans-I/O. Coalescing: a session
// that changed ten times since the last batch is sent once, in its latest state; one that began and ended in between is
// not sent at all. Memory is bounded by our own sessions + limits::tombstones_max: a peer that falls further behind
// gets a snapshot.
//
//   on_connect ──> next_batch ... next_batch ──> on_ack ...      on_disconnect ──> on_connect
//                  └ at most limits::batches_in_flight_max (and in_flight_bytes_max) unacknowledged
//
// Snapshot: every key that the directory holds becomes dirty once; begin_snapshot() and end_snapshot() tell when to
// send the two marks around the batches. Changes meanwhile queue behind as ever.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include <boost/unordered/unordered_flat_map.hpp>

#include <statesync/directory.hpp>
#include <statesync/messages.hpp>
#include <suture/limits.hpp>
#include <suture/metrics.hpp>

namespace suture::statesync {

class Replicator {
 public:
  struct Options {
    NodeId peer{};
    std::size_t batch_records_max = limits::batch_records_max;
    std::size_t batches_in_flight_max = limits::batches_in_flight_max;
    std::size_t batch_bytes_max = 512 * 1024;           // estimated; heads of requests make records large
    std::size_t in_flight_bytes_max = 8 * 1024 * 1024;  // of one peer; half a second at 128 Mbit/s
    std::size_t tombstones_max = limits::tombstones_max;
  };
  explicit Replicator(Options options) : options_(options) {}

  // Our own session has a new state; `fresh`: it (this session_id) was unknown to the directory until now.
  void mark_upsert(const suture_flow_key& key, bool fresh, TimePoint now);
  void mark_erase(const suture_flow_key& key, TimePoint now);

  // A stream is up: `incarnation` is the peer's, `resume_from` its last applied batch. Resumes if that is ours to
  // resume from, else takes a snapshot of `directory`: everything but the peer's own living sessions.
  void on_connect(Incarnation incarnation, std::optional<std::uint64_t> resume_from, const Directory& directory,
                  TimePoint now);
  void on_disconnect();
  // Takes a snapshot on the living stream; due when needs_snapshot() while connected().
  void start_snapshot(const Directory& directory, TimePoint now);
  bool on_ack(std::uint64_t seq);  // false: acknowledges what was never sent

  enum class Mark : std::uint8_t { none, begin, end };
  // The mark to be sent before the next batch; each is returned once.
  Mark next_mark();
  // Latest states, read from `directory`. Nothing: no change, no room in the window, or a mark is due first.
  std::optional<Batch> next_batch(const Directory& directory);

  bool connected() const { return connected_; }
  bool needs_snapshot() const { return needs_snapshot_; }
  bool takes_snapshot() const { return needs_snapshot_ || in_snapshot_ || due_ != Mark::none; }
  std::uint64_t last_seq() const { return next_seq_ - 1; }
  // The peer has every change: nothing waits, nothing is under way, and no snapshot is wanted or unfinished.
  bool delivered_all() const { return !takes_snapshot() && dirty_.empty() && in_flight_.empty(); }
  std::size_t queue() const { return dirty_.size(); }
  std::size_t in_flight() const { return in_flight_.size(); }
  std::size_t tombstones() const { return tombstones_; }
  std::optional<TimePoint> oldest() const;  // when the oldest change happened that the peer has not acknowledged
  // Every change that was marked before this time is applied at that incarnation of the peer. Nothing: unknown, because
  // a snapshot is wanted or not yet acknowledged. (A batch number would not do: what still waits has none.)
  std::optional<TimePoint> delivered_until(Incarnation incarnation, TimePoint now) const;

  struct Counters {
    Counter batches, records, erases, bytes, snapshots, resumes, coalesced, never_sent;
  };
  const Counters& counters() const { return counters_; }

 private:
  // What the peer may believe about a key decides what an erase costs.
  enum class Known : std::uint8_t { nothing, something };
  struct Dirty {
    Known known = Known::something;
    bool erased = false;
    TimePoint since{};
    std::uint64_t ticket = 0;
  };
  struct Queued {  // stale if the key's ticket is another one by now
    suture_flow_key key{};
    std::uint64_t ticket = 0;
  };
  struct Sent {
    suture_flow_key key{};
    bool erased = false;
  };
  struct InFlight {
    std::uint64_t seq = 0;
    std::size_t bytes = 0;
    TimePoint oldest{};
    std::vector<Sent> sent;
  };

  Dirty& make_dirty(const suture_flow_key& key, TimePoint since);
  bool current(const Queued& queued) const;
  void compact();
  void take_back();
  void clear();
  void give_up();

  Options options_;
  boost::unordered_flat_map<suture_flow_key, Dirty, FlowKeyHash> dirty_;
  std::deque<Queued> order_;  // oldest first
  std::deque<InFlight> in_flight_;
  std::size_t in_flight_bytes_ = 0;
  std::size_t tombstones_ = 0;
  std::uint64_t next_seq_ = 1;
  std::uint64_t acked_ = 0;
  Incarnation peer_incarnation_ = 0;
  bool connected_ = false;
  bool needs_snapshot_ = true;  // nothing is remembered until the next on_connect
  Mark due_ = Mark::none;
  bool in_snapshot_ = false;
  std::uint64_t last_ticket_ = 0;
  std::uint64_t snapshot_last_ticket_ = 0;  // the snapshot's keys have tickets up to this one
  std::uint64_t snapshot_seq_ = 0;          // its last batch
  Counters counters_;
};

}  // namespace suture::statesync
