// The owner map in the kernel (BPF map `owners`).
#pragma once

#include <bpf/bpf.h>

#include <algorithm>

#include <suture/datapath_abi.h>
#include <suture/clock.hpp>
#include <suture/metrics.hpp>
#include <suture/owner_map.hpp>

namespace suture::datapath {

class KernelOwnerMap final : public OwnerMap {
 public:
  KernelOwnerMap(int owners_fd, int not_mine_fd) : owners_fd_(owners_fd), not_mine_fd_(not_mine_fd) {}

  bool set(const suture_flow_key& key, NodeId node, Incarnation incarnation) override {
    suture_owner owner{};
    owner.node_id = static_cast<__u8>(to_int(node));
    owner.incarnation = incarnation;
    // A node that has (again) a session of this key no longer says "not mine".
    if (Clock::now() < marks_until_) {
      const suture_not_mine_key mark{key, to_int(node)};
      bpf_map_delete_elem(not_mine_fd_, &mark);
    }
    if (bpf_map_update_elem(owners_fd_, &key, &owner, BPF_ANY) == 0) return true;
    full_.add();
    return false;
  }
  void erase(const suture_flow_key& key) override { bpf_map_delete_elem(owners_fd_, &key); }

  void marks_live_until(TimePoint until) { marks_until_ = std::max(marks_until_, until); }
  const Counter& full() const { return full_; }

 private:
  int owners_fd_;
  int not_mine_fd_;
  TimePoint marks_until_{};
  Counter full_;
};

}  // namespace suture::datapath
