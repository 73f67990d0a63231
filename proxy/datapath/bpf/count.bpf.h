/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* One per-CPU counter per rung; tests and operators read the ladder's decisions from them. */
#ifndef SUTURE_COUNT_BPF_H
#define SUTURE_COUNT_BPF_H

#include "maps.bpf.h"

static __always_inline void count(__u32 rung) {
  __u64* n = bpf_map_lookup_elem(&rungs, &rung);
  if (n) (*n)++;
}

static __always_inline int drop(__u32 rung) {
  count(rung);
  return TC_ACT_SHOT;
}

/* The packet is ours and goes to the local stack: no further filter has a say. */
static __always_inline int pass(__u32 rung) {
  count(rung);
  return TC_ACT_OK;
}

/* Not ours: other people's filters on this interface go on as if we were not there. */
static __always_inline int not_ours(void) {
  count(SUTURE_RUNG_NOT_VIP);
  return TC_ACT_UNSPEC;
}

static __always_inline void count_forwarded(__u32 id) {
  __u64* n = bpf_map_lookup_elem(&forwarded, &id);
  if (n) (*n)++;
}

#endif
