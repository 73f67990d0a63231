// Our half of one peer's link: the stream that we dial and the records that go out on it. Internal to statesync.
//
//   waiting ── redial_at ──> greeting (Hello sent) ── HelloAck ──> streaming
//      ^──────────────── closed, refused, silent: back-off with jitter ────────┘
#pragma once

#include <memory>
#include <optional>
#include <random>

#include <statesync/core.hpp>
#include <statesync/replicator.hpp>

namespace suture::statesync {

class Sender {
 public:
  Sender(Core& core, const PeerOptions& peer);

  void start(TimePoint now);
  void stop();
  void hurry(TimePoint now);  // the peer was heard of: dial now
  void tick(TimePoint now);   // redial, heartbeat, silence
  void pump();                // send what is due; after marks and acknowledgements
  Replicator& replicator() { return replicator_; }
  const Replicator& replicator() const { return replicator_; }
  bool streaming() const { return state_ == State::streaming; }
  // It keeps up, and of what is due something has not been written yet. One that takes a snapshot does not keep up, nor
  // one of which this was so for `patience`; `late` counts these.
  bool holds_back(TimePoint now, Millis patience, Counter& late);
  const Counter& unreachable() const { return unreachable_; }

 private:
  enum class State : std::uint8_t { stopped, waiting, greeting, streaming };

  void dial(TimePoint now);
  void on_message(ToSender&& message);
  void on_hello_ack(const HelloAck& ack, TimePoint now);
  void on_refused(const Refused& refused, TimePoint now);
  void send(ToReceiver message);
  void fail(const LinkError& error, const char* event = "statesync_disconnected");
  void tell_unreachable(const LinkError& error);

  Core& core_;
  PeerOptions peer_;
  Replicator replicator_;
  State state_ = State::stopped;
  std::unique_ptr<OutboundStream> stream_;
  TimePoint redial_at_{}, heard_at_{}, sent_at_{};
  Millis backoff_{0};
  std::optional<TimePoint> id_refused_since_;
  bool id_refused_told_ = false;
  std::optional<TimePoint> behind_since_;
  std::optional<TimePoint> unreachable_told_;  // since the last stream; then once a minute
  Counter unreachable_;
  std::minstd_rand jitter_{std::random_device{}()};
};

}  // namespace suture::statesync
