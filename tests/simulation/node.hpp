// One PoP: the kernel's ladder in short (PROTOCOL.md, ingress and egress), a directory of one flow, and the driver of
// the claim table, as proxy/healing/healer is one.
#pragma once

#include <deque>
#include <map>

#include "proxy/healing/claim.hpp"
#include "tests/simulation/socket.hpp"
#include "tests/simulation/world.hpp"

namespace suture::sim {

class HttpBehind;
class HttpProcess;

class Node {
 public:
  Node(World& world, std::size_t index, NodeId id);
  ~Node();
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  void accept(std::uint32_t iss, std::uint32_t irs);

  // ---- packets
  enum class Via : std::uint8_t { access, final, orphan };
  void ingress(const Packet& packet, Via via, std::size_t from);
  void egress(const Packet& packet);  // of the local socket

  // ---- state sync
  void publish();
  void on_record(const RecordPtr& record);
  void send_all(std::size_t to);  // a link has come back
  RecordPtr record() const { return record_; }
  bool knows_session() const { return record_ && !record_->erased; }

  // ---- the HTTP mode (node_http.cpp)
  void turn();  // the process does everything that is ready
  void on_upsert(const SessionRecord& record);
  void on_erase(std::uint64_t session_id);
  void judge_http() const;
  void said(const std::string& text) const { world_.say(index_, text); }

  // ---- faults
  void stall();
  void go_on(bool clock_stopped);
  void kill();
  void restart();
  void mute(bool yes) { mute_ = yes; }
  void hear_false_claim(NodeId from);
  void step_slot_clock(std::int64_t by_ms) { slot_offset_ms_ += by_ms; }

  // ---- time
  void housekeeping();
  std::uint32_t mono_ms() const { return static_cast<std::uint32_t>(mono()); }
  std::uint64_t slot_ms() const { return mono() + static_cast<std::uint64_t>(slot_offset_ms_); }

  bool alive() const { return alive_; }
  bool stalled() const { return stalled_since_.has_value(); }
  bool responsive() const { return alive_ && !stalled(); }
  bool process_runs(const Socket* socket) {
    return responsive() && socket_.get() == socket && !frozen_ && (http_ || !gated());
  }
  NodeId id() const { return id_; }
  Incarnation incarnation() const { return incarnation_; }
  const Socket* socket() const { return socket_.get(); }
  bool frozen() const { return frozen_; }
  const healing::Claim* claim() const { return claim_ ? &*claim_ : nullptr; }
  Micros state_since() const { return state_since_; }
  std::size_t held() const { return held_.size(); }

 private:
  std::uint64_t mono() const { return (world_.now - clock_lost_) / 1000 + mono_offset_ms_; }
  static healing::ClaimOptions options();
  bool silent() const;  // heartbeat stale, or claims not read yet
  bool cut_off() const;
  bool gated();
  bool majority() const;
  bool hint_trusted(const Node& peer) const;
  bool ours(const WireRecord& record) const;
  bool owner_living(const SessionRecord& record) const;
  static bool stands(const SessionRecord& a, const SessionRecord& b);
  std::optional<std::size_t> named_by(const Packet& packet) const;
  healing::Segment segment(const Packet& packet) const;
  healing::ClaimContext context();
  void claim_packet(const Packet& packet, Via via, std::size_t from);
  void open_claim();
  void schedule_tick();
  void apply(const healing::Outcome& outcome, const Packet* packet = nullptr, Via via = Via::access);
  void carry_out(const healing::action::Send& send);
  void carry_out(const healing::action::Proven& proven);
  void carry_out(const healing::action::Freeze&);
  void carry_out(const healing::action::Thaw& thaw);
  void carry_out(const healing::action::Release&);
  void carry_out(const healing::action::Reset& reset);
  void carry_out(const healing::action::EndRecord&);
  void carry_out(const healing::action::GiveUp& give_up);
  void rebuilt(const healing::Proof& proof, const RecordPtr& former);
  void reset_client(const healing::Proof& proof);
  void deliver_held();
  void store(RecordPtr record);
  void displace(const RecordPtr& record);

  // node_http.cpp
  void begin_process();
  void accept_http();
  void rebuilt_http(const healing::Proof& proof, const RecordPtr& former);
  void settle_session();
  void flush_record();
  void send_record();
  void end_orphan();
  void answer_unknown(const Packet& packet);
  bool forward_to_displaced(const Packet& packet, Via via);
  bool in_sync_with_all() const;

  World& world_;
  std::size_t index_;
  NodeId id_;
  Incarnation incarnation_;
  bool alive_ = true;
  std::optional<Micros> stalled_since_;
  Micros silent_until_ = 0;
  Micros clock_lost_ = 0;
  std::uint64_t mono_offset_ms_;
  std::int64_t slot_offset_ms_;
  RecordPtr record_;        // the one that stands
  RecordPtr claim_record_;  // as the claim knows it
  RecordPtr displaced_;     // stood before, of another owner: stands again if that one's session is over
  std::uint64_t version_ = 0;
  std::shared_ptr<Socket> socket_;
  SessionRecord own_;  // of the socket
  std::uint32_t own_first_ = 0;
  bool frozen_ = false;
  bool gated_ = false;
  bool mute_ = false;
  bool unspoken_ = false;
  std::optional<healing::Claim> claim_;
  std::optional<Packet> began_;  // the packet that began the claim (for --break)
  std::uint32_t last_fence_ = 0;
  std::deque<Packet> held_;
  bool ticking_ = false;
  healing::FlowState last_state_ = healing::FlowState::none;
  Micros state_since_ = 0;
  std::map<Incarnation, std::pair<std::uint64_t, Micros>> heard_;  // peers' clocks: mono, when
  std::array<Micros, World::kNodes> not_mine_until_{};
  std::array<bool, World::kNodes> synced_{true, true, true};
  Micros probe_at_ = 0;
  Micros probe_backoff_ = ms(500);
  Micros published_at_ = 0;
  std::uint64_t process_ = 0;  // events of an older process are void
  // The HTTP mode: null in the other.
  std::unique_ptr<HttpProcess> http_;
  bool record_waits_ = false;           // to be flushed
  bool erased_ = false;                 // own_'s session is over
  std::optional<Micros> orphan_since_;  // socket_ has no session any more: what it has is sent, and its FIN
};

}  // namespace suture::sim
