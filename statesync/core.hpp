// What the parts of the service share: own identity, the engines, refusals. Internal to statesync; control thread only.
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include <boost/asio/io_context.hpp>

#include <statesync/directory.hpp>
#include <statesync/liveness.hpp>
#include <statesync/log_limiter.hpp>
#include <statesync/membership.hpp>
#include <statesync/peer_clocks.hpp>
#include <statesync/peer_link.hpp>
#include <statesync/service.hpp>
#include <statesync/slot_clock.hpp>

namespace suture::statesync {

// Intervals of a stream; its failure costs a reconnect, never a verdict about the peer (that is liveness's).
inline constexpr Millis kHeartbeatInterval{1000};
inline constexpr Millis kSilenceMax{10000};
inline constexpr Millis kHelloTimeout{5000};

struct Core {
  Core(Options options, std::unique_ptr<PeerTransport> transport, OwnerMap& map, SlotClock& clock);

  Hello hello(NodeId peer) const;
  // A Hello or HelloAck of `peer`, on a stream whose certificate is the peer's: may it be who it says? If so its key is
  // learned. Absent: yes.
  std::optional<LinkError> learn(NodeId peer, Incarnation incarnation, const LivenessKey& key);
  // Counts a refusal and writes one line a second per peer and reason. Peer 0: it is not known whose connection it was.
  void refused(const char* event, unsigned peer, const std::string& remote, const LinkError& error);

  Options options;
  std::unique_ptr<PeerTransport> transport;
  SlotClock& slot_clock;
  LivenessKey secret = random_key();
  Directory directory;
  SlotClockDiscipline clock;
  PeerClocks peer_clocks;
  Membership membership;
  Liveness liveness;
  // Set by the service.
  std::function<void(NodeId)> changed;   // the peer's state may have changed
  std::function<void()> pumped;          // whatever may go out to a peer has been given to its link
  std::function<void(NodeId)> heard_of;  // a new incarnation of it: worth dialing now
  std::function<void(NodeId, const std::string&)> id_refused;  // persistently
  std::function<void(const Datagram&, TimePoint)> on_heard;
  std::function<void(const Datagram&)> on_answer;
  std::function<void(NodeId, Incarnation, bool)> on_alive;
  std::function<std::uint64_t(NodeId, TimePoint)> delivered_ms;
  std::function<void(const SessionRecord&)> on_claimed;
  std::function<void(const suture_flow_key&)> on_own_restored;
  std::function<void(const suture_flow_key&, const SessionRecord*)> on_owner_changed;
  std::function<void(const SessionRecord&, TimePoint)> on_orphan;

  std::array<Counter, static_cast<std::size_t>(Refusal::count_)> refusals;

 private:
  std::array<std::unique_ptr<LogLimiter>, static_cast<std::size_t>(Refusal::count_)> limiters_;  // by peer id
};

}  // namespace suture::statesync
