// libFuzzer: clang++ -std=c++20 -fsanitize=fuzzer,address over the head parser and the body reader; the corpus may
// start from tests/unit/client/mutation_test.cpp's seeds. The first byte chooses request or response.
#include <cstdint>
#include <cstdlib>
#include <string>

#include <proxy/client/body_reader.hpp>
#include <proxy/client/head_rewriter.hpp>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace suture;
  if (size < 2) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  HeadScanner scanner;
  if (scanner.scan(bytes) != HeadScanner::Status::complete) return 0;
  const std::string_view head = bytes.substr(0, scanner.head_bytes());
  const std::string_view rest = bytes.substr(scanner.head_bytes());
  std::string out;
  if (data[0] & 1) {
    RequestHead request, again;
    if (parse_request_head(head, request)) return 0;
    write_request_head(request, {"192.0.2.1", "v", "p", "id"}, out);
    if (parse_request_head(out, again) || again.framing != request.framing || again.length != request.length) abort();
    BodyReader body(request.framing, request.length);
    if (body.feed(rest, &out) > rest.size()) abort();
  } else {
    ResponseHead response;
    if (parse_response_head(head, "GET", response)) return 0;
    write_response_head(response, {}, "p", out);
    BodyReader body(response.framing, response.length);
    if (body.feed(rest, &out) > rest.size()) abort();
  }
  return 0;
}
