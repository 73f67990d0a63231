// The simulated world: one clock and event queue, one seed, the network between a client and the PoPs, who hears whom.
//
//   Client ──(delay, loss, doubles, reordering; route)──> Node[route] ──final──> Node
//   Node ──(delay, loss, ...)──> Client          Node <──records, lagging and lost──> Node
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <optional>
#include <queue>
#include <string>
#include <vector>

#include "tests/simulation/ledger.hpp"
#include "tests/simulation/wire.hpp"

namespace suture::sim {

class Client;
class HttpWorld;
class Node;

// What is behind the sockets: amounts and positions only, or real HTTP sessions.
enum class Mode : std::uint8_t { positions, http };

// What a seed decides once. Probabilities per packet or update.
struct Settings {
  bool timestamps = true, hint = true, sack = true, wscale = true;
  double loss = 0, doubled = 0, reordered = 0, record_loss = 0;
  Micros path_min = ms(1), path_max = ms(10), record_lag = ms(5);
  std::uint32_t client_burst = 10;
  bool ecmp = false;     // every packet may arrive anywhere
  bool same_id = false;  // nodes 0 and 2 share an id
  bool forge = false;
  std::array<std::int64_t, 3> slot_apart_ms{};
  double rebuild_failure = 0;
};

// --break: one rule taken away, outside of the table, to see that the simulation notices.
// X(name, what)
#define SUTURE_SIM_BREAKS(X)                                              \
  X(none, "nothing")                                                      \
  X(echo, "any answer proves the fence")                                  \
  X(chance_ack, "c is the ACK of the packet that began the claim")        \
  X(window, "nudges offer a small window, so the client clips SEQ")       \
  X(data_proof, "S from a data segment that echoes the fence")            \
  X(s_rule, "S is L")                                                     \
  X(replaced, "packets with a foreign echo enter the old owner's socket") \
  X(sack, "SACK blocks above c are not seen")                             \
  X(sent_position, "the probe's byte at a position that was only sent")   \
  X(swallow, "the fence acknowledges the SEQ of the stray")               \
  X(gate, "a cut-off owner of a flow without fence goes on sending")      \
  X(majority, "a flow without fence is claimed without a majority")       \
  X(lead, "the fence is only just above the echo, not above the owner's clock")

// Only in the HTTP mode, as well as the others.
#define SUTURE_SIM_HTTP_BREAKS(X)                                              \
  X(lost, "the plan does not hear of lost bytes")                              \
  X(unknown_owner, "bytes of an owner without a record count as the record's") \
  X(journal, "the journal goes on one byte before the client's place")         \
  X(range, "a body goes on one byte behind the client's place")

enum class Break : std::uint8_t {
#define SUTURE_SIM_ENUM(name, what) name,
  SUTURE_SIM_BREAKS(SUTURE_SIM_ENUM) SUTURE_SIM_HTTP_BREAKS(SUTURE_SIM_ENUM)
#undef SUTURE_SIM_ENUM
};

class World {
 public:
  static constexpr std::size_t kNodes = 3;
  World(std::uint64_t seed, Break broken, bool verbose, Mode mode = Mode::positions);
  ~World();
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  void run();  // the whole story; then ledger.check()

  void at(Micros time, std::function<void()> what);
  void after(Micros delay, std::function<void()> what) { at(now + delay, std::move(what)); }

  // ---- network
  void from_client(Packet packet);
  void to_client(Packet packet);
  void forward(std::size_t from, std::size_t to, Packet packet);
  void replicate(std::size_t from, std::size_t to, RecordPtr record);

  // ---- who hears whom. Two-way, and late in both directions.
  bool living(std::size_t self, std::size_t peer) const;
  bool reachable(std::size_t a, std::size_t b) const { return a == b || !cut_[a][b]; }
  void cut(std::size_t a, std::size_t b, bool yes);
  void liveness_changed();  // after any node stopped, went on, died or came back
  std::optional<std::size_t> find(NodeId id, std::size_t from) const;

  // Absolute SEQ of the server's stream to its offset; the client's cursor is always near.
  std::uint64_t out_offset(std::uint32_t seq) const;
  std::uint64_t in_offset(std::uint32_t seq) const;
  bool verbose() const { return verbose_; }
  void say(std::size_t node, const std::string& text) const;

  const std::uint64_t seed;
  const Break broken;
  Rng rng;
  Settings settings;
  Micros now = 0;
  std::uint64_t timers = 0;
  Ledger ledger;
  Totals totals;
  std::unique_ptr<HttpWorld> http;  // null: Mode::positions
  std::vector<std::unique_ptr<Node>> nodes;
  std::unique_ptr<Client> client;
  std::size_t route = 0;
  std::uint32_t iss = 0, irs = 0;
  Content contents = 0;  // made so far
  int instances = 0;
  bool faults_over = false;
  bool record_ended = false;
  std::vector<Packet> old_packets;
  suture_flow_key key{};

 private:
  struct Link {
    bool ok = true, was_living = true;
    Micros changed = 0;
  };
  struct Event {
    Micros time;
    std::uint64_t number;
    std::function<void()> what;
    bool operator<(const Event& other) const { return time != other.time ? time > other.time : number > other.number; }
  };
  void choose_settings();
  void choose_http_settings();
  void housekeeping();
  bool link_living(const Link& link) const;
  Micros delay();
  void to_node(Packet packet);

  std::priority_queue<Event> events_;
  std::uint64_t event_number_ = 0;
  std::array<std::array<bool, kNodes>, kNodes> cut_{};
  std::array<std::array<Link, kNodes>, kNodes> links_{};
  bool verbose_;
};

}  // namespace suture::sim
