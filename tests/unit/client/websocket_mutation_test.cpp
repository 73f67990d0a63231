// Seeded mutations of frames: the relay never crashes, passes every byte on in order, and never depends on how the
// bytes were split. tests/fuzz/websocket_fuzz.cpp is the same for libFuzzer.
#include <random>

#include <gtest/gtest.h>

#include "../../fuzz/websocket_fuzz.cpp"
#include "websocket_bytes.hpp"

namespace suture::test {
namespace {

TEST(Mutation, WebSocketRelayAgreesWithItself) {
  std::mt19937 random(20261121);
  std::vector<std::string> seeds;
  for (const bool masked : {false, true}) {
    std::string talk;
    for (const auto& [first, n] : std::vector<std::pair<unsigned, std::size_t>>{
             {0x81, 5}, {0x01, 3}, {0x89, 4}, {0x00, 130}, {0x80, 0}, {0xc2, 9}, {0x8a, 0}, {0x88, 0}})
      talk += frame(first, std::string(n, 'x'), masked);
    seeds.push_back(talk);
    seeds.push_back(frame(0x82, std::string(66000, 'y'), masked) + frame(0x81, "z", masked));
  }
  for (int round = 0; round < 4000; ++round) {
    std::string bytes(1, static_cast<char>(random()));
    bytes += seeds[random() % seeds.size()];
    for (unsigned n = random() % 4; n-- > 0;) {
      const std::size_t at = random() % std::min<std::size_t>(bytes.size(), 250);
      if (random() % 2 == 0)
        bytes[at] = static_cast<char>(random());
      else
        bytes.erase(at, 1 + random() % 3);
    }
    LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
  }
}

}  // namespace
}  // namespace suture::test
