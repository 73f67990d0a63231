// The codec's part for HttpState and its exchanges. Internal to statesync (codec.hpp is the contract).
#pragma once

#include <statesync/codec.hpp>

namespace suture::statesync::v1 {
class BodyTrack;
class Http;
class WebSocket;
}  // namespace suture::statesync::v1

namespace suture::statesync {

Error bad(const char* what);  // "bad message: what"

// What decode_http() would take, the answered exchanges aside: no message that ends before it starts, status <= 999.
bool consistent(const Exchange& exchange);
bool consistent(const BodyTrack& track);
bool consistent(const WebSocketState& websocket);

// What may still be put into one record.
class ContentBudget {
 public:
  bool take(std::size_t bytes) {
    if (bytes > left_) return false;
    left_ -= bytes;
    return true;
  }

 private:
  std::size_t left_ = kContentBytesMax;
};

void encode_http(const HttpState& http, v1::Http& out);  // `http` is consistent
Result<HttpState> decode_http(const v1::Http& in);

// codec_content.cpp
void encode_body(const BodyTrack& track, v1::BodyTrack& out);
Result<BodyTrack> decode_body(const v1::BodyTrack& in, ContentBudget& budget);
void encode_websocket(const WebSocketState& websocket, v1::WebSocket& out);
Result<WebSocketState> decode_websocket(const v1::WebSocket& in, ContentBudget& budget);

}  // namespace suture::statesync
