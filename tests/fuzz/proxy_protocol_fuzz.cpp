// libFuzzer: clang++ -std=c++20 -fsanitize=fuzzer,address over the PROXY protocol's parser; the corpus may start from
// the rows of tests/unit/client/proxy_protocol_test.cpp. A header is whole with its last byte and not before, and what
// it says can be said again.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include <proxy/client/proxy_protocol.hpp>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace suture::proxy_protocol;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const Parsed parsed = parse(bytes);
  const auto* header = std::get_if<Header>(&parsed);
  if (!header) return 0;
  if (header->bytes == 0 || header->bytes > bytes.size()) abort();
  if (!std::holds_alternative<NeedMore>(parse(bytes.substr(0, header->bytes - 1)))) abort();
  if (!std::holds_alternative<Header>(parse(bytes.substr(0, header->bytes)))) abort();
  if (header->local) return 0;
  for (const auto& built :
       {build_v1(header->source, header->destination), build_v2(header->source, header->destination)}) {
    const Parsed said = parse(built);
    const auto* again = std::get_if<Header>(&said);
    if (!again || again->bytes != built.size()) abort();
    if (again->source != header->source || again->destination != header->destination) abort();
  }
  return 0;
}
