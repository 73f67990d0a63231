#include <gtest/gtest.h>
#include <proxy/client/heal_reasons.hpp>
#include <proxy/client/websocket_handshake.hpp>

namespace suture {
namespace {

// RFC 6455 section 1.3's example.
const std::string kKey = "dGhlIHNhbXBsZSBub25jZQ==";
const std::string kAccept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
const std::string kRequest =
    "GET /chat HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: " +
    kKey + "\r\n\r\n";

std::string with(std::string text, const std::string& from, const std::string& to) {
  const auto at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}
std::string answer(const std::string& more) {
  return "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " +
         kAccept + "\r\n" + more + "\r\n";
}
std::optional<WebSocketTerms> agreed(const std::string& request, const std::string& response) {
  RequestHead r;
  ResponseHead a;
  EXPECT_FALSE(parse_request_head(request, r));
  EXPECT_FALSE(parse_response_head(response, "GET", a));
  return websocket_agreed(r, a);
}

TEST(WebSocketHandshake, AcceptIsTheRfcsExample) {
  EXPECT_EQ(websocket_accept_of(kKey), kAccept);
}

TEST(WebSocketHandshake, RequestAnd101Agree) {
  const auto terms = agreed(kRequest, answer(""));
  ASSERT_TRUE(terms);
  EXPECT_EQ(terms->subprotocol, "");
  EXPECT_EQ(terms->extensions, "");
  EXPECT_EQ(terms->extensions_changed, "");
  EXPECT_FALSE(terms->resumable);
  EXPECT_EQ(agreed(kRequest, answer("Sec-WebSocket-Protocol: chat\r\n"))->subprotocol, "chat");
  EXPECT_TRUE(agreed(kRequest, answer("Suture-Resume: 1\r\n"))->resumable);
  EXPECT_FALSE(agreed(kRequest, answer("Suture-Resume: 0\r\n"))->resumable);
  EXPECT_FALSE(agreed(kRequest, answer("Suture-Resume: 1\r\nSuture-Resume: 1\r\n"))->resumable);
}

TEST(WebSocketHandshake, WhatIsNoWebSocket) {
  EXPECT_FALSE(agreed(with(kRequest, "GET", "POST"), answer("")));
  EXPECT_FALSE(agreed(with(kRequest, "Upgrade: websocket", "Upgrade: h2c"), answer("")));
  EXPECT_FALSE(agreed(with(kRequest, "Version: 13", "Version: 8"), answer("")));
  EXPECT_FALSE(agreed(with(kRequest, "Sec-WebSocket-Key: " + kKey + "\r\n", ""), answer("")));
  EXPECT_FALSE(agreed(with(kRequest, "Connection: Upgrade", "Connection: close"), answer("")));
  EXPECT_FALSE(agreed(kRequest, with(answer(""), kAccept, "AAAAAAAAAAAAAAAAAAAAAAAAAAA=")));
  EXPECT_FALSE(agreed(kRequest, with(answer(""), "Upgrade: WebSocket", "Upgrade: other")));
  EXPECT_FALSE(agreed(kRequest, "HTTP/1.1 200 OK\r\n\r\n"));
  EXPECT_FALSE(agreed(kRequest, answer("Sec-WebSocket-Protocol: a\r\nSec-WebSocket-Protocol: b\r\n")));
}

TEST(WebSocketHandshake, Extensions) {
  const auto terms = [](const std::string& value) {
    return agreed(kRequest, answer("Sec-WebSocket-Extensions: " + value + "\r\n"));
  };
  EXPECT_EQ(terms("permessage-deflate")->extensions, "permessage-deflate");
  EXPECT_EQ(terms("permessage-deflate")->extensions_changed, "permessage-deflate; client_no_context_takeover");
  EXPECT_EQ(terms("permessage-deflate; server_max_window_bits=10")->extensions_changed,
            "permessage-deflate; server_max_window_bits=10; client_no_context_takeover");
  EXPECT_EQ(terms("permessage-deflate; client_no_context_takeover")->extensions_changed, "");
  EXPECT_FALSE(terms("x-webkit-deflate-frame"));
  EXPECT_FALSE(terms("permessage-deflate, mux"));
  EXPECT_FALSE(terms("permessage-deflate; a=\"b, c\""));
  EXPECT_FALSE(
      agreed(kRequest, answer("Sec-WebSocket-Extensions: permessage-deflate\r\nSec-WebSocket-Extensions: x\r\n")));
  EXPECT_FALSE(terms("permessage-deflate; a=" + std::string(1100, 'x')));
}

TEST(WebSocketHandshake, RandomsDiffer) {
  EXPECT_EQ(make_websocket_key().size(), 24U);
  EXPECT_NE(make_websocket_key(), make_websocket_key());
  EXPECT_EQ(make_websocket_session().size(), 32U);
  EXPECT_EQ(make_websocket_session().find_first_not_of("0123456789abcdef"), std::string::npos);
  EXPECT_NE(make_websocket_session(), make_websocket_session());
}

TEST(WebSocketHandshake, TheAnswerToResume) {
  WebSocketState state;
  state.session = "5e5510";
  state.subprotocol = "chat";
  state.extensions = "permessage-deflate";
  state.received = 7;
  state.delivered = 9;
  EXPECT_EQ(websocket_resume_request(state), "5e5510; received=7; delivered=9");
  const std::string good = answer(
      "Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Extensions: permessage-deflate\r\n"
      "Suture-Resume: 5e5510; received=6\r\n");
  struct Row {
    const char* why;
    std::string response;
    const char* reason;
  };
  for (const Row& row : std::vector<Row>{
           {"good", good, nullptr},
           {"no 101", "HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n", heal_reason::resume_refused},
           {"no Suture-Resume", with(good, "Suture-Resume", "Other"), heal_reason::resume_refused},
           {"another key's", with(good, kAccept, "AAAAAAAAAAAAAAAAAAAAAAAAAAA="), heal_reason::resume_mismatch},
           {"another protocol", with(good, "Upgrade: WebSocket", "Upgrade: h2c"), heal_reason::resume_mismatch},
           {"another subprotocol", with(good, ": chat", ": talk"), heal_reason::resume_mismatch},
           {"no subprotocol", with(good, "Sec-WebSocket-Protocol: chat\r\n", ""), heal_reason::resume_mismatch},
           {"other extensions", with(good, "-deflate", "-deflate; client_max_window_bits=9"),
            heal_reason::resume_mismatch},
           {"another session", with(good, "5e5510", "5e5511"), heal_reason::resume_mismatch},
           {"no count", with(good, "; received=6", ""), heal_reason::resume_mismatch},
           {"a sign", with(good, "=6", "=-6"), heal_reason::resume_mismatch},
           {"an empty count", with(good, "=6", "="), heal_reason::resume_mismatch},
           {"more than a count", with(good, "=6", "=6; x"), heal_reason::resume_mismatch},
           {"too large a count", with(good, "=6", "=99999999999999999999"), heal_reason::resume_mismatch},
           {"opting in anew", with(good, "5e5510; received=6", "1"), heal_reason::resume_mismatch},
       }) {
    ResponseHead head;
    ASSERT_FALSE(parse_response_head(row.response, "GET", head)) << row.why;
    const char* why = "";
    const auto received = websocket_resumed(head, kKey, state, why);
    ASSERT_EQ(received.has_value(), row.reason == nullptr) << row.why;
    if (received)
      EXPECT_EQ(*received, 6U);
    else
      EXPECT_STREQ(why, row.reason) << row.why;
  }
}

}  // namespace
}  // namespace suture
