// RFC 6455 section 5, rule by rule.
#include <gtest/gtest.h>
#include <proxy/client/websocket_frames.hpp>

#include "websocket_bytes.hpp"

namespace suture::test {
namespace {

// The frames as the reader takes them apart, given all at once; what was broken, if anything.
struct Taken {
  std::vector<WebSocketFrame> frames;
  const char* broken = nullptr;
};
Taken take_all(WebSocketFrames& reader, std::string_view bytes) {
  Taken taken;
  while (!taken.broken && !bytes.empty()) {
    const auto next = reader.next(bytes);
    taken.broken = next.broken;
    if (!next.frame || next.frame->bytes() > bytes.size()) break;
    const auto whole = bytes.substr(0, static_cast<std::size_t>(next.frame->bytes()));
    taken.broken = WebSocketFrames::check(*next.frame, whole);
    if (taken.broken) break;
    reader.accept(*next.frame);
    taken.frames.push_back(*next.frame);
    bytes.remove_prefix(whole.size());
  }
  return taken;
}

TEST(WebSocketFrames, HeadersAtEverySplit) {
  for (const std::size_t n : {0U, 1U, 125U, 126U, 127U, 65535U, 65536U, 70000U})
    for (const bool masked : {false, true}) {
      const std::string bytes = frame(0x80 | kBinary, std::string(n, 'x'), masked);
      const WebSocketFrames reader(masked ? WebSocketSender::client : WebSocketSender::application, false);
      const std::size_t head = bytes.size() - n;
      for (std::size_t split = 0; split < head; ++split) {
        const auto part = reader.next(std::string_view(bytes).substr(0, split));
        EXPECT_FALSE(part.frame || part.broken) << n << " split at " << split;
      }
      const auto whole = reader.next(std::string_view(bytes).substr(0, head));
      ASSERT_TRUE(whole.frame) << whole.broken;
      EXPECT_EQ(whole.frame->header_bytes, head);
      EXPECT_EQ(whole.frame->payload_bytes, n);
      EXPECT_EQ(whole.frame->masked, masked);
      EXPECT_EQ(websocket_payload(*whole.frame, bytes), std::string(n, 'x'));
    }
}

TEST(WebSocketFrames, AMessageInFragmentsWithControlFramesBetween) {
  WebSocketFrames reader(WebSocketSender::client, false);
  const auto taken = take_all(reader, from_client(kText, "a", 0) + from_client(kPing, "p") +
                                          from_client(kMore, "b", 0) + from_client(kPong, "") + from_client(kMore, ""));
  EXPECT_EQ(taken.broken, nullptr);
  EXPECT_EQ(taken.frames.size(), 5U);
  EXPECT_FALSE(reader.fragmented());
  take_all(reader, from_client(kBinary, "c", 0));
  EXPECT_TRUE(reader.fragmented());
}

struct Rule {
  const char* why;
  std::string bytes;
  bool broken = true;
  bool deflate = false;
  WebSocketSender sender = WebSocketSender::application;
};

TEST(WebSocketFrames, WhatBreaksARuleIsReported) {
  const auto app = [](unsigned first, std::string_view payload) { return frame(first, payload, false); };
  std::string not_shortest16, not_shortest64, highest_bit;
  not_shortest16 = std::string("\x82\x7e\x00\x7d", 4) + std::string(125, 'x');
  not_shortest64 = std::string("\x82\x7f\x00\x00\x00\x00\x00\x00\xff\xff", 10);
  highest_bit = std::string("\x82\x7f\x80\x00\x00\x00\x00\x01\x00\x00", 10);
  const std::vector<Rule> rules{
      {"a text", app(0x81, "x"), false},
      {"opcode 3", app(0x83, "")},
      {"opcode 7", app(0x87, "")},
      {"opcode 11", app(0x8b, "")},
      {"opcode 15", app(0x8f, "")},
      {"RSV1 without an extension", app(0xc1, "x")},
      {"RSV1 with permessage-deflate", app(0xc1, "x"), false, true},
      {"RSV1 on a continuation", app(0x01, "x") + app(0xc0, "x"), true, true},
      {"RSV1 on a control frame", app(0xc9, "x"), true, true},
      {"RSV2", app(0xa1, "x"), true, true},
      {"RSV3", app(0x91, "x"), true, true},
      {"masked by a server", from_client(kText, "x")},
      {"not masked by a client", from_application(kText, "x"), true, false, WebSocketSender::client},
      {"masked by a client", from_client(kText, "x"), false, false, WebSocketSender::client},
      {"a fragmented Ping", app(0x09, "")},
      {"a fragmented Close", app(0x08, "")},
      {"125 bytes of Ping", app(0x89, std::string(125, 'p')), false},
      {"126 bytes of Ping", app(0x89, std::string(126, 'p'))},
      {"a continuation of nothing", app(0x80, "x")},
      {"a continuation behind a whole message", app(0x81, "x") + app(0x80, "x")},
      {"a message inside a message", app(0x01, "x") + app(0x82, "x")},
      {"125 bytes as a 16-bit length", not_shortest16},
      {"65535 bytes as a 64-bit length", not_shortest64},
      {"a length with its highest bit set", highest_bit},
      {"a Close without a code", app(0x88, ""), false},
      {"a Close with half a code", app(0x88, "x")},
      {"Close 999", app(0x88, close_of(999))},
      {"Close 1000", app(0x88, close_of(1000)), false},
      {"Close 1005, 'no status'", app(0x88, close_of(1005))},
      {"Close 1006, 'abnormal'", app(0x88, close_of(1006))},
      {"Close 1012", app(0x88, close_of(1012)), false},
      {"Close 1015, 'TLS'", app(0x88, close_of(1015))},
      {"Close 4999", app(0x88, close_of(4999)), false},
      {"Close 5000", app(0x88, close_of(5000))},
      {"a client's masked Close 1000", from_client(kCloseFrame, close_of(1000)), false, false, WebSocketSender::client},
      {"data behind a Close", app(0x88, "") + app(0x81, "x")},
      {"a Pong behind a Close", app(0x88, "") + app(0x8a, "x"), false},
  };
  for (const Rule& rule : rules) {
    WebSocketFrames reader(rule.sender, rule.deflate);
    const auto taken = take_all(reader, rule.bytes);
    EXPECT_EQ(taken.broken != nullptr, rule.broken) << rule.why << ": " << (taken.broken ? taken.broken : "fine");
  }
}

// What is broken is known with the byte that breaks it, not only at the frame's end.
TEST(WebSocketFrames, TheFirstBytesDecide) {
  const WebSocketFrames reader(WebSocketSender::application, false);
  EXPECT_TRUE(reader.next("\xc1").broken);
  EXPECT_TRUE(reader.next("\x81\x81").broken);
  EXPECT_TRUE(reader.next("\x89\x7e").broken);
}

TEST(WebSocketFrames, OwnControlFrames) {
  EXPECT_EQ(websocket_control_frame(WebSocketOpcode::ping, "hi"), from_application(kPing, "hi"));
  EXPECT_EQ(websocket_close_frame(1012), from_application(kCloseFrame, close_of(1012)));
}

}  // namespace
}  // namespace suture::test
