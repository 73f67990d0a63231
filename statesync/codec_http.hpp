// The codec's part for HttpState and its exchanges. Internal to statesync (codec.hpp is the contract).
#pragma once

#include <statesync/codec.hpp>

namespace suture::statesync::v1 {
class Http;
}

namespace suture::statesync {

Error bad(const char* what);  // "bad message: what"

// What decode_http() would take, the answered exchanges aside: no message that ends before it starts, status <= 999.
bool consistent(const Exchange& exchange);

void encode_http(const HttpState& http, v1::Http& out);  // `http` is consistent
Result<HttpState> decode_http(const v1::Http& in);

}  // namespace suture::statesync
