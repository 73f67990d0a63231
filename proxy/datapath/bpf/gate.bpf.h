/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * Egress rules 3 and 4 of PROTOCOL.md: what full TCP sockets may send. Segments of other sockets pass: a probe or an
 * RST of user space comes from a raw socket, a SYN-ACK from a request socket, a stray's RST from the listener.
 */
#ifndef SUTURE_GATE_BPF_H
#define SUTURE_GATE_BPF_H

#include "event.bpf.h"
#include "sockets.bpf.h"

#define SOCK_STREAM_ 1 /* <sys/socket.h> is no BPF header */

/* As the kernel's own keep-alive asks it (include/net/tcp.h, keepalive_time_elapsed): an upload whose ACK number stands
   still moves lrcvtime alone. Both clocks are coarse by a jiffy, so a lease never seems longer than it is. */
static __always_inline int is_client_silent(struct tcp_sock* tcp, const struct suture_node_state* self) {
  __u32 now = (__u32)bpf_jiffies64();
  __u32 since_ack = now - tcp->rcv_tstamp;
  __u32 since_data = now - ((struct inet_connection_sock*)tcp)->icsk_ack.lrcvtime;
  return (since_ack < since_data ? since_ack : since_data) >= self->lease_jiffies;
}

static __always_inline int has_data_or_fin(const struct packet* p) {
  return (p->flags & TCP_FIN) || p->l4 + p->tcp_bytes < p->end;
}

#define GATE_OPEN (-1)

/* GATE_OPEN, or the rung with which the segment is dropped. */
static __always_inline int gate(struct __sk_buff* skb, const struct packet* p, const struct suture_node_state* self,
                                __u64 now) {
  struct bpf_sock* sk = skb->sk;
  if (!sk) return GATE_OPEN;
  sk = bpf_sk_fullsock(sk);
  if (!sk || sk->type != SOCK_STREAM_ || sk->protocol != IPPROTO_TCP || sk->state == BPF_TCP_LISTEN) return GATE_OPEN;
  struct tcp_sock* tcp = bpf_skc_to_tcp_sock(sk);
  if (!tcp) return GATE_OPEN;
  if (is_abandoned(tcp, self)) return SUTURE_RUNG_EGRESS_ORPHAN_DROPPED;
  __u32 phase = flow_phase(self, &p->key);
  if (phase == SUTURE_FLOW_FROZEN) return SUTURE_RUNG_EGRESS_FROZEN_DROPPED;
  if (p->flags & TCP_RST) return is_client_silent(tcp, self) ? SUTURE_RUNG_EGRESS_RST_SILENT : GATE_OPEN;
  if (!(self->flags & SUTURE_NODE_CUT_OFF) || !has_data_or_fin(p)) return GATE_OPEN;
  if ((timestamp_unit_ns(tcp) && phase != SUTURE_FLOW_NO_FENCE) || !is_client_silent(tcp, self)) return GATE_OPEN;
  tell_doubt(self, p, SUTURE_EVENT_GATED, 0, 0, now);
  return SUTURE_RUNG_EGRESS_GATED;
}

#endif
