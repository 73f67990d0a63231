// A chunked body of anybody's (forwarding.hpp). The first byte says where it is cut.
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "forwarding.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  const auto wrong = suture::fuzz::check_chunked(bytes, bytes.size() * data[0] / 255);
  if (wrong.empty()) return 0;
  std::fprintf(stderr, "%s\n", wrong.c_str());
  std::abort();
}
