#include <proxy/client/client_counts.hpp>

#include <algorithm>
#include <cstring>

namespace suture {

ClientCounts::Key ClientCounts::key_of(const boost::asio::ip::address& client, std::uint16_t port) {
  Key key;
  key.port = port;
  key.v6 = client.is_v6();
  if (key.v6) {
    const auto bytes = client.to_v6().to_bytes();
    std::copy_n(bytes.begin(), key.network.size(), key.network.begin());
  } else {
    const auto bytes = client.to_v4().to_bytes();
    std::copy(bytes.begin(), bytes.end(), key.network.begin());
  }
  return key;
}

// splitmix64's finalizer. Clients choose at most their own address.
std::size_t ClientCounts::Hash::operator()(const Key& key) const {
  std::uint64_t z = 0;
  std::memcpy(&z, key.network.data(), sizeof z);
  z ^= (static_cast<std::uint64_t>(key.port) << 1 | (key.v6 ? 1U : 0U)) * 0x9e3779b97f4a7c15ULL;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
  return static_cast<std::size_t>(z ^ (z >> 31));
}

bool ClientCounts::take(const Key& key, std::uint32_t max) {
  Shard& shard = shard_of(key);
  const std::lock_guard lock(shard.mutex);
  std::uint32_t& open = shard.clients[key];
  if (open >= max) return false;
  ++open;
  return true;
}

void ClientCounts::give(const Key& key) {
  Shard& shard = shard_of(key);
  const std::lock_guard lock(shard.mutex);
  const auto found = shard.clients.find(key);
  if (found != shard.clients.end() && --found->second == 0) shard.clients.erase(found);
}

std::uint32_t ClientCounts::count(const Key& key) const {
  const Shard& shard = shard_of(key);
  const std::lock_guard lock(shard.mutex);
  const auto found = shard.clients.find(key);
  return found == shard.clients.end() ? 0 : found->second;
}

}  // namespace suture
