// A worker: one thread, one event loop, and everything that belongs to the connections it accepted. Workers share no
// data; the kernel spreads new connections over their SO_REUSEPORT listeners.
//
// Call order, all on the control thread:
//   Worker w(options, sink, hook);
//   w.register_metrics(registry);
//   w.open()         binds and listens; clients can connect from here on and wait in the backlog
//   w.start()        starts the thread
//   w.adopt() ...    after start(): sessions of dead nodes; freeze, thaw, release: of living ones
//   w.begin_stop()   sessions end as options.at_stop says, while the control thread goes on: beats, takes records
//   w.stop()         ends the thread; what is left ends likewise, at once. Also called by the destructor
//
// `sink` and `hook` outlive the worker; the sink is called on the worker's thread only.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <proxy/client/access_log.hpp>
#include <proxy/client/adoption.hpp>
#include <proxy/client/client_counts.hpp>
#include <proxy/config/config.hpp>
#include <statesync/record.hpp>
#include <suture/clock.hpp>
#include <suture/conn_facts.hpp>
#include <suture/limits.hpp>
#include <suture/metrics.hpp>
#include <suture/result.hpp>

namespace suture {

// What becomes of a session that is still open when the worker stops.
enum class StopAction : std::uint8_t {
  silent,  // no segment leaves and the record stays: a peer, or this node's next process, may heal it
  close,   // FIN, record erased
  reset,   // RST, record erased
};

struct WorkerOptions {
  std::vector<config::Address> vips;        // every listener's port is bound on every one of them
  std::vector<config::Listener> listeners;  // limits.connections_max is shared out evenly over `workers`
  config::Timeouts timeouts;
  NodeId node{};
  std::string node_name;                     // X-Served-By, Via
  std::map<NodeId, std::string> peer_names;  // of former owners, for the access log
  AccessSink* access_log = nullptr;          // null: none. Outlives the worker
  config::AccessLog::Format access_format = config::AccessLog::Format::off;
  Incarnation incarnation = 0;
  std::uint32_t fin_mark = 0;  // bits of SO_MARK; 0: do not mark (no egress program, tests without privileges)
  std::uint32_t rst_mark = 0;
  std::uint16_t mss_clamp4 = 0;  // TCP_MAXSEG of the listeners, bytes; 0: leave it to the kernel
  std::uint16_t mss_clamp6 = 0;
  // PROTOCOL.md, egress rule 3: an RST to a client that was silent for longer is dropped. 0: nothing judges our RSTs.
  Millis lease{0};
  Millis reset_patience{2000};  // how long a silent client is asked before it is reset all the same
  // Whether what leaves now is not dropped because the node's heartbeat is stale (egress rule 1). On the worker's
  // thread; empty: always.
  std::function<bool()> beats;
  Millis half_closed_idle = limits::half_closed_idle;
  Millis record_patience{100};  // how long bytes wait for their record to leave (RecordSink::hurry)
  Millis refetch_patience = limits::refetch_patience;
  unsigned index = 0;  // of this worker, 0 <= index < workers
  unsigned workers = 1;
  // The same for all workers of a node, for limits.connections_per_client_max; empty: this worker counts alone.
  std::shared_ptr<ClientCounts> client_counts;
  std::function<StopAction(const SessionRecord&)> at_stop;  // on the worker's thread; empty: silent
  // How an adopted session went on: the rung that was really taken and, of refuse and reset, why (heal_reasons.hpp,
  // static). Once per adoption, on the worker's thread, when its first byte was written or the rung needed none.
  std::function<void(const suture_flow_key&, ResumeRung, const char*)> on_adopted;
};

class Worker {
 public:
  Worker(WorkerOptions options, RecordSink& sink, AcceptHook& hook);
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  // Binds all listeners or none. Errors name the address and what would help: port in use, no privilege for the port,
  // VIP not on an interface, option refused by the kernel.
  Result<void> open();
  void start();
  // Thread-safe, idempotent. The sessions end; those whose client must speak before it can be reset get `patience`, and
  // so do erasures that the sink is too full to take. stopped(): all done, stop() will not block. For the control
  // thread to stay alive meanwhile: without its heartbeat no segment leaves.
  void begin_stop(Millis patience);
  bool stopped() const;
  void stop();  // control thread; joins

  // Sessions that are taken over. Thread-safe, carried out in the order of the calls on the worker's thread.
  //
  // False: the worker is stopping, and the descriptor is still the caller's. Otherwise on_adopted tells what became of
  // it. The session is not counted by the listeners' limits; its record is published at once.
  bool adopt(Adoption adoption);
  // A key that the worker does not know has no effect.
  //   freeze   the session reads, writes and publishes nothing, and its deadlines stand still, until
  //   thaw     it goes on; nothing was lost. `claimed_again`: its record's epoch from now on
  //   release  its socket is closed without a segment; its record stays unless `erase_record`
  void freeze(const suture_flow_key& key);
  void thaw(const suture_flow_key& key, std::optional<Epoch> claimed_again = {});
  void release(const suture_flow_key& key, bool erase_record);
  void abort(const suture_flow_key& key);  // RST, record erased: how tests bring a reset about
  // Its timestamps are rewritten on the way: the record says so from now on (neither hint nor fence).
  void give_up_fence(const suture_flow_key& key);

  // Thread-safe.
  std::size_t active() const;   // sessions that have a socket
  std::uint64_t ticks() const;  // grows at least every 20 ms while the loop is alive: the heartbeat hangs on it
  bool accepting() const;       // false before open()
  std::vector<std::uint16_t> bound_ports() const;  // of the listeners in order (port 0 in tests); valid after open()

  // Counters live in the worker; it must outlive the registry's last scrape.
  void register_metrics(MetricsRegistry& registry);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace suture
