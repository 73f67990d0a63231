/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * Token buckets as one word each (GCRA, ITU-T I.371): the word is the time at which the bucket will be full again. A
 * packet moves it one interval on and is refused where that would put it more than a burst ahead of now.
 */
#ifndef SUTURE_LIMIT_BPF_H
#define SUTURE_LIMIT_BPF_H

#include "maps.bpf.h"

enum limit_what { LIMIT_HINT = 1, LIMIT_PUNT, LIMIT_CLAIM, LIMIT_REPLACED, LIMIT_GATED, LIMIT_REWRITTEN };

static __always_inline int take_token(__u64* full_at, __u64 now, __u32 burst, __u32 per_second) {
  if (!per_second) return 0;
  __u64 interval = 1000000000ULL / per_second;
  __u64 seen = *full_at;
  __u64 next = (seen > now ? seen : now) + interval;
  if (next - now > interval * burst) return 0;
  /* Lost to another CPU: that packet took its token, this one passes for free. Bounded by the number of CPUs. */
  __sync_val_compare_and_swap(full_at, seen, next);
  return 1;
}

/* Per client prefix: /24 (IPv4) or /48 (IPv6). */
static __always_inline int within_limit(const struct suture_addr* client, int v6, __u32 what, __u64 now, __u32 burst,
                                        __u32 per_second) {
  struct limit_key key = {.what = what};
  if (v6)
    __builtin_memcpy(key.prefix.b, client->b, 6);
  else
    __builtin_memcpy(key.prefix.b, client->b, 15);
  __u64* full_at = bpf_map_lookup_elem(&limits, &key);
  if (!full_at) {
    __u64 fresh = 0;
    bpf_map_update_elem(&limits, &key, &fresh, BPF_NOEXIST);
    full_at = bpf_map_lookup_elem(&limits, &key);
    if (!full_at) return 0;
  }
  return take_token(full_at, now, burst, per_second);
}

/* This node as a whole. Asked last: what a prefix's bucket refuses takes nothing from the others. */
static __always_inline int within_node_limit(const struct suture_node_state* self, __u32 what, __u64 now) {
  __u64* full_at = bpf_map_lookup_elem(&node_limits, &what);
  return full_at && take_token(full_at, now, self->punt_total_burst, self->punt_total_per_second);
}

#endif
