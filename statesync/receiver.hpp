// The peer's half of one link: the stream that it dialed, its records into the directory. Internal to statesync.
//
//   inbound stream (certificate proves the id) ── Hello accepted ──> HelloAck ── [snapshot] ── batches, each with its
//   Ack
//
// `applied` is the number of the last batch; it survives the stream, so that the peer can resume. Anything out of order
// ends the stream and asks for a snapshot: a directory with a hole is worse than a snapshot too many.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include <statesync/core.hpp>

namespace suture::statesync {

class Receiver {
 public:
  Receiver(Core& core, const PeerOptions& peer) : core_(core), peer_(peer), name_(peer.name) {}

  void adopt(std::unique_ptr<InboundStream> stream, TimePoint now);  // its Hello is still to come
  void stop();
  void tick(TimePoint now);
  void forget();  // the directory forgot this peer's records: the next stream begins with a snapshot

  bool streaming() const { return stream_ != nullptr; }
  bool synced() const { return streaming() && complete_; }
  bool synced_once() const { return synced_once_; }
  Incarnation incarnation() const { return incarnation_; }
  const std::string& name() const { return name_; }

  struct Counters {
    Counter batches, records, snapshots;
  };
  const Counters& counters() const { return counters_; }

 private:
  void on_first(ToReceiver&& message);
  void on_message(ToReceiver&& message);
  void on_batch(Batch&& batch);
  void end_snapshot();
  void refuse(std::unique_ptr<InboundStream>& stream, Refusal reason, const std::string& text);
  void lost(const LinkError& error);

  Core& core_;
  PeerOptions peer_;
  std::string name_;
  std::unique_ptr<InboundStream> pending_;  // no Hello yet; a newer one replaces it
  std::unique_ptr<InboundStream> stream_;
  Incarnation incarnation_ = 0;
  std::uint64_t applied_ = 0;
  bool complete_ = false;  // the base that batches build on is whole
  bool in_snapshot_ = false;
  bool synced_once_ = false;
  TimePoint heard_at_{}, pending_since_{};
  Counters counters_;
};

}  // namespace suture::statesync
