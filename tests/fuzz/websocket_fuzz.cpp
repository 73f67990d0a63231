// libFuzzer: clang++ -std=c++20 -fsanitize=fuzzer,address over the WebSocket relay. The first byte chooses the
// direction and how the bytes are split. With g++ the mutation test drives it over a seeded corpus.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>

#include <proxy/client/websocket_relay.hpp>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace suture;
  if (size < 2) return 0;
  const unsigned how = data[0];
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  WebSocketState terms;
  if (how & 2) terms.session = "s";
  if (how & 4) terms.extensions = "permessage-deflate";
  const auto run = [&](std::size_t step) {
    WebSocketRelay relay(terms, 100, 50, "");
    std::string passed;
    for (std::size_t at = 0; at < bytes.size(); at += step) {
      const auto part = bytes.substr(at, step);
      const auto got = (how & 1) ? relay.from_client(part) : relay.from_application(part);
      passed += got.bytes;
      if (got.broken) return passed.append(bytes.substr(std::min(at + step, bytes.size())));
      if (got.contradiction) abort();
    }
    // A record of any moment can be taken over.
    HttpState http;
    relay.describe(http);
    WebSocketRelay heir(http, 100 + bytes.size(), relay.state().out_frame);
    if (heir.state().received != relay.state().received) abort();
    return passed.append((how & 1) ? relay.release_from_client() : relay.release_from_application());
  };
  const std::string whole = run(bytes.size());
  if (whole != run(1 + (how >> 3))) abort();
  // Everything is passed on, but for Pongs to our own Pings.
  if (whole.size() > bytes.size() || (whole.size() == bytes.size() && whole != bytes)) abort();
  return 0;
}
