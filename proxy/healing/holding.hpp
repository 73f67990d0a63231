// Packets that wait for a decision about their flow, in order of arrival, bounded per flow and in all
// (limits::held_packets_*). Single-threaded.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include <boost/unordered/unordered_flat_map.hpp>

#include <suture/ids.hpp>
#include <suture/limits.hpp>

namespace suture::healing {

using Packet = std::vector<std::uint8_t>;  // from the IP header on

class Holding {
 public:
  // False: full (this flow or all of it); the packet is dropped, TCP sends it again.
  bool hold(const suture_flow_key& key, Packet packet);
  // Removes and returns what is held for a flow.
  std::vector<Packet> take(const suture_flow_key& key);
  std::size_t size() const { return total_; }

 private:
  boost::unordered_flat_map<suture_flow_key, std::vector<Packet>, FlowKeyHash> flows_;
  std::size_t total_ = 0;
};

}  // namespace suture::healing
