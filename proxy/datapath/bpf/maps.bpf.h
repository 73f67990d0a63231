/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* All maps. What they hold and who writes them: suture/datapath_abi.h. */
#ifndef SUTURE_MAPS_BPF_H
#define SUTURE_MAPS_BPF_H

#include <suture/datapath_abi.h>

/* Mapped into the process: a heartbeat is one store, not a system call. */
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(map_flags, BPF_F_MMAPABLE);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct suture_node_state);
} node SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 4096);
  __type(key, struct suture_vip_key);
  __type(value, __u8);
} vips SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, SUTURE_NODES_MAX);
  __type(key, __u32);
  __type(value, struct suture_peer);
} peers SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, SUTURE_NODES_MAX);
  __type(key, struct suture_addr);
  __type(value, __u32);
} underlay_peers SEC(".maps");

/* Size set before load. Not preallocated: a node with few sessions does not pay for a million. */
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __uint(max_entries, 1 << 20);
  __type(key, struct suture_flow_key);
  __type(value, struct suture_owner);
} owners SEC(".maps");

/* Size set before load. Few at a time, so not preallocated. */
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __uint(max_entries, 1 << 16);
  __type(key, struct suture_flow_key);
  __type(value, struct suture_flow_state);
} flows SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_LRU_HASH);
  __uint(max_entries, 16384);
  __type(key, struct suture_not_mine_key);
  __type(value, __u64);
} not_mine SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_LRU_HASH);
  __uint(max_entries, 1 << 17);
  __type(key, struct suture_flow_key);
  __type(value, __u32);
} return_path SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, SUTURE_RUNG_COUNT);
  __type(key, __u32);
  __type(value, __u64);
} rungs SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, SUTURE_NODES_MAX);
  __type(key, __u32);
  __type(value, __u64);
} forwarded SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_RINGBUF);
  __uint(max_entries, 1 << 18);
} events SEC(".maps");

/* Token buckets (limit.bpf.h). The LRU bounds what an attacker with many prefixes can occupy. */
struct limit_key {
  struct suture_addr prefix;
  __u32 what;
};
struct {
  __uint(type, BPF_MAP_TYPE_LRU_HASH);
  __uint(max_entries, 16384);
  __type(key, struct limit_key);
  __type(value, __u64);
} limits SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, SUTURE_NODES_MAX);
  __type(key, __u32);
  __type(value, __u64);
} event_limits SEC(".maps");

/* The node's own buckets, by enum limit_what. */
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 8);
  __type(key, __u32);
  __type(value, __u64);
} node_limits SEC(".maps");

/* Connections whose timestamps something seems to rewrite (rewritten.bpf.h). */
struct suspicion {
  __u32 first_byte; /* SEQ of the socket's first byte: another connection with the same key starts anew */
  __u32 strikes;
};
struct {
  __uint(type, BPF_MAP_TYPE_LRU_HASH);
  __uint(max_entries, 16384);
  __type(key, struct suture_flow_key);
  __type(value, struct suspicion);
} rewritten SEC(".maps");

static __always_inline struct suture_node_state* this_node(void) {
  __u32 zero = 0;
  return bpf_map_lookup_elem(&node, &zero);
}

static __always_inline struct suture_peer* peer_of(__u32 id) {
  return bpf_map_lookup_elem(&peers, &id);
}

/* enum suture_flow_phase, or 0. */
static __always_inline __u32 flow_phase(const struct suture_node_state* self, const struct suture_flow_key* flow) {
  if (!*(volatile __u32*)&self->flow_states) return 0;
  struct suture_flow_state* state = bpf_map_lookup_elem(&flows, flow);
  return state ? state->state : 0;
}

#endif
