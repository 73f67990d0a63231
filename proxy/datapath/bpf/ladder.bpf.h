/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * The ingress ladder of PROTOCOL.md, in its order; the numbers are its rungs. Each way out has a counter.
 *
 *   access ──> 1 VIP? ─> 2 alive? ─> 3 SYN ─> 4 socket here? ─> 6 hint, map ─> 7 punt
 *   VXLAN final, ask ──────────────> 3 ─────> 4 ─> 5 drop and say "not mine"
 *   VXLAN orphan ───────> 2 drop ──> 3 ─────> 4 ──────────────> 6 ──────────> 7
 *
 * Before rung 4, whatever way they came: packets of flows that this node claims or has frozen are punted. At rung 4 a
 * packet whose echo is ahead of our socket says that the client has a newer owner: to that one, as final.
 *
 * A packet crosses the underlay at most twice: once as orphan, once as final.
 */
#ifndef SUTURE_LADDER_BPF_H
#define SUTURE_LADDER_BPF_H

#include "event.bpf.h"
#include "replaced.bpf.h"
#include "rewritten.bpf.h"
#include "sockets.bpf.h"
#include "tunnel.bpf.h"

static __always_inline int is_stale(const struct suture_node_state* self, __u64 now) {
  __u64 beat = *(volatile __u64*)&self->heartbeat_ns;
  return !beat || (__s64)(now - beat) > (__s64)self->heartbeat_limit_ns;
}

static __always_inline int icmp_ladder(struct __sk_buff* skb, struct packet* p, const struct suture_node_state* self,
                                       const struct origin* from, __u64 now) {
  if (has_any_socket(skb, p, self)) return pass(SUTURE_RUNG_ICMP_LOCAL);
  if (is_last_hop(from)) return pass(SUTURE_RUNG_ICMP_UNKNOWN);
  struct known_owner known = owner_by_map(self, &p->key, from, now);
  if (known.says == MAP_LIVING)
    return tunnel_to(skb, self, known.node, SUTURE_TUNNEL_FINAL, p->l3, SUTURE_RUNG_ICMP_FORWARDED);
  return pass(SUTURE_RUNG_ICMP_UNKNOWN);
}

static __always_inline int rung2_orphan(struct __sk_buff* skb, const struct packet* p,
                                        const struct suture_node_state* self, const struct origin* from) {
  if (from->kind || !self->heir_id) return drop(SUTURE_RUNG_ORPHAN_DROPPED);
  return tunnel_to(skb, self, self->heir_id, SUTURE_TUNNEL_ORPHAN, p->l3, SUTURE_RUNG_ORPHAN_TO_HEIR);
}

static __always_inline int rung3_syn(struct __sk_buff* skb, struct packet* p, const struct suture_node_state* self,
                                     const struct origin* from, __u64 now) {
  if (is_last_hop(from)) {
    if (local_socket(skb, p, self).is == LOCAL_FULL) return pass(SUTURE_RUNG_SYN_LOCAL);
    tell(self, &p->key, from->kind == SUTURE_TUNNEL_ASK ? SUTURE_EVENT_ASK_NOT_MINE : SUTURE_EVENT_NOT_MINE, from->node,
         now);
    return drop(SUTURE_RUNG_SYN_TUNNELLED_DROPPED);
  }
  struct known_owner known = owner_by_map(self, &p->key, from, now);
  if (known.says == MAP_LIVING)
    return tunnel_to(skb, self, known.node, SUTURE_TUNNEL_FINAL, p->l3, SUTURE_RUNG_SYN_TO_OWNER);
  if ((self->flags & SUTURE_NODE_DRAINING) && local_socket(skb, p, self).is != LOCAL_FULL)
    return drop(SUTURE_RUNG_SYN_DRAINING);
  return pass(SUTURE_RUNG_SYN_LOCAL);
}

/* `return: tunnel`: answers follow the way of the flow's latest packet. */
static __always_inline void remember_return_path(const struct suture_flow_key* key, const struct origin* from) {
  __u32* forwarder = bpf_map_lookup_elem(&return_path, key);
  if (from->kind != SUTURE_TUNNEL_FINAL && from->kind != SUTURE_TUNNEL_ASK) {
    if (forwarder) bpf_map_delete_elem(&return_path, key);
    return;
  }
  __u32 id = from->node;
  if (!forwarder || *forwarder != id) bpf_map_update_elem(&return_path, key, &id, BPF_ANY);
}

static __always_inline int rung4_local(const struct packet* p, const struct suture_node_state* self,
                                       const struct origin* from, __u64 now, __u32 rung) {
  if (self->flags & SUTURE_NODE_RETURN_TUNNEL) remember_return_path(&p->key, from);
  if (from->kind == SUTURE_TUNNEL_ASK) {
    tell(self, &p->key, SUTURE_EVENT_ASK_MINE, from->node, now);
    return pass(SUTURE_RUNG_ASK_MINE);
  }
  return pass(rung);
}

static __always_inline int rung5_not_mine(const struct packet* p, const struct suture_node_state* self,
                                          const struct origin* from, __u64 now) {
  if (from->kind == SUTURE_TUNNEL_ASK) {
    tell(self, &p->key, SUTURE_EVENT_ASK_NOT_MINE, from->node, now);
    return drop(SUTURE_RUNG_ASK_NOT_MINE);
  }
  tell(self, &p->key, SUTURE_EVENT_NOT_MINE, from->node, now);
  return drop(SUTURE_RUNG_NOT_MINE);
}

static __always_inline int rung7_punt(struct __sk_buff* skb, const struct packet* p,
                                      const struct suture_node_state* self, __u64 now) {
  if ((p->flags & TCP_RST) || !(p->flags & TCP_ACK)) return drop(SUTURE_RUNG_STRAY_DROPPED);
  if (!within_limit(&p->key.client, p->is_v6, LIMIT_PUNT, now, self->punt_burst, self->punt_per_second))
    return drop(SUTURE_RUNG_PUNT_LIMITED);
  if (!within_node_limit(self, LIMIT_PUNT, now)) return drop(SUTURE_RUNG_PUNT_LIMITED_NODE);
  count(SUTURE_RUNG_PUNT);
  return (int)bpf_redirect(self->tun_ifindex, 0);
}

/* RSTs too: one whose SEQ equals the ACK of our probe ends the record (PROTOCOL.md, ingress). */
static __always_inline int punt_claimed(struct __sk_buff* skb, const struct packet* p,
                                        const struct suture_node_state* self, __u64 now, __u32 rung) {
  if (!(p->flags & (TCP_ACK | TCP_RST))) return drop(SUTURE_RUNG_STRAY_DROPPED);
  if (!within_limit(&p->key.client, p->is_v6, LIMIT_CLAIM, now, self->claim_burst, self->claim_per_second))
    return drop(SUTURE_RUNG_CLAIM_LIMITED);
  if (!within_node_limit(self, LIMIT_CLAIM, now)) return drop(SUTURE_RUNG_CLAIM_LIMITED_NODE);
  count(rung);
  return (int)bpf_redirect(self->tun_ifindex, 0);
}

static __always_inline int tcp_ladder(struct __sk_buff* skb, struct packet* p, const struct suture_node_state* self,
                                      const struct origin* from, __u64 now) {
  if (is_stale(self, now)) return rung2_orphan(skb, p, self, from);
  if ((p->flags & (TCP_SYN | TCP_ACK | TCP_RST)) == TCP_SYN) return rung3_syn(skb, p, self, from, now);

  __u32 phase = flow_phase(self, &p->key);
  if (phase == SUTURE_FLOW_FROZEN) {
    /* Ours, whatever becomes of it: an asker that hears nothing would answer its client with RST. */
    if (from->kind == SUTURE_TUNNEL_ASK) tell(self, &p->key, SUTURE_EVENT_ASK_MINE, from->node, now);
    return punt_claimed(skb, p, self, now, SUTURE_RUNG_FROZEN_PUNT);
  }
  struct local_socket found = local_socket(skb, p, self);
  enum local local = found.is;
  /* A socket that is still being rebuilt would take the packet at half its state. */
  if (phase == SUTURE_FLOW_CLAIMING && (local != LOCAL_FULL || found.in_repair))
    return punt_claimed(skb, p, self, now, SUTURE_RUNG_CLAIM_PUNT);

  __u64 echo = echo_of(skb, p);
  if (local == LOCAL_FULL) {
    if (phase != SUTURE_FLOW_NO_FENCE && is_replaced(&found, echo, now))
      return rung4_replaced(skb, p, self, from, echo, now);
    if (phase != SUTURE_FLOW_NO_FENCE) notice_rewriting(p, self, &found, echo, now);
    return rung4_local(p, self, from, now, SUTURE_RUNG_LOCAL_SOCKET);
  }
  if (local == LOCAL_REQUEST) return rung4_local(p, self, from, now, SUTURE_RUNG_LOCAL_REQUEST);
  if (local == LOCAL_COOKIE) return rung4_local(p, self, from, now, SUTURE_RUNG_LOCAL_SYNCOOKIE);
  if (local == LOCAL_NONE && is_last_hop(from)) return rung5_not_mine(p, self, from, now);
  if (local == LOCAL_NONE && !(p->flags & (TCP_ACK | TCP_RST))) return drop(SUTURE_RUNG_STRAY_DROPPED);

  struct known_owner known = owner_by_map(self, &p->key, from, now);
  struct hint hint = {};
  if (!is_last_hop(from)) hint = owner_by_hint(echo, &p->key, self, from, now);
  /* Of an earlier connection, if another node owns this one, living or dead. */
  if (local == LOCAL_TIME_WAIT && known.says == MAP_NOTHING && !hint.owner && !hint.dead)
    return rung4_local(p, self, from, now, SUTURE_RUNG_LOCAL_TIME_WAIT);
  if (is_last_hop(from)) return rung5_not_mine(p, self, from, now);

  if (hint.owner) {
    if (!known.has_entry &&
        !within_limit(&p->key.client, p->is_v6, LIMIT_HINT, now, self->hint_burst, self->hint_per_second))
      return drop(SUTURE_RUNG_HINT_LIMITED);
    return tunnel_to(skb, self, hint.owner, SUTURE_TUNNEL_FINAL, p->l3, SUTURE_RUNG_FORWARD_HINT);
  }
  if (known.says == MAP_LIVING)
    return tunnel_to(skb, self, known.node, SUTURE_TUNNEL_FINAL, p->l3, SUTURE_RUNG_FORWARD_MAP);
  if (known.says == MAP_DEAD || hint.dead) {
    if (p->flags & TCP_RST) return punt_claimed(skb, p, self, now, SUTURE_RUNG_OWNER_DEAD);
    count(SUTURE_RUNG_OWNER_DEAD); /* a claim may begin: user space decides */
  }
  return rung7_punt(skb, p, self, now);
}

#endif
