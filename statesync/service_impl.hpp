// The service's inside: wiring of engines, links and timers on the control thread. Internal to statesync; service.cpp
// has start, stop and the workers' records, service_peers.cpp the links, liveness and what is told about peers.
#pragma once

#include <deque>
#include <map>
#include <span>
#include <utility>

#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>

#include <statesync/core.hpp>
#include <statesync/liveness_socket.hpp>
#include <statesync/receiver.hpp>
#include <statesync/record_queue.hpp>
#include <statesync/sender.hpp>
#include <statesync/service.hpp>

namespace suture::statesync {

class StateSync::Impl {
 public:
  Impl(Options options, std::unique_ptr<PeerTransport> transport, OwnerMap& map, SlotClock& slot_clock,
       boost::asio::io_context& io);

  Result<void> start();
  void stop();
  bool send_answer(NodeId peer, const suture_flow_key& key, Answer answer);
  void end_session(const suture_flow_key& key);
  void forget_own(const suture_flow_key& key);
  bool flushed() const;
  std::vector<std::string> waits_for(TimePoint now) const;
  bool may_reset() const;
  bool complete_but_for_dead(Millis dead_for) const;
  void set_draining(bool draining);
  std::vector<PeerState> states() const;
  std::optional<PeerState> state(NodeId id) const;
  bool stalled() const { return started_ && core_.liveness.stalled(Clock::now()).has_value(); }
  std::optional<FormerClock> former_clock(const SessionRecord& record, TimePoint now) const;
  void register_metrics(MetricsRegistry& registry);

  std::function<void(const PeerState&)> on_peer_change_;
  std::function<void(NodeId, const suture_flow_key&, Answer)> on_answer_;
  std::function<void(const std::string&)> on_id_refused_;
  std::function<void()> on_synchronised_;
  std::function<void(Millis)> on_stall_;
  std::function<void(const SessionRecord&)> on_claimed_;
  std::function<void(const suture_flow_key&, const SessionRecord*)> on_owner_changed_;
  std::function<void(const SessionRecord&, TimePoint)> on_orphan_;
  Core core_;
  std::vector<std::unique_ptr<RecordQueue>> queues_;
  bool synchronised_ = false;

 private:
  struct Peer {
    Peer(Core& core, const PeerOptions& peer) : options(peer), sender(core, peer), receiver(core, peer) {}
    bool in_sync() const { return !not_alive_since && receiver.synced(); }
    PeerOptions options;
    Sender sender;
    Receiver receiver;
    bool draining = false;
    std::optional<TimePoint> not_alive_since;  // set while it is dead or unheard, from start() on
    PeerState reported;
  };

  // A handler that does nothing once this object is stopped.
  template <class F>
  auto guarded(F f) {
    return [weak = std::weak_ptr<bool>(running_), f = std::move(f)](auto&&...) {
      if (weak.lock()) f();
    };
  }
  void arm(boost::asio::steady_timer& timer, Clock::duration after, void (Impl::*handler)());
  void on_wake();
  void on_hurry();
  void flush_at(TimePoint at);
  void flush();
  void listen();
  void let_leave();
  void apply(QueuedRecord&& change);
  void erase_own(const suture_flow_key& key, std::uint64_t session_id, TimePoint now);
  void erase_ended(TimePoint now);
  void beat();
  void tick();
  void on_inbound(std::unique_ptr<InboundStream> stream);
  void on_datagram(std::span<const std::uint8_t> bytes, const boost::asio::ip::udp::endpoint& from);
  void on_alive(NodeId id, Incarnation incarnation, bool alive);
  std::uint64_t delivered_ms(NodeId id, TimePoint now) const;
  void refresh(Peer& peer);
  void report();
  void forget(TimePoint now);
  void check_synchronised(TimePoint now);
  PeerState state_of(const Peer& peer, TimePoint now) const;

  boost::asio::io_context& io_;
  std::shared_ptr<bool> running_ = std::make_shared<bool>(true);
  LivenessSocket socket_;
  std::map<NodeId, Peer> peers_;
  // Claims that have ended (the sessions' own end, or end_session()), with the time when the peers must have heard that
  // they were ours.
  std::deque<std::pair<SessionRecord, TimePoint>> ended_;
  std::uint64_t ended_sessions_ = 0;
  boost::asio::steady_timer flush_timer_, beat_timer_, tick_timer_;
  std::optional<TimePoint> flush_at_;
  TimePoint flushed_at_{};
  Clock::duration flush_took_{};
  bool pumping_ = false, started_ = false, reporting_ = false, draining_ = false;
  TimePoint started_at_{}, forgot_at_{};
  LogLimiter datagram_log_, full_log_;
  Counter stalls_, own_full_, answers_sent_, left_late_;
};

}  // namespace suture::statesync
