#include <proxy/upstream/group.hpp>

#include <optional>

namespace suture {

void UpstreamTurn::begin(UpstreamGroup& group, TimePoint now) {
  group_ = &group;
  tried_ = 0;
  choose(now, group.next_);
  group.next_ = (at_ + 1) % group.pools_.size();
}

bool UpstreamTurn::refused(TimePoint now) {
  pool().note_refused(now);
  tried_ |= 1U << at_;
  return choose(now, at_ + 1);
}

// The first from `from` on that was not tried; one that failed lately only if there is no other.
bool UpstreamTurn::choose(TimePoint now, std::size_t from) {
  std::optional<std::size_t> doubtful;
  for (std::size_t i = 0; i < group_->pools_.size(); ++i) {
    const std::size_t place = (from + i) % group_->pools_.size();
    if (tried_ >> place & 1U) continue;
    if (!group_->pools_[place]->refused_lately(now)) return at_ = place, true;
    if (!doubtful) doubtful = place;
  }
  if (doubtful) at_ = *doubtful;
  return doubtful.has_value();
}

}  // namespace suture
