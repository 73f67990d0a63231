// The flows that the programs treat apart: claimed, frozen, without fence (enum suture_flow_phase). The map's one
// writer, and the owner of the count that lets ordinary packets skip the look-up. Control thread only.
#pragma once

#include <cstdint>

#include <suture/datapath_abi.h>
#include <suture/result.hpp>

namespace suture::datapath {

class FlowStates {
 public:
  // `count`: suture_node_state.flow_states of the mapped page; it outlives this.
  FlowStates(int map_fd, __u32& count) : map_fd_(map_fd), count_(count) {}

  // Replaces what the flow had. Takes effect for the next packet. errno_value ENOSPC: the map is full, and the flow has
  // the state that it had before: the caller must not go on as if the kernel guarded it.
  Result<void> set(const suture_flow_key& key, suture_flow_phase phase);
  // No error where the flow has no state.
  Result<void> clear(const suture_flow_key& key);

  std::uint32_t count() const;

 private:
  void add(__u32 difference);
  int map_fd_;
  __u32& count_;
};

}  // namespace suture::datapath
