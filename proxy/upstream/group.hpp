// The upstreams of one route, in turn; and one exchange's way through them until it has a connection.
//
//   UpstreamTurn turn;
//   turn.begin(group, now)    whose turn it is: pool()
//   turn.refused(now)         pool() could not be connected to; true: pool() is now another, to be tried instead
//   turn.taken()              pool() was connected to
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include <proxy/upstream/pool.hpp>

namespace suture {

class UpstreamGroup {
 public:
  // 1 to limits::upstreams_per_route_max; the pools outlive the group. Groups may share pools: what fails for one route
  // fails for the other.
  explicit UpstreamGroup(std::vector<UpstreamPool*> pools) : pools_(std::move(pools)) {}

 private:
  friend class UpstreamTurn;
  std::vector<UpstreamPool*> pools_;
  std::size_t next_ = 0;
};

class UpstreamTurn {
 public:
  void begin(UpstreamGroup& group, TimePoint now);
  bool refused(TimePoint now);
  void taken() { pool().note_connected(); }
  UpstreamPool& pool() const { return *group_->pools_[at_]; }

 private:
  bool choose(TimePoint now, std::size_t from);

  UpstreamGroup* group_ = nullptr;
  std::size_t at_ = 0;
  std::uint32_t tried_ = 0;  // bits: places in the group
  static_assert(limits::upstreams_per_route_max <= 32);
};

}  // namespace suture
