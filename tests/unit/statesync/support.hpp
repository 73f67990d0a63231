// What the state sync tests share: records, a fake owner map, waiting for a condition on an io_context.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <optional>
#include <utility>

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <boost/asio/io_context.hpp>

#include <statesync/record.hpp>
#include <suture/clock.hpp>
#include <suture/ids.hpp>
#include <suture/owner_map.hpp>

namespace suture::statesync::test {

inline constexpr NodeId kA{1}, kB{2}, kC{3}, kD{4};
inline TimePoint at(std::int64_t ms) {
  return TimePoint{} + std::chrono::hours(1) + Millis{ms};
}

inline suture_flow_key key(std::uint16_t client_port) {
  const auto client = boost::asio::ip::make_address("203.0.113.9");
  const auto vip = boost::asio::ip::make_address("198.51.100.1");
  return make_flow_key({client, client_port}, {vip, 80});
}

inline SessionRecord record(std::uint16_t client_port, NodeId owner, Incarnation incarnation = 100,
                            std::uint64_t session_id = 1, Epoch epoch = 0) {
  SessionRecord r;
  r.facts.key = key(client_port);
  r.facts.irs = client_port * 1000U;
  r.facts.iss = 77;
  r.owner = owner;
  r.incarnation = incarnation;
  r.session_id = session_id;
  r.epoch = epoch;
  return r;
}

class FakeOwnerMap final : public OwnerMap {
 public:
  bool set(const suture_flow_key& k, NodeId owner, Incarnation incarnation) override {
    ++sets;
    if (entries.size() >= capacity && !entries.contains(ntohs(k.client_port))) return false;
    entries[ntohs(k.client_port)] = {to_int(owner), incarnation};
    return true;
  }
  void erase(const suture_flow_key& k) override { entries.erase(ntohs(k.client_port)); }

  std::optional<std::pair<unsigned, Incarnation>> at(std::uint16_t port) const {
    const auto it = entries.find(port);
    if (it == entries.end()) return std::nullopt;
    return it->second;
  }

  std::map<unsigned, std::pair<unsigned, Incarnation>> entries;  // by client port
  std::size_t capacity = 1000000;
  int sets = 0;
};

// Runs handlers until the condition holds; at most 20 s (slow machines under sanitizers), usually milliseconds.
inline bool run_until(boost::asio::io_context& io, const std::function<bool()>& condition,
                      std::chrono::milliseconds at_most = std::chrono::seconds(20)) {
  const auto end = std::chrono::steady_clock::now() + at_most;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    io.restart();
    io.run_one_for(std::chrono::milliseconds(10));
  }
  return true;
}

}  // namespace suture::statesync::test
