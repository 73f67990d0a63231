#include <proxy/client/websocket_relay.hpp>

#include <algorithm>
#include <utility>

#include <suture/limits.hpp>

namespace suture {
namespace {

// No application has a reason to send it, and every node knows it again.
constexpr std::string_view kOwnPing = "suture keep-alive";
// Masked, without payload.
constexpr std::uint64_t kClientFrameBytesMin = 6;

}  // namespace

WebSocketRelay::WebSocketRelay(WebSocketState terms, std::uint64_t in, std::uint64_t out, std::string_view head)
    : state_(std::move(terms)),
      in_(WebSocketSender::client, !state_.extensions.empty()),
      out_(WebSocketSender::application, !state_.extensions.empty()),
      journal_start_(out) {
  state_.in_frame = in;
  state_.out_frame = state_.out_frame_end = out;
  sent(head);
}

WebSocketRelay::WebSocketRelay(const HttpState& http, std::uint64_t in_known, std::uint64_t cursor)
    : state_(*http.websocket),
      in_(WebSocketSender::client, !state_.extensions.empty()),
      out_(WebSocketSender::application, !state_.extensions.empty()),
      journal_start_(cursor),
      acked_(cursor) {
  in_.restore(state_.in_fragmented, state_.in_close);
  out_.restore(state_.out_fragmented, state_.out_close);
  for (const auto& message : state_.messages) message_bytes_ += message->size();
  const std::uint64_t pending = http.pending ? http.pending->size() : 0;
  if (pending > 0 && in_known - pending <= state_.in_frame && state_.in_frame <= in_known) {
    const auto whole = static_cast<std::size_t>(state_.in_frame - (in_known - pending));
    under_way_ = http.pending->substr(0, whole);
    held_in_ = http.pending->substr(whole);
  }
  if (cursor >= state_.out_frame) {
    // Also the end of a long frame, all of which the client has.
    state_.out_frame = cursor;
  } else if (http.journal && http.journal_start <= cursor) {
    journal_ = http.journal->substr(static_cast<std::size_t>(cursor - http.journal_start),
                                    static_cast<std::size_t>(state_.out_frame - cursor));
  }
  state_.out_frame_end = state_.out_frame;
}

// --- from the client -------------------------------------------------------------------------------------------------

WebSocketRelay::Passed WebSocketRelay::from_client(std::string_view data) {
  Passed to;
  held_in_.append(data);
  std::size_t at = 0;
  while (at < held_in_.size() && !to.contradiction) {
    const std::string_view rest = std::string_view(held_in_).substr(at);
    if (large_in_ > 0) {
      const auto n = static_cast<std::size_t>(std::min<std::uint64_t>(large_in_, rest.size()));
      if (!large_skipped_) to.bytes.append(rest.substr(0, n));
      large_in_ -= n;
      at += n;
      if (large_in_ > 0) continue;
      large_from_client_ends();
      to.changed = true;
      continue;
    }
    const auto next = in_.next(rest);
    to.broken = next.broken;
    if (!next.frame) break;
    const std::uint64_t bytes = next.frame->bytes();
    const bool large = bytes > kHeldBytesMax;
    if (!large && rest.size() < bytes) break;
    if (skips(*next.frame) && state_.in_frame + bytes > skip_bound_) {
      to.contradiction = true;
      break;
    }
    if (large) {
      large_in_frame_ = *next.frame;
      large_in_ = bytes;
      large_skipped_ = skips(*next.frame);
      continue;
    }
    const std::string_view frame = rest.substr(0, static_cast<std::size_t>(bytes));
    to.broken = WebSocketFrames::check(*next.frame, frame);
    if (to.broken) break;
    client_frame(*next.frame, frame, to);
    at += frame.size();
  }
  // The application has some of these messages and not others: nothing to pass on unchanged.
  if (to.broken && state_.received < skip_to_) to.contradiction = true;
  if (to.broken) to.bytes.append(held_in_, at);
  held_in_.erase(0, to.broken ? held_in_.size() : at);
  // At least what is pending.
  if (large_in_ == 0 && (at != 0 || limits::worth_sending_again(pending_told_, held_in_.size()))) {
    pending_told_ = held_in_.size();
    to.changed = true;
  }
  return to;
}

void WebSocketRelay::client_frame(const WebSocketFrame& frame, std::string_view bytes, Passed& to) {
  bool pass = !skips(frame);
  switch (frame.opcode) {
    case WebSocketOpcode::close:
      state_.in_close = true;
      break;
    case WebSocketOpcode::ping:
      if (resumable()) state_.ping.assign(bytes);
      break;
    case WebSocketOpcode::pong:
      pass = websocket_payload(frame, bytes) != kOwnPing;
      break;
    default:
      break;
  }
  if (pass) to.bytes.append(bytes);
  state_.in_frame += bytes.size();
  in_.accept(frame);
  state_.in_fragmented = in_.fragmented();
  if (!frame.control() && frame.fin) return message_ends(bytes);
  if (!in_.fragmented() || !resumable() || under_way_lost_) return;
  if (under_way_.size() + bytes.size() > kPendingBytesMax) {
    under_way_lost_ = true;
    under_way_.clear();
  } else {
    under_way_.append(bytes);
  }
}

void WebSocketRelay::message_ends(std::string_view last_frame) {
  state_.received += 1;
  if (!resumable()) return;
  if (under_way_lost_)
    remember({});
  else
    remember(data_frames(under_way_).append(last_frame));
  under_way_.clear();
  under_way_lost_ = false;
}

// Empty: too long. The messages before one that is missing are of no use.
void WebSocketRelay::remember(std::string message) {
  auto& all = state_.messages;
  const auto bytes = message.size() > kMessagesBytesMax ? nullptr : kept(std::move(message));
  if (!bytes) {
    all.clear();
    message_bytes_ = 0;
    return;
  }
  message_bytes_ += bytes->size();
  all.push_back(bytes);
  while (all.size() > WebSocketState::kMessagesMax || message_bytes_ > kMessagesBytesMax) {
    message_bytes_ -= all.front()->size();
    all.pop_front();
  }
}

// Without the control frames between: these have been handed to an application already.
std::string WebSocketRelay::data_frames(std::string_view frames) const {
  std::string data;
  WebSocketFrames reader(WebSocketSender::client, !state_.extensions.empty());
  while (!frames.empty()) {
    const auto next = reader.next(frames);
    if (!next.frame || next.frame->bytes() > frames.size()) break;
    const auto bytes = static_cast<std::size_t>(next.frame->bytes());
    if (!next.frame->control()) data.append(frames.substr(0, bytes));
    reader.accept(*next.frame);
    frames.remove_prefix(bytes);
  }
  return data;
}

void WebSocketRelay::large_from_client_ends() {
  state_.in_frame += large_in_frame_.bytes();
  in_.accept(large_in_frame_);
  state_.in_fragmented = in_.fragmented();
  under_way_lost_ = true;
  under_way_.clear();
  if (large_in_frame_.fin) message_ends({});
}

// --- from the application --------------------------------------------------------------------------------------------

WebSocketRelay::Passed WebSocketRelay::from_application(std::string_view data) {
  Passed to;
  held_out_.append(data);
  std::size_t at = 0;
  while (at < held_out_.size()) {
    const std::string_view rest = std::string_view(held_out_).substr(at);
    if (large_out_ > 0) {
      const auto n = static_cast<std::size_t>(std::min<std::uint64_t>(large_out_, rest.size()));
      to.bytes.append(rest.substr(0, n));
      large_out_ -= n;
      at += n;
      if (large_out_ > 0) continue;
      large_to_client_ends();
      to.changed = true;
      continue;
    }
    const auto next = out_.next(rest);
    to.broken = next.broken;
    if (!next.frame) break;
    const std::uint64_t bytes = next.frame->bytes();
    if (bytes > kHeldBytesMax) {
      large_out_frame_ = *next.frame;
      large_out_ = bytes;
      state_.out_frame_end = state_.out_frame + bytes;
      to.changed = true;
      continue;
    }
    if (rest.size() < bytes) break;
    const std::string_view frame = rest.substr(0, static_cast<std::size_t>(bytes));
    to.broken = WebSocketFrames::check(*next.frame, frame);
    if (to.broken) break;
    application_frame(*next.frame, frame, to);
    at += frame.size();
  }
  // The client still repeats messages that this application has: they would pass as new ones.
  if (to.broken && state_.received < skip_to_)
    to.contradiction = true;
  else if (to.broken)
    to.bytes.append(held_out_, at);
  held_out_.erase(0, to.broken ? held_out_.size() : at);
  return to;
}

void WebSocketRelay::application_frame(const WebSocketFrame& frame, std::string_view bytes, Passed& to) {
  if (frame.opcode == WebSocketOpcode::close) state_.out_close = true;
  if (frame.opcode == WebSocketOpcode::pong && !state_.ping.empty()) {
    WebSocketFrames reader(WebSocketSender::client, false);
    const auto ping = reader.next(state_.ping);
    if (ping.frame && websocket_payload(*ping.frame, state_.ping) == websocket_payload(frame, bytes))
      state_.ping.clear();
  }
  out_.accept(frame);
  state_.out_fragmented = out_.fragmented();
  if (!frame.control() && frame.fin) state_.delivered += 1;
  sent(bytes);
  to.bytes.append(bytes);
  to.changed = true;
}

void WebSocketRelay::large_to_client_ends() {
  out_.accept(large_out_frame_);
  state_.out_fragmented = out_.fragmented();
  if (large_out_frame_.fin) state_.delivered += 1;
  state_.out_frame = state_.out_frame_end;
  journal_.clear();
  journal_start_ = state_.out_frame;
}

void WebSocketRelay::sent(std::string_view frame) {
  state_.out_frame += frame.size();
  state_.out_frame_end = state_.out_frame;
  if (journal_.size() + frame.size() > kJournalBytesMax) acknowledged(acked_);
  if (journal_.size() + frame.size() > kJournalBytesMax) {
    journal_.clear();
    journal_start_ = state_.out_frame;
  } else {
    journal_.append(frame);
  }
}

std::optional<std::string> WebSocketRelay::ping() {
  if (large_out_ > 0 || state_.out_close || state_.in_close) return std::nullopt;
  std::string frame = websocket_control_frame(WebSocketOpcode::ping, kOwnPing);
  sent(frame);
  return frame;
}

std::optional<std::string> WebSocketRelay::close(std::uint16_t code) {
  if (large_out_ > 0) return std::nullopt;
  if (state_.out_close) return std::string();
  std::string frame = websocket_close_frame(code);
  state_.out_close = true;
  out_.restore(out_.fragmented(), true);
  sent(frame);
  return frame;
}

// --- record ----------------------------------------------------------------------------------------------------------

void WebSocketRelay::acknowledged(std::uint64_t out_acked) {
  acked_ = std::max(acked_, out_acked);
  if (acked_ <= journal_start_) return;
  const auto n = static_cast<std::size_t>(std::min<std::uint64_t>(acked_ - journal_start_, journal_.size()));
  journal_.erase(0, n);
  journal_start_ += n;
}

std::shared_ptr<const std::string> WebSocketRelay::kept(std::string bytes) const {
  if (bytes.empty()) return nullptr;
  return budget_ ? budget_->make(std::move(bytes)) : std::make_shared<const std::string>(std::move(bytes));
}

void WebSocketRelay::describe(HttpState& http) const {
  http.websocket = std::make_shared<const WebSocketState>(state_);
  http.journal_start = journal_start_;
  http.journal = kept(journal_);
  const bool known = large_in_ == 0 && !under_way_lost_ && under_way_.size() + held_in_.size() <= kPendingBytesMax;
  http.pending = resumable() && known ? kept(under_way_ + held_in_) : nullptr;
}

// --- taken over ------------------------------------------------------------------------------------------------------

std::optional<std::string> WebSocketRelay::reattach(std::uint64_t received, std::uint64_t client_sent) {
  const std::uint64_t own = state_.received;
  std::string first;
  if (received > own) {
    const std::uint64_t unknown = client_sent > state_.in_frame ? client_sent - state_.in_frame : 0;
    if (received - own > unknown / kClientFrameBytesMin + (under_way_.empty() ? 0 : 1)) return std::nullopt;
    skip_to_ = received;
    skip_bound_ = client_sent;
  } else {
    const std::uint64_t missing = own - received;
    if (missing > state_.messages.size()) return std::nullopt;
    for (auto i = state_.messages.size() - static_cast<std::size_t>(missing); i < state_.messages.size(); ++i)
      first.append(*state_.messages[i]);
    first.append(data_frames(under_way_));
  }
  return first.append(state_.ping);
}

}  // namespace suture
