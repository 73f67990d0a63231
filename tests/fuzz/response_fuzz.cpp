// Whatever an application may answer (forwarding.hpp).
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "forwarding.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto wrong = suture::fuzz::check_responses({reinterpret_cast<const char*>(data), size});
  if (wrong.empty()) return 0;
  std::fprintf(stderr, "%s\n", wrong.c_str());
  std::abort();
}
