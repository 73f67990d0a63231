#include <suture/ids.hpp>

#include <cstring>
#include <sstream>

#include <arpa/inet.h>
#include <openssl/rand.h>

bool operator==(const suture_flow_key& a, const suture_flow_key& b) {
  return std::memcmp(&a, &b, sizeof a) == 0;
}
bool operator==(const suture_addr& a, const suture_addr& b) {
  return std::memcmp(&a, &b, sizeof a) == 0;
}

namespace suture {
namespace {

constexpr std::array<unsigned char, 12> kMappedPrefix{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

struct HashSecret {
  std::uint64_t k0 = 0;
  std::uint64_t k1 = 0;
  HashSecret() {
    RAND_bytes(reinterpret_cast<unsigned char*>(&k0), sizeof k0);
    RAND_bytes(reinterpret_cast<unsigned char*>(&k1), sizeof k1);
  }
};

constexpr std::uint64_t rotl(std::uint64_t x, int b) {
  return (x << b) | (x >> (64 - b));
}

// SipHash-1-3 (Aumasson, Bernstein: "SipHash: a fast short-input PRF"), over the 36 bytes of a key.
std::uint64_t siphash13(const HashSecret& secret, const unsigned char* data, std::size_t size) {
  std::uint64_t v0 = 0x736f6d6570736575ULL ^ secret.k0;
  std::uint64_t v1 = 0x646f72616e646f6dULL ^ secret.k1;
  std::uint64_t v2 = 0x6c7967656e657261ULL ^ secret.k0;
  std::uint64_t v3 = 0x7465646279746573ULL ^ secret.k1;
  const auto round = [&] {
    v0 += v1, v1 = rotl(v1, 13), v1 ^= v0, v0 = rotl(v0, 32);
    v2 += v3, v3 = rotl(v3, 16), v3 ^= v2;
    v0 += v3, v3 = rotl(v3, 21), v3 ^= v0;
    v2 += v1, v1 = rotl(v1, 17), v1 ^= v2, v2 = rotl(v2, 32);
  };
  std::size_t i = 0;
  for (; i + 8 <= size; i += 8) {
    std::uint64_t m = 0;
    std::memcpy(&m, data + i, 8);
    v3 ^= m;
    round();
    v0 ^= m;
  }
  std::uint64_t last = static_cast<std::uint64_t>(size) << 56;
  std::memcpy(&last, data + i, size - i);
  v3 ^= last;
  round();
  v0 ^= last;
  v2 ^= 0xff;
  round(), round(), round();
  return v0 ^ v1 ^ v2 ^ v3;
}

}  // namespace

suture_addr to_addr(const boost::asio::ip::address& address) {
  suture_addr out{};
  if (address.is_v4()) {
    std::memcpy(out.b, kMappedPrefix.data(), kMappedPrefix.size());
    const auto bytes = address.to_v4().to_bytes();
    std::memcpy(out.b + kMappedPrefix.size(), bytes.data(), bytes.size());
  } else {
    const auto bytes = address.to_v6().to_bytes();
    std::memcpy(out.b, bytes.data(), bytes.size());
  }
  return out;
}

boost::asio::ip::address from_addr(const suture_addr& addr) {
  if (std::memcmp(addr.b, kMappedPrefix.data(), kMappedPrefix.size()) == 0) {
    boost::asio::ip::address_v4::bytes_type bytes;
    std::memcpy(bytes.data(), addr.b + kMappedPrefix.size(), bytes.size());
    return boost::asio::ip::address_v4(bytes);
  }
  boost::asio::ip::address_v6::bytes_type bytes;
  std::memcpy(bytes.data(), addr.b, bytes.size());
  return boost::asio::ip::address_v6(bytes);
}

suture_flow_key make_flow_key(const boost::asio::ip::tcp::endpoint& client, const boost::asio::ip::tcp::endpoint& vip) {
  return {to_addr(client.address()), to_addr(vip.address()), htons(client.port()), htons(vip.port())};
}

boost::asio::ip::tcp::endpoint client_of(const suture_flow_key& key) {
  return {from_addr(key.client), ntohs(key.client_port)};
}

boost::asio::ip::tcp::endpoint vip_of(const suture_flow_key& key) {
  return {from_addr(key.vip), ntohs(key.vip_port)};
}

std::string to_string(const suture_flow_key& key) {
  std::ostringstream out;
  out << client_of(key) << '>' << vip_of(key);
  return out.str();
}

std::size_t FlowKeyHash::operator()(const suture_flow_key& key) const noexcept {
  static const HashSecret secret;
  static_assert(sizeof(suture_flow_key) == 36);
  return siphash13(secret, reinterpret_cast<const unsigned char*>(&key), sizeof key);
}

}  // namespace suture
