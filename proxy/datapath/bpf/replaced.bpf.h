/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * Replaced (PROTOCOL.md): the client echoes a timestamp that our socket has not reached yet, so it has accepted a
 * segment of another owner, and PAWS (RFC 7323 section 5) makes it refuse ours.
 *
 *   TSecr - (clock + tsoffset), serial:   ... old ... 0 .. 2^16 ][ replaced ... 2^31
 *
 * 0 as TSecr is none: that is what segments without an echo carry, and the kernel takes it so (tcp_input.c). One real
 * echo in 2^32 is missed.
 */
#ifndef SUTURE_REPLACED_BPF_H
#define SUTURE_REPLACED_BPF_H

#include "event.bpf.h"
#include "sockets.bpf.h"
#include "tunnel.bpf.h"

#define REPLACED_AHEAD (1 << 16) /* a fence is at least 2^22 ahead; clocks that disagree are not */

static __always_inline int is_replaced(const struct local_socket* local, __u64 echo, __u64 now) {
  if (!(echo & ECHO_FOUND) || !(__u32)echo || !local->ts_unit_ns) return 0;
  __u32 clock = (__u32)(now / local->ts_unit_ns) + local->tsoffset;
  return (__s32)((__u32)echo - clock) > REPLACED_AHEAD;
}

static __always_inline int rung4_replaced(struct __sk_buff* skb, const struct packet* p,
                                          const struct suture_node_state* self, const struct origin* from, __u64 echo,
                                          __u64 now) {
  struct hint hint = owner_by_hint(echo, &p->key, self, from, now);
  tell_doubt(self, p, SUTURE_EVENT_REPLACED, hint.named, (__u32)echo, now);
  if (!hint.owner || is_last_hop(from)) return drop(SUTURE_RUNG_REPLACED_DROPPED);
  return tunnel_to(skb, self, hint.owner, SUTURE_TUNNEL_FINAL, p->l3, SUTURE_RUNG_REPLACED_FORWARDED);
}

#endif
