// The opening handshake of a WebSocket (RFC 6455 section 4) as a proxy between two ends sees it, and the headers with
// which an application lets an heir go on with its sessions (docs/websocket.md).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <proxy/client/http_head.hpp>
#include <statesync/websocket_state.hpp>

namespace suture {

// Version 13, with a key: what an upgrade to "websocket" must be.
bool asks_for_websocket(const RequestHead& request);

struct WebSocketTerms {
  std::string subprotocol;         // as the application chose; empty: none
  std::string extensions;          // as the application said; empty: none
  std::string extensions_changed;  // what the client is told instead; empty: the same
  bool resumable = false;          // Suture-Resume: 1
};
// What the two ends have agreed on. nullopt: no WebSocket, or with an extension other than permessage-deflate, which
// may redefine what frames are (section 9): its bytes can only be passed on.
std::optional<WebSocketTerms> websocket_agreed(const RequestHead& request, const ResponseHead& response);

std::string make_websocket_key();                       // section 4.1: 16 random bytes, base64
std::string websocket_accept_of(std::string_view key);  // section 4.2.2
std::string make_websocket_session();                   // 128 random bits, hexadecimal: not to be guessed

// Suture-Resume of a request: "SESSION; received=N; delivered=M".
std::string websocket_resume_request(const WebSocketState& state);
// An application's answer to it, sent with `key`: how many messages of the client it has. nullopt: `why` says why not
// (heal_reasons.hpp).
std::optional<std::uint64_t> websocket_resumed(const ResponseHead& response, std::string_view key,
                                               const WebSocketState& state, const char*& why);

}  // namespace suture
