/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * What user space must know: that a packet which a peer sent us was ours or was not (to tell that peer; rate-limited
 * per sender), and that a session of ours is in doubt (to probe its client; rate-limited per client prefix).
 */
#ifndef SUTURE_EVENT_BPF_H
#define SUTURE_EVENT_BPF_H

#include "count.bpf.h"
#include "limit.bpf.h"
#include "parse.bpf.h"

/* Zeroed but for key, kind and peer; 0 where there is no room. */
static __always_inline struct suture_event* reserve_event(const struct suture_flow_key* key, __u32 kind, __u32 peer) {
  struct suture_event* event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
  if (!event) {
    count(SUTURE_RUNG_EVENT_DROPPED);
    return 0;
  }
  event->key = *key;
  event->kind = kind;
  event->peer = peer;
  event->echo = 0;
  event->seq = 0;
  event->ack = 0;
  return event;
}

static __always_inline void tell(const struct suture_node_state* self, const struct suture_flow_key* key, __u32 kind,
                                 __u32 peer, __u64 now) {
  __u64* full_at = bpf_map_lookup_elem(&event_limits, &peer);
  if (!full_at || !take_token(full_at, now, self->event_burst, self->event_per_second)) {
    count(SUTURE_RUNG_EVENT_DROPPED);
    return;
  }
  struct suture_event* event = reserve_event(key, kind, peer);
  if (event) bpf_ringbuf_submit(event, 0);
}

/* Whether user space will see it. */
static __always_inline int tell_doubt(const struct suture_node_state* self, const struct packet* p, __u32 kind,
                                      __u32 peer, __u32 echo, __u64 now) {
  __u32 what = kind == SUTURE_EVENT_REPLACED ? LIMIT_REPLACED
               : kind == SUTURE_EVENT_GATED  ? LIMIT_GATED
                                             : LIMIT_REWRITTEN;
  if (!within_limit(&p->key.client, p->is_v6, what, now, self->claim_burst, self->claim_per_second)) {
    count(SUTURE_RUNG_EVENT_DROPPED);
    return 0;
  }
  if (!within_node_limit(self, what, now)) {
    count(SUTURE_RUNG_EVENT_LIMITED_NODE);
    return 0;
  }
  struct suture_event* event = reserve_event(&p->key, kind, peer);
  if (!event) return 0;
  event->echo = echo;
  event->seq = bpf_ntohl(p->tcp.seq);
  event->ack = bpf_ntohl(p->tcp.ack_seq);
  bpf_ringbuf_submit(event, 0);
  return 1;
}

#endif
