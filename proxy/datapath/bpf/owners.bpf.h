/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* Rung 6: who owns this flow, as far as the packet's own hint and the replicated map can say. */
#ifndef SUTURE_OWNERS_BPF_H
#define SUTURE_OWNERS_BPF_H

#include "echo.bpf.h"
#include "limit.bpf.h"

/* Where a packet came from. */
struct origin {
  __u32 kind; /* enum suture_tunnel_kind, 0: from the access side */
  __u32 node; /* its sender, 0: from the access side */
};

/* Final and ask end here, whatever they are. */
static __always_inline int is_last_hop(const struct origin* from) {
  return from->kind == SUTURE_TUNNEL_FINAL || from->kind == SUTURE_TUNNEL_ASK;
}

enum map_says {
  MAP_NOTHING, /* no entry, ourselves, or an owner that has said "not mine" */
  MAP_LIVING,
  MAP_DEAD,
};

struct known_owner {
  __u32 node;
  __u8 has_entry;
  __u8 says; /* enum map_says */
};

static __always_inline int said_not_mine(const struct suture_node_state* self, const struct suture_flow_key* flow,
                                         __u32 id, __u64 now) {
  if (now >= self->not_mine_until_ns) return 0;
  struct suture_not_mine_key key = {.peer = id};
  key.flow = *flow;
  __u64* until = bpf_map_lookup_elem(&not_mine, &key);
  return until && now < *until;
}

/* A sender of an orphan has just said that its own process is dead. */
static __always_inline int is_alive(const struct suture_peer* peer, __u32 id, const struct origin* from) {
  return peer && (peer->flags & SUTURE_PEER_ALIVE) && !(from->kind == SUTURE_TUNNEL_ORPHAN && from->node == id);
}

static __always_inline struct known_owner owner_by_map(const struct suture_node_state* self,
                                                       const struct suture_flow_key* flow, const struct origin* from,
                                                       __u64 now) {
  struct known_owner known = {};
  struct suture_owner* owner = bpf_map_lookup_elem(&owners, flow);
  if (!owner) return known;
  known.has_entry = 1;
  if (owner->node_id == self->node_id) return known;
  struct suture_peer* peer = peer_of(owner->node_id);
  if (!is_alive(peer, owner->node_id, from) || peer->incarnation != owner->incarnation) {
    known.says = MAP_DEAD;
  } else if (!said_not_mine(self, flow, owner->node_id, now)) {
    known.says = MAP_LIVING;
    known.node = owner->node_id;
  }
  return known;
}

/* What a packet's timestamp echo says. */
struct hint {
  __u32 named; /* a configured peer, living or not; or 0 */
  __u32 owner; /* the same if the packet may go there: it lives, its clock agrees, it has not said "not mine"; or 0 */
  __u32 dead;  /* it does not live */
};

static __always_inline struct hint owner_by_hint(__u64 echo, const struct suture_flow_key* flow,
                                                 const struct suture_node_state* self, const struct origin* from,
                                                 __u64 now) {
  struct hint hint = {};
  __u32 id = hinted_node(echo, self, now);
  if (!id || id == self->node_id) return hint;
  struct suture_peer* peer = peer_of(id);
  if (!peer || !(peer->flags & SUTURE_PEER_CONFIGURED)) return hint;
  hint.named = id;
  if (!is_alive(peer, id, from))
    hint.dead = 1;
  else if ((peer->flags & SUTURE_PEER_HINT_OK) && !said_not_mine(self, flow, id, now))
    hint.owner = id;
  return hint;
}

#endif
