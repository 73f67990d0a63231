/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * `return: tunnel`: which way an owner's segments go to the client, in networks that drop a VIP's packets from a PoP to
 * which they would not route (strict uRPF).
 *
 *   the flow's latest packet came directly           direct
 *   it came through forwarder F                      through F
 *   and the segment is a retransmission              every way at once: direct, and through each living peer
 *
 * The third row is for a client that only listens when its route moves: it sends nothing, so nothing tells the owner,
 * and what goes the old way is dropped. The network lets exactly one of the copies pass; the client's answer to it is
 * then the flow's latest packet. Copies that pass twice are duplicates to TCP.
 */
#ifndef SUTURE_RETURN_BPF_H
#define SUTURE_RETURN_BPF_H

#include "tunnel.bpf.h"

struct every_way {
  struct __sk_buff* skb;
  const struct suture_node_state* self;
};

static long copy_through(__u32 id, void* context) {
  struct every_way* way = context;
  struct suture_peer* peer = peer_of(id);
  if (!peer || !(peer->flags & SUTURE_PEER_ALIVE)) return 0;
  if (!set_outer(way->skb, way->self, peer, SUTURE_TUNNEL_RETURN)) {
    bpf_clone_redirect(way->skb, way->self->vxlan_ifindex, 0);
    count_forwarded(id);
  }
  return 0;
}

/* At egress snd_nxt still is the first segment's own SEQ (net/ipv4/tcp_output.c: tcp_event_new_data_sent comes after
   the transmission), so anything below it is sent again: a retransmission, a tail loss probe, a keep-alive. */
static __always_inline int is_retransmission(struct __sk_buff* skb, const struct packet* p) {
  struct bpf_sock* sk = skb->sk;
  if (!sk) return 0;
  sk = bpf_sk_fullsock(sk);
  if (!sk) return 0;
  struct bpf_tcp_sock* tcp = bpf_tcp_sock(sk);
  return tcp && (__s32)(bpf_ntohl(p->tcp.seq) - tcp->snd_nxt) < 0;
}

static __always_inline int answer(struct __sk_buff* skb, const struct packet* p, const struct suture_node_state* self,
                                  __u32 l3) {
  if (l3 && is_retransmission(skb, p)) {
    struct every_way way = {.skb = skb, .self = self};
    bpf_loop(SUTURE_NODES_MAX, copy_through, &way, 0);
    count(SUTURE_RUNG_EGRESS_EVERY_WAY);
    return TC_ACT_UNSPEC;
  }
  __u32* forwarder = bpf_map_lookup_elem(&return_path, &p->key);
  struct suture_peer* peer = forwarder ? peer_of(*forwarder) : 0;
  if (peer && (peer->flags & SUTURE_PEER_ALIVE))
    return tunnel_to(skb, self, *forwarder, SUTURE_TUNNEL_RETURN, l3, SUTURE_RUNG_EGRESS_RETURN_TUNNEL);
  return TC_ACT_UNSPEC;
}

#endif
