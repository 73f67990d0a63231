// One upgraded connection in both directions (RFC 6455): bytes in, bytes out, and what a record must say of them.
//
//   out:  ... journal_start [ whole frames ] out_frame | a frame too long to be held: under way | out_frame_end
//   in:   ... [ frames of the message under way ] in_frame [ the beginning of the next frame ] in_known
//             |<----------------------- HttpState::pending ---------------------------------->|
//
// Frames up to kHeldBytesMax pass whole, as soon as they are whole; longer ones pass in pieces as they come. The caller
// publishes what describe() says before it writes what a call returned. Bytes of frames are passed on as they came;
// only our own Pings' Pongs are kept back.
//
// Traffic that breaks the protocol ends the tracking: from then on bytes are the caller's to pass on unchanged.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <proxy/client/journal.hpp>
#include <proxy/client/websocket_frames.hpp>
#include <statesync/http_state.hpp>

namespace suture {

class WebSocketRelay {
 public:
  static constexpr std::size_t kHeldBytesMax = 64 * 1024;     // of a frame, its header included
  static constexpr std::size_t kJournalBytesMax = 64 * 1024;  // to the client and not acknowledged
  // WebSocketState::messages: the record goes as a whole with each, and an application that lags by more than this has
  // lost its state.
  static constexpr std::size_t kMessagesBytesMax = 16 * 1024;
  static constexpr std::size_t kPendingBytesMax = 64 * 1024;

  // Behind a 101. `terms`: its session, subprotocol and extensions. `in`: where the client's first frame begins;
  // `out`: where the 101's `head` begins, which the journal takes as well.
  WebSocketRelay(WebSocketState terms, std::uint64_t in, std::uint64_t out, std::string_view head);
  // Of another node's connection, from its record (healing/heal_websocket has said what can be done with it).
  // `cursor`: what the client has.
  WebSocketRelay(const HttpState& http, std::uint64_t in_known, std::uint64_t cursor);

  // What all sessions of a worker keep in records together is bounded (journal.hpp). Without a budget, in tests: not.
  // What it does not take is not recorded, and such a session heals on a lower rung.
  void set_budget(const JournalBudget& budget) { budget_ = &budget; }

  struct Passed {
    std::string bytes;             // for the other side
    bool changed = false;          // describe() says something new
    const char* broken = nullptr;  // the rule that was broken: tracking is over; `bytes` has all that was held
    // After reattach(): the application counted messages that the client has not sent; or, while the client repeats
    // those that it has, one of the two breaks the protocol. The connection must end.
    bool contradiction = false;
  };
  Passed from_client(std::string_view data);
  Passed from_application(std::string_view data);
  // What the other direction had held when one broke a rule.
  std::string release_from_client() { return std::move(held_in_); }
  std::string release_from_application() { return std::move(held_out_); }

  // Frames of our own, for the client. nullopt: none may stand here. Close: empty where one has passed already.
  std::optional<std::string> ping();
  std::optional<std::string> close(std::uint16_t code);

  void acknowledged(std::uint64_t out_acked);  // by the client: the journal's beginning goes
  void describe(HttpState& http) const;

  const WebSocketState& state() const { return state_; }
  bool resumable() const { return !state_.session.empty(); }

  // --- taken over ------------------------------------------------------------------------------------------------
  // What the client has not of the journal.
  std::string_view rest() const { return journal_; }
  // The new application instance has `received` messages of the client's. Returns what it gets first: the messages
  // behind these, the frames of the one under way, the client's Ping that is not answered. Messages that it has
  // although no record says so (PROTOCOL.md, the S rule) must lie below `client_sent` (S), and are not passed on once
  // more. nullopt: the count cannot be right, or what is missing is in no journal.
  std::optional<std::string> reattach(std::uint64_t received, std::uint64_t client_sent);

 private:
  void client_frame(const WebSocketFrame& frame, std::string_view bytes, Passed& to);
  void application_frame(const WebSocketFrame& frame, std::string_view bytes, Passed& to);
  void large_from_client_ends();
  void large_to_client_ends();
  bool skips(const WebSocketFrame& frame) const { return !frame.control() && state_.received < skip_to_; }
  void message_ends(std::string_view last_frame);
  void remember(std::string message);
  std::shared_ptr<const std::string> kept(std::string bytes) const;  // null: nothing, or no room
  void sent(std::string_view frame);
  std::string data_frames(std::string_view frames) const;

  const JournalBudget* budget_ = nullptr;
  std::size_t pending_told_ = 0;  // of held_in_
  WebSocketState state_;
  WebSocketFrames in_, out_;
  std::string held_in_, held_out_;  // beginnings of frames
  std::string under_way_;           // whole frames of the client's message under way, control frames between included
  bool under_way_lost_ = false;     // ... were too many bytes
  std::size_t message_bytes_ = 0;   // of state_.messages
  // A frame too long to be held: itself, and what of it is still to come.
  WebSocketFrame large_in_frame_, large_out_frame_;
  std::uint64_t large_in_ = 0, large_out_ = 0;
  bool large_skipped_ = false;
  std::uint64_t journal_start_ = 0;
  std::string journal_;  // ends at state_.out_frame
  std::uint64_t acked_ = 0;
  std::uint64_t skip_to_ = 0;  // messages of the client up to this number are the application's already
  std::uint64_t skip_bound_ = 0;
};

}  // namespace suture
