// Two-way liveness (in the manner of BFD, RFC 5880 section 6.8): who hears us and is heard. Sans-I/O, control thread.
//
// A peer is alive while, within interval x multiplier, it was heard and its echo of our sequence numbers moved on (it
// hears us, too). Only datagrams with the pair's key count; the keys come from the Hellos (set_peer), and a key belongs
// to one incarnation.
//
//   set_peer (Hello / HelloAck) ──> on_datagram ... tick ──> Event{up | down}      Each tick returns what to send.
//
// Stall rule: the caller asks stalled(now) before each tick. If true, our own loop was stuck and it is we who were
// silent: it reads everything that waits in the socket, hands it in, and then ticks; nobody is judged by the time we
// lost.
#pragma once

#include <array>
#include <bitset>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <vector>

#include <statesync/liveness_wire.hpp>
#include <suture/clock.hpp>
#include <suture/metrics.hpp>

namespace suture::statesync {

class Liveness {
 public:
  struct Options {
    NodeId self{};
    Incarnation incarnation = 0;
    LivenessKey secret{};  // of our hello_key()s
    Millis interval{50};
    std::uint32_t multiplier = 5;
    Millis stall_limit{150};
  };
  // Reported from inside on_datagram() and tick().
  struct Events {
    std::function<void(NodeId, Incarnation)> on_up;
    std::function<void(NodeId, Incarnation)> on_down;
    std::function<void(const Datagram&, TimePoint)> on_heard;  // every authentic, fresh datagram, before on_up
    std::function<void(const Datagram&)> on_answer;            // of a living peer
    // Asked for every datagram to a peer: Datagram::delivered_ms. May be empty.
    std::function<std::uint64_t(NodeId, TimePoint)> delivered_ms;
  };
  enum class Outcome : std::uint8_t {
    accepted,
    malformed,     // size, version or type
    misdirected,   // not for our id, or claims to be from it
    unknown_peer,  // no key (yet) for this sender and incarnation
    forged,        // the tag is wrong
    replayed,      // number seen, or too old
    count_
  };
  struct Outgoing {
    NodeId peer{};
    DatagramBytes bytes;
  };

  Liveness(Options options, Events events);

  // The peer's key of its present incarnation, from its Hello or HelloAck. A new incarnation starts from nothing (an up
  // one goes down first). Same incarnation and key again: no effect.
  void set_peer(NodeId peer, Incarnation incarnation, const LivenessKey& peer_key, TimePoint now);
  Outcome on_datagram(std::span<const std::uint8_t> bytes, TimePoint now);

  // For how long our loop did not run beyond the limit; absent: it ran.
  std::optional<Millis> stalled(TimePoint now) const;
  std::vector<Outgoing> tick(TimePoint now, std::uint64_t slot_now_ms);
  TimePoint next_tick(TimePoint now) const;
  std::optional<Outgoing> answer(NodeId peer, const suture_flow_key& key, Answer answer, TimePoint now,
                                 std::uint64_t slot_now_ms);

  void set_flags(NodeId peer, std::uint16_t flags);  // LivenessFlags, in our datagrams to this peer
  bool alive(NodeId peer) const;
  std::optional<Incarnation> alive_incarnation(NodeId peer) const;
  std::uint64_t sent_seq(NodeId peer) const;   // number of the last datagram to it
  Incarnation incarnation(NodeId peer) const;  // the newest learned; 0: none
  std::optional<LivenessKey> known_key(NodeId peer, Incarnation incarnation) const;  // its own, as set
  Millis dead_interval() const { return options_.interval * options_.multiplier; }
  const Counter& outcome(Outcome outcome) const { return outcomes_[static_cast<std::size_t>(outcome)]; }
  void register_metrics(MetricsRegistry& registry);

 private:
  static constexpr std::size_t kWindow = 256;  // datagrams that may overtake each other
  struct Peer {
    Incarnation incarnation = 0;
    LivenessKey peer_key{};
    LivenessKey pair_key{};
    std::uint16_t flags = 0;
    bool alive = false;
    std::uint64_t sent_seq = 0;
    std::uint64_t heard_seq = 0;   // highest
    std::bitset<kWindow> seen;     // bit i: heard_seq - i
    std::uint64_t echoed_seq = 0;  // highest of ours that it echoed
    std::optional<TimePoint> heard_at;
    std::optional<TimePoint> echoed_at;
    std::optional<TimePoint> sent_at;
  };

  Outcome receive(std::span<const std::uint8_t> bytes, TimePoint now);
  static bool fresh(Peer& peer, std::uint64_t seq);
  bool two_way(const Peer& peer, TimePoint now) const;
  void down(NodeId id, Peer& peer);
  Outgoing make(NodeId id, Peer& peer, Datagram datagram, TimePoint now, std::uint64_t slot_now_ms);

  Options options_;
  Events events_;
  std::map<NodeId, Peer> peers_;
  NodeSet alive_;
  std::optional<TimePoint> last_tick_;
  std::array<Counter, static_cast<std::size_t>(Outcome::count_)> outcomes_;
  Counter sent_, ups_, downs_;
};

}  // namespace suture::statesync
