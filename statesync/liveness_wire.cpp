#include <statesync/liveness_wire.hpp>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

namespace suture::statesync {
namespace {

template <class Int>
void put(DatagramBytes& out, Int value) {
  for (int shift = static_cast<int>(sizeof(Int) - 1) * 8; shift >= 0; shift -= 8) {
    out.push_back(static_cast<std::uint8_t>(value >> shift));
  }
}

template <class Int>
Int take(std::span<const std::uint8_t>& in) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < sizeof(Int); ++i) value = value << 8 | in[i];
  in = in.subspan(sizeof(Int));
  return static_cast<Int>(value);
}

constexpr std::size_t kNodeSetBytes = NodeSet().size() / 8;

using Digest = std::array<std::uint8_t, 32>;

Digest hmac(std::span<const std::uint8_t> key, std::span<const std::uint8_t> data) {
  Digest out{};
  unsigned size = 0;
  // Fails only without memory or without SHA-256 in the provider; running on with a constant tag would be worse.
  if (!HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), data.data(), data.size(), out.data(), &size) ||
      size != out.size()) {
    std::abort();
  }
  return out;
}

bool is_answer(DatagramType type) {
  return type != DatagramType::beat;
}

}  // namespace

DatagramBytes encode(const Datagram& d, const LivenessKey& key) {
  DatagramBytes out;
  put<std::uint8_t>(out, kLivenessVersion);
  put<std::uint8_t>(out, static_cast<std::uint8_t>(d.type));
  put<std::uint8_t>(out, static_cast<std::uint8_t>(d.sender));
  put<std::uint8_t>(out, static_cast<std::uint8_t>(d.receiver));
  put<std::uint32_t>(out, d.incarnation);
  put<std::uint64_t>(out, d.seq);
  put<std::uint64_t>(out, d.echo);
  put<std::uint64_t>(out, d.slot_ms);
  put<std::uint64_t>(out, d.monotonic_ms);
  put<std::uint16_t>(out, d.flags);
  put<std::uint16_t>(out, 0);
  put<std::uint64_t>(out, d.delivered_ms);
  for (std::size_t byte = 0; byte < kNodeSetBytes; ++byte) {
    unsigned bits = 0;
    for (std::size_t bit = 0; bit < 8; ++bit) bits |= static_cast<unsigned>(d.hears.test(8 * byte + bit)) << bit;
    put<std::uint8_t>(out, static_cast<std::uint8_t>(bits));
  }
  if (is_answer(d.type)) {
    const auto* bytes = reinterpret_cast<const std::uint8_t*>(&d.key);
    out.insert(out.end(), bytes, bytes + sizeof d.key);
  }
  const auto tag = hmac(key, {out.data(), out.size()});
  out.insert(out.end(), tag.begin(), tag.begin() + kLivenessTagBytes);
  return out;
}

ParseError parse(std::span<const std::uint8_t> in, Datagram& out) {
  if (in.size() < kLivenessHeaderBytes + kLivenessTagBytes) return ParseError::size;
  const std::size_t size = in.size();
  if (take<std::uint8_t>(in) != kLivenessVersion) return ParseError::version;
  const auto type = take<std::uint8_t>(in);
  if (type < static_cast<std::uint8_t>(DatagramType::beat) || type > static_cast<std::uint8_t>(DatagramType::unknown)) {
    return ParseError::type;
  }
  out.type = static_cast<DatagramType>(type);
  if (size != kLivenessHeaderBytes + kLivenessTagBytes + (is_answer(out.type) ? sizeof out.key : 0)) {
    return ParseError::size;
  }
  out.sender = NodeId{take<std::uint8_t>(in)};
  out.receiver = NodeId{take<std::uint8_t>(in)};
  out.incarnation = take<std::uint32_t>(in);
  out.seq = take<std::uint64_t>(in);
  out.echo = take<std::uint64_t>(in);
  out.slot_ms = take<std::uint64_t>(in);
  out.monotonic_ms = take<std::uint64_t>(in);
  out.flags = take<std::uint16_t>(in);
  take<std::uint16_t>(in);
  out.delivered_ms = take<std::uint64_t>(in);
  for (std::size_t byte = 0; byte < kNodeSetBytes; ++byte) {
    const unsigned bits = take<std::uint8_t>(in);
    for (std::size_t bit = 0; bit < 8; ++bit) out.hears.set(8 * byte + bit, (bits >> bit & 1U) != 0);
  }
  out.key = {};
  if (is_answer(out.type)) std::memcpy(&out.key, in.data(), sizeof out.key);
  return ParseError::none;
}

bool authentic(std::span<const std::uint8_t> bytes, const LivenessKey& key) {
  if (bytes.size() < kLivenessTagBytes) return false;
  const auto body = bytes.first(bytes.size() - kLivenessTagBytes);
  const auto tag = hmac(key, body);
  return CRYPTO_memcmp(tag.data(), bytes.data() + body.size(), kLivenessTagBytes) == 0;
}

LivenessKey derive_key(NodeId a, Incarnation a_incarnation, const LivenessKey& a_key, NodeId b,
                       Incarnation b_incarnation, const LivenessKey& b_key) {
  if (to_int(b) < to_int(a)) return derive_key(b, b_incarnation, b_key, a, a_incarnation, a_key);
  // Extract, then one block of expand: the output is as long as the hash (RFC 5869 section 2).
  std::array<std::uint8_t, 64> material{};
  std::copy(a_key.begin(), a_key.end(), material.begin());
  std::copy(b_key.begin(), b_key.end(), material.begin() + 32);
  static constexpr std::string_view kSalt = "suture liveness v1";
  const auto prk = hmac({reinterpret_cast<const std::uint8_t*>(kSalt.data()), kSalt.size()}, material);
  OPENSSL_cleanse(material.data(), material.size());
  DatagramBytes info;
  put<std::uint8_t>(info, static_cast<std::uint8_t>(a));
  put<std::uint32_t>(info, a_incarnation);
  put<std::uint8_t>(info, static_cast<std::uint8_t>(b));
  put<std::uint32_t>(info, b_incarnation);
  put<std::uint8_t>(info, 1);
  return hmac(prk, {info.data(), info.size()});
}

LivenessKey hello_key(const LivenessKey& secret, NodeId peer) {
  DatagramBytes label;
  for (const char c : std::string_view("suture liveness peer")) put<std::uint8_t>(label, static_cast<std::uint8_t>(c));
  put<std::uint8_t>(label, static_cast<std::uint8_t>(peer));
  return hmac(secret, {label.data(), label.size()});
}

LivenessKey random_key() {
  LivenessKey key{};
  if (RAND_bytes(key.data(), static_cast<int>(key.size())) != 1) std::abort();
  return key;
}

}  // namespace suture::statesync
