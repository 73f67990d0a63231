// Connections to one application, of one worker: opens them, keeps idle ones for the next exchange, drops those that
// the application closed, that said something unasked, that are too old or too many.
//
// The caller's part: an exchange on a reused() connection may find that the application has just closed it. If no byte
// of a response came and the request may be repeated, it is sent once more on a connection from connect().
//
// A connection on which a PROXY protocol header has said whose it is belongs to one session: it is given back and taken
// under that owner's number (unique for the pool's life), and dropped when the owner ends.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include <proxy/config/config.hpp>
#include <proxy/upstream/connection.hpp>
#include <suture/limits.hpp>
#include <suture/metrics.hpp>
#include <suture/result.hpp>

namespace suture {

struct UpstreamMetrics {
  Counter connects;
  Counter reuses;
  Counter idle_closed;  // by the application, by age, or because there were too many
  Counter retries;
  Counter failovers;
  Gauge idle;
  Counter error_refused, error_reset, error_timeout, error_malformed, error_head_too_large, error_descriptors,
      error_closed, error_other;
  void register_metrics(MetricsRegistry& registry);
  Counter& of_errno(int error);
};

class UpstreamPool final : public UpstreamUser {
 public:
  static constexpr std::uint64_t kAnybody = 0;

  UpstreamPool(EventLoop& loop, config::UpstreamAddress address, std::size_t idle_max, Millis idle_age_max,
               UpstreamMetrics& metrics)
      : loop_(loop),
        address_(std::move(address)),
        idle_max_(idle_max),
        idle_age_max_(idle_age_max),
        metrics_(metrics) {}
  ~UpstreamPool();
  UpstreamPool(const UpstreamPool&) = delete;
  UpstreamPool& operator=(const UpstreamPool&) = delete;

  // An idle connection (the one used last: the least likely to be closed by age), else nullptr.
  std::unique_ptr<UpstreamConnection> take_idle(UpstreamUser& user, std::uint64_t owner = kAnybody);
  // A fresh one; connected() may still be false. The user then gets an event when it is known: finish_connect().
  Result<std::unique_ptr<UpstreamConnection>> connect(UpstreamUser& user);
  // 0 once connected, EINPROGRESS, or why not.
  static int finish_connect(UpstreamConnection& connection);

  // After a complete exchange. Closes it where it cannot be used again.
  void give_back(std::unique_ptr<UpstreamConnection> connection, std::uint64_t owner = kAnybody);
  void drop_owned(std::uint64_t owner);
  void expire(TimePoint now);  // now and then
  std::size_t idle() const { return idle_.size(); }
  const config::UpstreamAddress& address() const { return address_; }

  // Of the attempts to connect here: whether others should have their turn first.
  void note_refused(TimePoint now) { avoid_until_ = now + limits::upstream_avoided; }
  void note_connected() { avoid_until_ = {}; }
  bool refused_lately(TimePoint now) const { return now < avoid_until_; }

  void on_upstream_events(UpstreamConnection& connection) override;  // of idle connections

 private:
  void drop(std::size_t index);

  EventLoop& loop_;
  config::UpstreamAddress address_;
  std::size_t idle_max_;
  Millis idle_age_max_;
  UpstreamMetrics& metrics_;
  std::vector<std::unique_ptr<UpstreamConnection>> idle_;  // oldest first
  TimePoint avoid_until_{};
};

}  // namespace suture
