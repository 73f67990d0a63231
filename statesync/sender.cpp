#include <statesync/sender.hpp>

#include <algorithm>
#include <sstream>

#include <suture/log.hpp>

namespace suture::statesync {
namespace {

constexpr auto kUnreachableAgain = std::chrono::minutes(1);

std::string to_text(const boost::asio::ip::tcp::endpoint& endpoint) {
  std::ostringstream out;
  out << endpoint;
  return out.str();
}

}  // namespace

Sender::Sender(Core& core, const PeerOptions& peer) : core_(core), peer_(peer), replicator_({.peer = peer.id}) {}

void Sender::start(TimePoint now) {
  dial(now);
}

void Sender::stop() {
  state_ = State::stopped;
  stream_.reset();
  replicator_.on_disconnect();
}

void Sender::hurry(TimePoint now) {
  if (state_ != State::waiting) return;
  backoff_ = Millis{0};
  redial_at_ = now;
}

void Sender::dial(TimePoint now) {
  state_ = State::greeting;
  heard_at_ = now;
  OutboundStream::Handler handler;
  handler.on_message = [this](ToSender&& message) { on_message(std::move(message)); };
  handler.on_closed = [this](const LinkError& error) { fail(error); };
  handler.on_written = [this] { core_.pumped(); };
  stream_ = core_.transport->dial(peer_.id, peer_.statesync, std::move(handler));
  send(core_.hello(peer_.id));
}

void Sender::send(ToReceiver message) {
  sent_at_ = Clock::now();
  stream_->send(std::move(message));
}

void Sender::on_message(ToSender&& message) {
  const auto now = Clock::now();
  heard_at_ = now;
  if (const auto* refused = std::get_if<Refused>(&message)) return on_refused(*refused, now);
  if (const auto* hello = std::get_if<HelloAck>(&message)) return on_hello_ack(*hello, now);
  const auto& ack = std::get<Ack>(message);
  if (state_ != State::streaming || !replicator_.on_ack(ack.seq)) {
    return fail({Refusal::out_of_sequence, "acknowledges batch " + std::to_string(ack.seq) + ", last sent " +
                                               std::to_string(replicator_.last_seq())});
  }
  pump();
}

void Sender::on_hello_ack(const HelloAck& ack, TimePoint now) {
  if (state_ != State::greeting) return fail({Refusal::out_of_sequence, "second HelloAck"});
  if (ack.node != peer_.id) {
    return fail({Refusal::identity_mismatch, "dialed node " + std::to_string(to_int(peer_.id)) + ", but node " +
                                                 std::to_string(to_int(ack.node)) + " answers"});
  }
  if (ack.version < kVersionMin || ack.version > kVersionMax) {
    return fail({Refusal::version, "peer chose protocol version " + std::to_string(ack.version)});
  }
  if (const auto error = core_.learn(peer_.id, ack.incarnation, ack.liveness_key)) return fail(*error);
  state_ = State::streaming;
  backoff_ = Millis{0};
  id_refused_since_.reset();
  unreachable_told_.reset();
  const auto resumes = replicator_.counters().resumes.value();
  replicator_.on_connect(ack.incarnation, ack.resume_from, core_.directory, now);
  log::info("statesync_connected", {{"peer", to_int(peer_.id)},
                                    {"name", ack.name},
                                    {"incarnation", ack.incarnation},
                                    {"mode", replicator_.counters().resumes.value() > resumes ? "resume" : "snapshot"},
                                    {"queue", replicator_.queue()}});
  core_.changed(peer_.id);
  pump();
}

void Sender::on_refused(const Refused& refused, TimePoint now) {
  if (concerns_identity(refused.reason)) {
    if (!id_refused_since_) id_refused_since_ = now;
    // A crashed predecessor answers for no longer than the dead interval; a real double for ever.
    const auto grace = std::max(core_.options.refused_grace, 2 * core_.liveness.dead_interval());
    if (now - *id_refused_since_ >= grace && !id_refused_told_) {
      id_refused_told_ = true;
      core_.id_refused(peer_.id, refused.text);
    }
  }
  fail({refused.reason, "peer says: " + refused.text}, "statesync_refused_by_peer");
}

void Sender::fail(const LinkError& error, const char* event) {
  if (state_ == State::stopped) return;
  const bool was_streaming = state_ == State::streaming;
  const bool greeting = state_ == State::greeting;
  if (greeting && (error.reason == Refusal::silent || (error.reason == Refusal::connect && !error.answered))) {
    tell_unreachable(error);
  } else if (greeting && error.reason == Refusal::connect) {
    // TLS does not tell the dialer why the other side ended it.
    core_.refused(event, to_int(peer_.id), to_text(peer_.statesync),
                  {error.reason, "the peer is there and closed the connection: its log says why (our certificate?)"});
  } else {
    core_.refused(event, to_int(peer_.id), to_text(peer_.statesync), error);
  }
  stream_.reset();
  replicator_.on_disconnect();
  state_ = State::waiting;
  backoff_ = backoff_.count() == 0 ? core_.options.redial_min : std::min(2 * backoff_, core_.options.redial_max);
  // Half to the whole of it: peers that lost the same node do not come back in step.
  std::uniform_int_distribution<Millis::rep> spread(backoff_.count() / 2, backoff_.count());
  redial_at_ = Clock::now() + Millis{spread(jitter_)};
  if (was_streaming) core_.changed(peer_.id);
}

// A peer that was never there, or is not there any more: everyday life, and no refusal.
void Sender::tell_unreachable(const LinkError& error) {
  unreachable_.add();
  const auto now = Clock::now();
  const auto peer = to_int(peer_.id);
  log::debug("statesync_dial_failed", {{"peer", peer}, {"detail", error.text}});
  if (unreachable_told_ && now - *unreachable_told_ < kUnreachableAgain) return;
  unreachable_told_ = now;
  log::warn("statesync_unreachable",
            {{"peer", peer},
             {"detail", to_text(peer_.statesync) + " (peer " + std::to_string(peer) + ", " + peer_.name +
                            ") does not answer: is suture running there, is TCP " +
                            std::to_string(peer_.statesync.port()) + " open?"}});
}

void Sender::tick(TimePoint now) {
  if (state_ == State::waiting && now >= redial_at_) return dial(now);
  if (state_ == State::greeting && now - heard_at_ >= kHelloTimeout) {
    return fail({Refusal::silent, "no answer to Hello for " + std::to_string(kHelloTimeout.count()) + " ms"});
  }
  if (state_ != State::streaming) return;
  if (now - heard_at_ >= kSilenceMax) {
    return fail({Refusal::silent, "no acknowledgement for " + std::to_string(kSilenceMax.count()) + " ms"});
  }
  if (now - sent_at_ >= kHeartbeatInterval) send(Heartbeat{replicator_.last_seq()});
  pump();
}

bool Sender::holds_back(TimePoint now, Millis patience, Counter& late) {
  if (state_ != State::streaming || (replicator_.queue() == 0 && stream_->all_written())) {
    behind_since_.reset();
    return false;
  }
  if (replicator_.takes_snapshot()) return false;
  if (!behind_since_) behind_since_ = now;
  if (now - *behind_since_ < patience) return true;
  late.add();
  return false;
}

void Sender::pump() {
  if (state_ != State::streaming) return;
  if (replicator_.needs_snapshot()) replicator_.start_snapshot(core_.directory, Clock::now());
  for (;;) {
    const auto mark = replicator_.next_mark();
    if (mark == Replicator::Mark::begin) {
      send(SnapshotBegin{});
    } else if (mark == Replicator::Mark::end) {
      send(SnapshotEnd{});
    } else if (auto batch = replicator_.next_batch(core_.directory)) {
      send(std::move(*batch));
    } else if (replicator_.next_mark() == Replicator::Mark::end) {
      send(SnapshotEnd{});  // the last keys of the snapshot were gone by now
    } else {
      break;
    }
  }
  core_.pumped();
}

}  // namespace suture::statesync
