#include "proxy/healing/holding.hpp"

#include <utility>

namespace suture::healing {

bool Holding::hold(const suture_flow_key& key, Packet packet) {
  if (total_ >= limits::held_packets_total) return false;
  auto& packets = flows_[key];
  if (packets.size() >= limits::held_packets_per_flow) return false;
  packets.push_back(std::move(packet));
  ++total_;
  return true;
}

std::vector<Packet> Holding::take(const suture_flow_key& key) {
  const auto it = flows_.find(key);
  if (it == flows_.end()) return {};
  auto packets = std::move(it->second);
  flows_.erase(it);
  total_ -= packets.size();
  return packets;
}

}  // namespace suture::healing
