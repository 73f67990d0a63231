// What every client session does, whatever it speaks: count both streams, keep its record with the replicator up to
// date, relay opaque bytes, and end on purpose.
//
//   accept ── start() ──> open ── finish() ──> lingering ── client's FIN and last ACK, or time ──> over
//   adopt() ───────────────┘├────── close_now() / stop() / release() ────────────────────────────> over
//                           └────── reset_client() ──> (resetting: a silent client has to speak) ─> over
//
// session.cpp has the streams, the record and what is taken over, session_end.cpp the ways out, session_origin.cpp
// whose connection it is where a balancer stands in front.
//
// Frozen (another node may own the connection now): nothing is read, written or published, and time stands still.
// Records go to the sink before the bytes that they describe go to the socket, and of bytes that an heir must know
// (wait_for_record()) they have left for the peers before. A session that is over has left the
// worker's list and gets no more events; its memory goes at the end of the batch.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>

#include <proxy/client/context.hpp>
#include <proxy/upstream/relay.hpp>

namespace suture {

// Of a session that must be reset, while its client is silent: whether there is time to wait for its word.
enum class StopPatience : std::uint8_t { none, waits };

class Session : public EventHandler, public UpstreamUser {
 public:
  static constexpr Millis kSweepInterval{100};

  Session(WorkerContext& worker, ListenerContext& listener, StreamSocket client, const ConnFacts& facts,
          SessionMode mode);
  ~Session() override;

  // After the socket was added to the loop.
  virtual void start() = 0;
  // Instead of start(), of a session that another node owned: publishes the record as ours, then goes on where
  // `adoption` says. WorkerOptions::on_adopted is told once how that went.
  void adopt(const Adoption& adoption);
  // Every kSweepInterval: deadlines, and whatever of the record has become stale.
  void sweep();
  // Of sessions in WorkerContext::resetting: at every tick.
  void await_client_if_due();
  // Of sessions in WorkerContext::awaiting: one's record may have left by now.
  void on_record_left();
  void await_no_longer();
  void stop(StopAction action, StopPatience patience);
  void freeze();
  void thaw(std::optional<Epoch> claimed_again);
  void release(bool erase_record);  // no segment leaves
  void abort() { reset_client(CloseCause::aborted); }
  void give_up_fence();

  static bool is_front(const config::Listener& listener, const config::Address& client);
  void hold(ClientSlot slot) { slot_ = std::move(slot); }  // as long as the session lives

  bool over() const { return over_; }
  SessionMode mode() const { return record_.mode; }
  const SessionRecord& record() const { return record_; }
  StreamSocket& client() { return client_; }

  std::size_t worker_slot = 0;  // the worker's: place in its list

  void on_events(std::uint32_t epoll_events) final;
  void on_upstream_events(UpstreamConnection& connection) final;

 protected:
  // The session's own protocol; not called while connecting fails, ending, or over.
  virtual void on_ready() = 0;     // something may be readable or writable on either side
  virtual void on_deadline() = 0;  // deadline() passed
  virtual void on_sweep() {}       // every kSweepInterval, unless frozen or ending
  virtual void on_upstream_connected() { on_ready(); }
  virtual void on_connect_failed(int error) = 0;
  // Before the record leaves for another reason than the protocol's own, when nothing of the protocol's is on the
  // stack: what was read since the protocol published has to stand in it, for in_known counts it.
  virtual void complete_record() {}
  virtual void on_proxy_header() {}  // has come, and the record is published; on_ready() follows
  // The record has the new positions of both streams and nothing else of ours yet. Publishes before it acts.
  // Not called for ResumeRung::reset.
  virtual void resume(const Resumption& resumption) = 0;
  // The session begins to end, or has ended; perhaps more than once.
  virtual void on_ending(CloseCause) {}

  // --- streams -----------------------------------------------------------------------------------------------------
  // From the client, counted. Client errors end the session (the result is then `error`).
  IoResult read_client(std::span<char> buffer);
  // Counted, behind what waits (for the client, or for a record). False: the session is over.
  bool write_client(std::string_view first, std::string_view second = {});
  bool flush_client();
  // Opaque relay, both ways with half-close, until both ends have closed. For tcp mode and upgraded connections.
  void relay();
  // What relay() does with what it has read. False: the session is over, or opaque no more.
  virtual bool pass_to_upstream(std::string_view data);
  virtual bool pass_to_client(std::string_view data) { return write_client(data); }
  // Reads of one event and direction before others get their turn.
  static constexpr unsigned kTurns = 8;
  void deadline_in(std::uint32_t ms) { deadline_ = worker_.loop.now() + Millis(ms); }
  void deadline_not_after(TimePoint at) { deadline_ = std::min(deadline_, at); }

  // --- record ------------------------------------------------------------------------------------------------------
  void publish();
  // After publish(): what is written from here on waits in to_client_ until that record has left for the peers. An heir
  // that does not know what the client has could only reset it.
  void wait_for_record();
  bool waits_for_record() const { return awaiting_.has_value(); }
  void republish();  // complete_record() first
  void refresh_acked();
  // Of coarse positions; in_known alone would contradict what the protocol says of it until it has looked at the bytes:
  // a protocol that calls this by itself sets positions_follow_.
  void publish_progress();
  bool positions_follow_ = false;

  // --- taken over --------------------------------------------------------------------------------------------------
  // A rung lower than the one that was planned. Without effect once the outcome was reported.
  void heal_becomes(ResumeRung rung, const char* reason);
  struct TakenOver {
    NodeId from{};
    TimePoint at{};
    ResumeRung rung{};  // on which it goes on
  };
  std::optional<TakenOver> taken_over_;
  // With the first byte that is written or the session's end, whichever comes first; earlier by a rung that needs none.
  void report_heal();
  // Bytes that are safe on every rung do not settle which one it is.
  bool heal_open_ = false;

  // --- upstream ----------------------------------------------------------------------------------------------------
  // Whose turn it is of the route's upstreams: pool().
  void choose_upstream(const config::Route& route);
  UpstreamPool& pool() { return turn_.pool(); }
  // Opens a fresh connection to pool(), or where that fails to the route's next; on_upstream_connected() or, when each
  // was tried, on_connect_failed() follows, perhaps at once.
  void connect_upstream();
  // The attempt under way has failed: on to the next.
  void connect_failed(int error);
  void drop_upstream();

  // --- origin (PROXY protocol) -------------------------------------------------------------------------------------
  // The stream begins with a header that has not come yet. Nothing of the protocol's is called but start().
  bool awaits_proxy_header() const { return awaits_proxy_header_; }
  // Whose connection it is: as a front balancer said, else the socket's.
  config::TcpEndpoint original_client() const { return client_of(origin()); }
  // Under which the pool keeps our connections to the application.
  std::uint64_t upstream_owner() const;

  // --- end ---------------------------------------------------------------------------------------------------------
  // Sends what waits, then FIN, then discards what the client still sends until it closes too.
  void finish(CloseCause cause);
  void close_now(CloseCause cause);
  // At once, or as soon as a silent client has spoken. Nothing more is read from the application or written from here
  // on.
  void reset_client(CloseCause cause);
  // Lingering or resetting: the protocol has nothing to say any more.
  bool ending() const { return lingering_ || resetting_; }

  WorkerContext& worker_;
  ListenerContext& listener_;
  StreamSocket client_;
  std::unique_ptr<UpstreamConnection> upstream_;
  Backlog to_client_, to_upstream_;
  SessionRecord record_;
  bool upstream_eof_ = false;
  bool upstream_fin_sent_ = false;

 private:
  bool try_next_upstream(int error);
  void linger();
  bool discard_input();
  void upstream_connected();
  void greet_upstream();
  void await_client();
  bool client_is_silent() const;
  void wait_no_more();
  bool reset_is_let_out() const;
  void reset_now();
  void relay_moved();
  bool relay_to_upstream(unsigned& turns);
  bool relay_to_client(unsigned& turns);
  void upstream_failed(int error);
  void send_fin();
  void end();
  void erase_record();
  const suture_flow_key& origin() const { return record_.proxied ? *record_.proxied : record_.facts.key; }
  bool client_is_front() const;
  bool take_proxy_header();
  void proxy_header_fails(const char* reason, Counter& counter, CloseCause cause);
  std::string upstream_greeting() const;

  struct Heal {
    ResumeRung rung;
    const char* reason;
  };
  std::optional<Heal> heal_;  // not reported yet
  UpstreamTurn turn_;
  struct Resetting {
    TimePoint since{}, look_at{}, asked_at{};
    std::size_t asked = 0;
    std::size_t slot = 0;  // in WorkerContext::resetting
  };
  std::optional<Resetting> resetting_;
  struct Awaiting {
    std::uint64_t record = 0;  // RecordSink::left()'s
    TimePoint since{};
    std::size_t slot = 0;  // in WorkerContext::awaiting
  };
  std::optional<Awaiting> awaiting_;
  std::optional<TimePoint> frozen_since_;
  TimePoint deadline_ = TimePoint::max();
  TimePoint published_at_{};
  TimePoint linger_until_{};
  std::uint64_t published_in_ = 0;
  std::uint64_t published_out_ = 0;
  std::uint64_t published_acked_ = 0;
  std::uint64_t lingered_bytes_ = 0;
  CloseCause cause_ = CloseCause::internal;
  bool dirty_ = false;
  bool client_failed_ = false;  // EPOLLERR was seen: reset, or given up by the kernel
  bool lingering_ = false;
  ClientSlot slot_;
  bool awaits_proxy_header_ = false;
  bool over_ = false;
};

}  // namespace suture
