#include <proxy/client/websocket_frames.hpp>

namespace suture {
namespace {

constexpr unsigned kFin = 0x80, kRsv1 = 0x40, kRsvOthers = 0x30, kOpcode = 0x0f;
constexpr unsigned kMask = 0x80, kLength = 0x7f;
constexpr std::uint64_t kControlPayloadMax = 125;

std::uint8_t at(std::string_view bytes, std::size_t i) {
  return static_cast<std::uint8_t>(bytes[i]);
}

std::uint64_t big_endian(std::string_view bytes) {
  std::uint64_t n = 0;
  for (const char c : bytes) n = n << 8 | static_cast<std::uint8_t>(c);
  return n;
}

bool known(unsigned opcode) {
  return opcode <= 2 || (opcode >= 8 && opcode <= 10);
}

// Section 7.4: what may stand in a frame, as opposed to what an API may report.
bool valid_close_code(std::uint64_t code) {
  if (code < 1000 || code >= 5000) return false;
  return code != 1004 && code != 1005 && code != 1006 && code != 1015;
}

}  // namespace

WebSocketFrames::Next WebSocketFrames::next(std::string_view bytes) const {
  const auto broken = [](const char* rule) { return Next{std::nullopt, rule}; };
  if (bytes.empty()) return {};
  const unsigned first = at(bytes, 0), opcode = first & kOpcode;
  WebSocketFrame frame;
  if (!known(opcode)) return broken("an opcode that is not defined (5.2)");
  frame.opcode = static_cast<WebSocketOpcode>(opcode);
  frame.fin = (first & kFin) != 0;
  const bool control = frame.control(), begins = !control && frame.opcode != WebSocketOpcode::continuation;
  if ((first & kRsvOthers) != 0 || ((first & kRsv1) != 0 && !(deflate_ && begins)))
    return broken("a reserved bit without an extension that uses it (5.2)");
  if (control && !frame.fin) return broken("a fragmented control frame (5.4)");
  if (!control && closed_) return broken("data behind a Close frame (5.5.1)");
  if (begins && fragmented_) return broken("a message inside a fragmented one (5.4)");
  if (!control && !begins && !fragmented_) return broken("a continuation of nothing (5.4)");
  if (bytes.size() < 2) return {};

  const unsigned second = at(bytes, 1), length = second & kLength;
  frame.masked = (second & kMask) != 0;
  if (frame.masked != (sender_ == WebSocketSender::client))
    return broken("masked by a server, or not by a client (5.1)");
  if (control && length > kControlPayloadMax) return broken("a control frame longer than 125 bytes (5.5)");
  const std::size_t extended = length == 127 ? 8 : length == 126 ? 2 : 0;
  frame.header_bytes = 2 + extended + (frame.masked ? 4 : 0);
  frame.payload_bytes = length;
  if (bytes.size() < frame.header_bytes) return {};
  if (extended != 0) {
    frame.payload_bytes = big_endian(bytes.substr(2, extended));
    if (frame.payload_bytes < (extended == 2 ? 126U : 65536U)) return broken("a length not in its shortest form (5.2)");
    if (frame.payload_bytes >> 63 != 0) return broken("a length with its highest bit set (5.2)");
  }
  if (frame.masked)
    for (std::size_t i = 0; i < 4; ++i) frame.mask[i] = at(bytes, 2 + extended + i);
  return {frame, nullptr};
}

const char* WebSocketFrames::check(const WebSocketFrame& frame, std::string_view whole) {
  if (frame.opcode != WebSocketOpcode::close || frame.payload_bytes == 0) return nullptr;
  if (frame.payload_bytes == 1) return "a Close frame with half a code (5.5.1)";
  const std::string payload = websocket_payload(frame, whole);
  if (!valid_close_code(big_endian(std::string_view(payload).substr(0, 2))))
    return "a Close code not for the wire (7.4)";
  return nullptr;
}

void WebSocketFrames::accept(const WebSocketFrame& frame) {
  if (frame.opcode == WebSocketOpcode::close) closed_ = true;
  if (!frame.control()) fragmented_ = !frame.fin;
}

std::string websocket_payload(const WebSocketFrame& frame, std::string_view whole) {
  std::string payload(whole.substr(frame.header_bytes, static_cast<std::size_t>(frame.payload_bytes)));
  if (!frame.masked) return payload;
  for (std::size_t i = 0; i < payload.size(); ++i)
    payload[i] = static_cast<char>(static_cast<std::uint8_t>(payload[i]) ^ frame.mask[i % 4]);
  return payload;
}

std::string websocket_control_frame(WebSocketOpcode opcode, std::string_view payload) {
  std::string frame;
  frame.push_back(static_cast<char>(kFin | static_cast<unsigned>(opcode)));
  frame.push_back(static_cast<char>(payload.size()));
  return frame.append(payload);
}

std::string websocket_close_frame(std::uint16_t code) {
  std::string payload;
  payload.push_back(static_cast<char>(code >> 8));
  payload.push_back(static_cast<char>(code & 0xff));
  return websocket_control_frame(WebSocketOpcode::close, payload);
}

}  // namespace suture
