// The WebSocket part of a state record (RFC 6455): where the frames of an upgraded connection end in both streams, and
// the messages that an heir may have to finish or to hand over once more.
//
//   out:  ... out_frame | [ a frame longer than the limit, under way ] out_frame_end ...
//   in:   ... [ frames of a message under way ] in_frame [ the beginning of the next frame ] in_known
//             |<--------------------- HttpState::pending ---------------------------------->|
//
// Frames to the client are sent whole, as far as they fit into the limit: Exchange::journal then ends with a frame.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>

namespace suture {

struct WebSocketState {
  std::string session;      // of Suture-Resume; empty: the application has not opted in
  std::string subprotocol;  // as the application's 101 said; with `extensions`, what a new one must say again
  std::string extensions;
  // Data messages (text, binary) whose last frame ends at or below in_frame, out_frame.
  std::uint64_t received = 0;       // from the client, passed to the application
  std::uint64_t delivered = 0;      // to the client
  std::uint64_t in_frame = 0;       // `in` offset: end of the last complete frame
  std::uint64_t out_frame = 0;      // `out` offset: end of the last complete frame
  std::uint64_t out_frame_end = 0;  // of the frame that is under way; out_frame: none is
  bool in_fragmented = false;       // at in_frame: in the middle of a fragmented message
  bool out_fragmented = false;      // the same at out_frame
  bool in_close = false;            // a Close frame has passed
  bool out_close = false;
  // The last messages from the client, oldest first, all frames of each as it sent them (masked), without control
  // frames; the newest is message number `received`.
  std::deque<std::shared_ptr<const std::string>> messages;
  std::string ping;  // the client's last Ping, as it sent it, while the application has not answered it

  static constexpr std::size_t kMessagesMax = 16;
};

inline std::size_t content_bytes(const WebSocketState& websocket) {
  std::size_t bytes = websocket.ping.size();
  for (const auto& message : websocket.messages) bytes += message->size();
  return bytes;
}

}  // namespace suture
