// XXH3, 128 bits, of content as it passes: what a BodyMark says of a body's beginning. Not a defence against forgers:
// both ends are the operator's own applications (docs/security.md).
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string_view>

namespace suture {

class ContentDigest {
 public:
  ContentDigest();
  ContentDigest(const ContentDigest& other);
  ContentDigest& operator=(const ContentDigest& other);
  ContentDigest(ContentDigest&& other) noexcept;
  ContentDigest& operator=(ContentDigest&& other) noexcept;
  ~ContentDigest();

  void update(std::string_view content);
  std::array<std::uint8_t, 16> value() const;  // of everything so far, canonical form

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// XXH3, 128 bits, of bytes that are all there.
std::array<std::uint8_t, 16> hash128(std::string_view bytes);
// XXH3, 64 bits.
std::uint64_t hash64(std::string_view bytes);

}  // namespace suture
