/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * Something between us and the client rewrites or drops timestamps (PROTOCOL.md, "Slot"): no echo says who owns the
 * flow, and no fence can be proven.
 *
 * Judged by packets that acknowledge data for the first time. All data left after the jump into our slot, and the first
 * segment that an ACK covers is what a client echoes (RFC 7323 section 4.3): so the echo lies in our slot, however the
 * path reorders, and however late. Other packets may still carry the SYN-ACK's: a request that was under way.
 *
 *   TSecr - (clock + tsoffset), serial:   -2^31 ... rewritten ... -2^20 [ own, late ... 0 .. 2^16 ][ replaced ... 2^31
 *
 * An echo of our slot passes wherever it lies: the clock may have jumped since, to another fence of our own (a whole
 * 2^28). One ahead of the socket stays "replaced": passing it on could serve a client that has a newer owner. (Known
 * hole: a box that invents echoes ahead of us freezes its session.)
 *
 * Twice, because a tc program sees packets before their checksum is verified: one may be a broken bit.
 */
#ifndef SUTURE_REWRITTEN_BPF_H
#define SUTURE_REWRITTEN_BPF_H

#include "echo.bpf.h"
#include "event.bpf.h"
#include "sockets.bpf.h"

#define ECHO_LATE_MAX (1 << SLOT_BITS) /* the clock of a peer's that slews moves the slot, not the socket */
#define STRIKES_SUSPECTED 1
#define STRIKES_TOLD 2

static __always_inline int is_own_echo(const struct local_socket* local, const struct suture_node_state* self,
                                       __u64 echo, __u64 now) {
  if (!(__u32)echo) return 0;
  if (hinted_node(echo, self, now) == self->node_id) return 1;
  __u32 clock = (__u32)(now / local->ts_unit_ns) + local->tsoffset;
  return (__s32)(clock - (__u32)echo) <= ECHO_LATE_MAX;
}

static __always_inline void notice_rewriting(const struct packet* p, const struct suture_node_state* self,
                                             const struct local_socket* local, __u64 echo, __u64 now) {
  /* Slots are in milliseconds; a clock of microseconds is none of ours. */
  if (!local->acks_new_data || local->ts_unit_ns != 1000000) return;
  if (is_own_echo(local, self, echo, now)) return;
  struct suspicion* known = bpf_map_lookup_elem(&rewritten, &p->key);
  if (!known || known->first_byte != local->first_byte) {
    struct suspicion fresh = {.first_byte = local->first_byte, .strikes = STRIKES_SUSPECTED};
    bpf_map_update_elem(&rewritten, &p->key, &fresh, BPF_ANY);
    return;
  }
  if (known->strikes >= STRIKES_TOLD || !tell_doubt(self, p, SUTURE_EVENT_REWRITTEN, 0, (__u32)echo, now)) return;
  known->strikes = STRIKES_TOLD;
  count(SUTURE_RUNG_REWRITTEN);
}

#endif
