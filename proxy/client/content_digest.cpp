#include <proxy/client/content_digest.hpp>

#include <cstring>

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace suture {
namespace {

std::array<std::uint8_t, 16> canonical_of(XXH128_hash_t hash) {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, hash);
  std::array<std::uint8_t, 16> out;
  static_assert(sizeof canonical.digest == sizeof out);
  std::memcpy(out.data(), canonical.digest, sizeof out);
  return out;
}

}  // namespace

struct ContentDigest::State {
  XXH3_state_t hash;
};

ContentDigest::ContentDigest() : state_(std::make_unique<State>()) {
  XXH3_128bits_reset(&state_->hash);
}

ContentDigest::ContentDigest(const ContentDigest& other) : state_(std::make_unique<State>()) {
  XXH3_copyState(&state_->hash, &other.state_->hash);
}

ContentDigest& ContentDigest::operator=(const ContentDigest& other) {
  if (this != &other) *this = ContentDigest(other);
  return *this;
}

ContentDigest::ContentDigest(ContentDigest&& other) noexcept = default;
ContentDigest& ContentDigest::operator=(ContentDigest&& other) noexcept = default;
ContentDigest::~ContentDigest() = default;

void ContentDigest::update(std::string_view content) {
  XXH3_128bits_update(&state_->hash, content.data(), content.size());
}

std::array<std::uint8_t, 16> ContentDigest::value() const {
  return canonical_of(XXH3_128bits_digest(&state_->hash));
}

std::array<std::uint8_t, 16> hash128(std::string_view bytes) {
  return canonical_of(XXH3_128bits(bytes.data(), bytes.size()));
}

std::uint64_t hash64(std::string_view bytes) {
  return XXH3_64bits(bytes.data(), bytes.size());
}

}  // namespace suture
