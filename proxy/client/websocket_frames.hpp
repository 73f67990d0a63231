// Frames of a WebSocket connection (RFC 6455 section 5.2), one direction each:
//
//   | FIN RSV1-3 opcode | MASK length | length, 0, 2 or 8 bytes | masking key, 0 or 4 | payload ... |
//   |<------------------------------- header_bytes --------------------------------->|
//
// Nothing is repaired: what breaks a rule is reported with its section, and what becomes of it is the caller's affair.
// Payload is looked at only in Close frames; whether text is UTF-8 is for its reader (it may be compressed).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace suture {

enum class WebSocketSender : std::uint8_t { client, application };  // clients mask, servers do not (section 5.1)

enum class WebSocketOpcode : std::uint8_t { continuation = 0, text = 1, binary = 2, close = 8, ping = 9, pong = 10 };

struct WebSocketFrame {
  WebSocketOpcode opcode = WebSocketOpcode::continuation;
  bool fin = false;
  bool masked = false;
  std::array<std::uint8_t, 4> mask{};
  std::size_t header_bytes = 0;
  std::uint64_t payload_bytes = 0;

  bool control() const { return (static_cast<unsigned>(opcode) & 8U) != 0; }
  std::uint64_t bytes() const { return header_bytes + payload_bytes; }
};

// Call order: next() on the bytes from a frame's beginning on, until it has a frame; for a control frame, check() once
// it is whole; then accept(). The rules between frames (fragments, nothing behind a Close) are kept here.
class WebSocketFrames {
 public:
  // `deflate`: permessage-deflate was agreed, which uses RSV1 (RFC 7692 section 6).
  WebSocketFrames(WebSocketSender sender, bool deflate) : sender_(sender), deflate_(deflate) {}

  struct Next {
    std::optional<WebSocketFrame> frame;
    const char* broken = nullptr;  // which rule; static. Neither: more bytes are needed
  };
  Next next(std::string_view bytes) const;
  // nullptr, or which rule the whole frame breaks.
  static const char* check(const WebSocketFrame& frame, std::string_view whole);
  void accept(const WebSocketFrame& frame);

  bool fragmented() const { return fragmented_; }  // in the middle of a fragmented message
  bool closed() const { return closed_; }          // a Close frame has passed
  // Of a connection that another node began.
  void restore(bool fragmented, bool closed) {
    fragmented_ = fragmented;
    closed_ = closed;
  }

 private:
  WebSocketSender sender_;
  bool deflate_;
  bool fragmented_ = false;
  bool closed_ = false;
};

// Payload of a whole frame, unmasked.
std::string websocket_payload(const WebSocketFrame& frame, std::string_view whole);

// Control frames as a server sends them. `payload`: at most 125 bytes.
std::string websocket_control_frame(WebSocketOpcode opcode, std::string_view payload);
// `code`: section 7.4.1 and its registry.
std::string websocket_close_frame(std::uint16_t code);

inline constexpr std::uint16_t kWebSocketServiceRestart = 1012;  // IANA registry: clients reconnect

}  // namespace suture
