#include <statesync/receiver.hpp>

#include <suture/log.hpp>

namespace suture::statesync {

void Receiver::adopt(std::unique_ptr<InboundStream> stream, TimePoint now) {
  pending_ = std::move(stream);
  pending_since_ = now;
  InboundStream::Handler handler;
  handler.on_message = [this](ToReceiver&& message) { on_first(std::move(message)); };
  handler.on_closed = [this](const LinkError&) { pending_.reset(); };
  pending_->set_handler(std::move(handler));
}

void Receiver::refuse(std::unique_ptr<InboundStream>& stream, Refusal reason, const std::string& text) {
  core_.refused("statesync_peer_refused", to_int(peer_.id), stream->remote(), {reason, text});
  stream->refuse(reason, text);
  stream.reset();
}

void Receiver::on_first(ToReceiver&& message) {
  const auto* hello = std::get_if<Hello>(&message);
  if (!hello) return refuse(pending_, Refusal::out_of_sequence, "the first message must be Hello");
  if (hello->node != pending_->identity()) {
    return refuse(pending_, Refusal::identity_mismatch,
                  "Hello says node " + std::to_string(to_int(hello->node)) + ", the certificate node " +
                      std::to_string(to_int(pending_->identity())));
  }
  if (hello->version_min > kVersionMax || hello->version_max < kVersionMin) {
    return refuse(pending_, Refusal::version,
                  "peer speaks versions " + std::to_string(hello->version_min) + " to " +
                      std::to_string(hello->version_max) + ", we " + std::to_string(kVersionMin) + " to " +
                      std::to_string(kVersionMax));
  }
  if (const auto error = core_.learn(peer_.id, hello->incarnation, hello->liveness_key)) {
    return refuse(pending_, error->reason, error->text);
  }
  if (in_snapshot_) end_snapshot();
  if (hello->incarnation != incarnation_) {
    incarnation_ = hello->incarnation;
    applied_ = 0;
    complete_ = false;
  }
  name_ = hello->name;
  stream_ = std::move(pending_);  // an older stream of the same peer is closed by this
  heard_at_ = Clock::now();
  InboundStream::Handler handler;
  handler.on_message = [this](ToReceiver&& next) { on_message(std::move(next)); };
  handler.on_closed = [this](const LinkError& error) { lost(error); };
  stream_->set_handler(std::move(handler));
  HelloAck ack;
  ack.version = std::min(kVersionMax, hello->version_max);
  ack.node = core_.options.id;
  ack.name = core_.options.name;
  ack.incarnation = core_.options.incarnation;
  ack.liveness_key = hello_key(core_.secret, peer_.id);
  if (complete_) {
    ack.resume_from = applied_;
  } else {
    applied_ = 0;
  }
  stream_->send(ack);
  log::info("statesync_peer_connected", {{"peer", to_int(peer_.id)},
                                         {"name", name_},
                                         {"incarnation", incarnation_},
                                         {"remote", stream_->remote()},
                                         {"resume_from", complete_ ? std::to_string(applied_) : "snapshot"}});
  core_.changed(peer_.id);
}

void Receiver::on_message(ToReceiver&& message) {
  heard_at_ = Clock::now();
  if (auto* batch = std::get_if<Batch>(&message)) return on_batch(std::move(*batch));
  if (const auto* beat = std::get_if<Heartbeat>(&message)) {
    if (beat->last_seq == applied_) return stream_->send(Ack{applied_});
    const auto text =
        "peer sent up to batch " + std::to_string(beat->last_seq) + ", we have applied " + std::to_string(applied_);
    complete_ = false;
    refuse(stream_, Refusal::out_of_sequence, text);
    return lost({Refusal::out_of_sequence, text});
  }
  if (std::holds_alternative<SnapshotBegin>(message)) {
    in_snapshot_ = true;
    complete_ = false;
    core_.directory.snapshot_begin(peer_.id);
    core_.changed(peer_.id);
    return;
  }
  if (std::holds_alternative<SnapshotEnd>(message) && in_snapshot_) {
    in_snapshot_ = false;
    complete_ = synced_once_ = true;
    counters_.snapshots.add();
    const auto removed = core_.directory.snapshot_end(peer_.id, incarnation_);
    log::info("statesync_snapshot_applied",
              {{"peer", to_int(peer_.id)}, {"sessions", core_.directory.size_of(peer_.id)}, {"removed", removed}});
    core_.changed(peer_.id);
    return;
  }
  complete_ = false;
  refuse(stream_, Refusal::out_of_sequence,
         std::holds_alternative<Hello>(message) ? "second Hello" : "SnapshotEnd without SnapshotBegin");
  lost({Refusal::out_of_sequence, ""});
}

void Receiver::on_batch(Batch&& batch) {
  if (batch.seq != applied_ + 1 || !(complete_ || in_snapshot_)) {
    const auto text = "batch " + std::to_string(batch.seq) + " after " + std::to_string(applied_) +
                      (complete_ || in_snapshot_ ? "" : ", before any snapshot");
    complete_ = false;
    refuse(stream_, Refusal::out_of_sequence, text);
    return lost({Refusal::out_of_sequence, text});
  }
  const auto now = Clock::now();
  for (auto& change : batch.changes) {
    if (auto* record = std::get_if<SessionRecord>(&change)) {
      core_.directory.apply_remote(peer_.id, incarnation_, std::move(*record), now);
    } else {
      const auto& erase = std::get<Erase>(change);
      core_.directory.erase_remote(peer_.id, incarnation_, erase.key);
    }
  }
  applied_ = batch.seq;
  counters_.batches.add();
  counters_.records.add(batch.changes.size());
  stream_->send(Ack{applied_});
}

void Receiver::end_snapshot() {
  in_snapshot_ = false;
  core_.directory.snapshot_abort(peer_.id);
}

void Receiver::lost(const LinkError& error) {
  stream_.reset();
  if (in_snapshot_) end_snapshot();
  log::info("statesync_peer_disconnected", {{"peer", to_int(peer_.id)}, {"detail", error.text}});
  core_.changed(peer_.id);
}

void Receiver::forget() {
  complete_ = false;
  applied_ = 0;
}

void Receiver::tick(TimePoint now) {
  if (pending_ && now - pending_since_ >= kHelloTimeout) refuse(pending_, Refusal::silent, "no Hello");
  if (stream_ && now - heard_at_ >= kSilenceMax) {
    refuse(stream_, Refusal::silent, "nothing heard for " + std::to_string(kSilenceMax.count()) + " ms");
    lost({Refusal::silent, "silent"});
  }
}

void Receiver::stop() {
  pending_.reset();
  stream_.reset();
}

}  // namespace suture::statesync
