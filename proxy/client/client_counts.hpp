// How many connections each client has, over all workers of a node: a worker sees only those that the kernel gave it.
// The one thing that workers share. It is touched when a connection begins and when it ends, never for its bytes, and
// only where a listener has a limit (limits.connections_per_client_max).
//
// A client is an IPv4 address or an IPv6 /64: the smallest network that one subscriber gets (RFC 6177).
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <mutex>
#include <unordered_map>

#include <boost/asio/ip/address.hpp>

namespace suture {

class ClientCounts {
 public:
  struct Key {
    std::array<std::uint8_t, 8> network{};
    std::uint16_t port = 0;  // of the listener
    bool v6 = false;
    friend bool operator==(const Key&, const Key&) = default;
  };
  static Key key_of(const boost::asio::ip::address& client, std::uint16_t port);

  // False: the client has `max` already. Otherwise give() once.
  bool take(const Key& key, std::uint32_t max);
  void give(const Key& key);
  std::uint32_t count(const Key& key) const;

 private:
  struct Hash {
    std::size_t operator()(const Key& key) const;
  };
  // Workers that accept at the same moment seldom meet.
  struct Shard {
    mutable std::mutex mutex;
    std::unordered_map<Key, std::uint32_t, Hash> clients;
  };
  Shard& shard_of(const Key& key) { return shards_[Hash{}(key) % shards_.size()]; }
  const Shard& shard_of(const Key& key) const { return shards_[Hash{}(key) % shards_.size()]; }
  std::array<Shard, 16> shards_;
};

// One place taken; given back when it goes. Empty: nothing to give back.
class ClientSlot {
 public:
  ClientSlot() = default;
  // `counts` has taken the place already.
  ClientSlot(std::shared_ptr<ClientCounts> counts, const ClientCounts::Key& key)
      : counts_(std::move(counts)), key_(key) {}
  ClientSlot(ClientSlot&& other) noexcept : counts_(std::move(other.counts_)), key_(other.key_) {}
  ClientSlot& operator=(ClientSlot&& other) noexcept {
    std::swap(counts_, other.counts_);
    std::swap(key_, other.key_);
    return *this;
  }
  ~ClientSlot() {
    if (counts_) counts_->give(key_);
  }

 private:
  std::shared_ptr<ClientCounts> counts_;
  ClientCounts::Key key_;
};

}  // namespace suture
