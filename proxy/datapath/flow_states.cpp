#include "proxy/datapath/flow_states.hpp"

#include <bpf/bpf.h>

#include <atomic>
#include <cerrno>

namespace suture::datapath {

std::uint32_t FlowStates::count() const {
  return std::atomic_ref<__u32>(count_).load(std::memory_order_relaxed);
}
void FlowStates::add(__u32 difference) {
  std::atomic_ref<__u32>(count_).fetch_add(difference, std::memory_order_seq_cst);
}

// The count goes up before the entry is there and down after it is gone: no packet skips an entry that stands.
Result<void> FlowStates::set(const suture_flow_key& key, suture_flow_phase phase) {
  suture_flow_state state{};
  state.state = static_cast<__u8>(phase);
  if (bpf_map_update_elem(map_fd_, &key, &state, BPF_EXIST) == 0) return {};
  add(1);
  if (bpf_map_update_elem(map_fd_, &key, &state, BPF_NOEXIST) == 0) return {};
  if (errno == E2BIG) errno = ENOSPC;  // what a full hash map says (kernel/bpf/hashtab.c)
  Error error = errno_error("set the kernel's state of a flow");
  add(static_cast<__u32>(-1));
  return error;
}

Result<void> FlowStates::clear(const suture_flow_key& key) {
  if (bpf_map_delete_elem(map_fd_, &key) == 0) {
    add(static_cast<__u32>(-1));
    return {};
  }
  if (errno == ENOENT) return {};
  return errno_error("clear the kernel's state of a flow");
}

}  // namespace suture::datapath
