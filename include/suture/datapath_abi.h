/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * What the BPF programs (proxy/datapath/bpf) and their user-space owner (proxy/datapath/steering) share: the values of
 * the maps, the names of the counters, the kinds of tunnelled packets, the events. Included by both, mirrored nowhere.
 */
#ifndef SUTURE_DATAPATH_ABI_H
#define SUTURE_DATAPATH_ABI_H

#include <suture/flow_key.h>

#define SUTURE_NODES_MAX 256 /* node ids are 1..255; index 0 is unused */

/*
 * One counter per rung of PROTOCOL.md's ladder and per egress rule, in the order in which a packet meets them.
 * X(NAME, "metric label"): the metric is suture_steer_packets_total{rung="label"}.
 */
#define SUTURE_RUNGS(X)                                                                                             \
  /* rung 1: is it ours at all */                                                                                   \
  X(NOT_VIP, "not_vip")                                                                                             \
  X(MALFORMED, "malformed") /* truncated or contradictory headers to a VIP: dropped */                              \
  X(FRAGMENT, "fragment")   /* IP fragment to a VIP: passed to local reassembly */                                  \
  X(ICMP_LOCAL, "icmp_local")                                                                                       \
  X(ICMP_FORWARDED, "icmp_forwarded")                                                                               \
  X(ICMP_UNKNOWN, "icmp_unknown")                                                                                   \
  /* rung 2: our own process is dead or stuck */                                                                    \
  X(ORPHAN_TO_HEIR, "orphan_to_heir")                                                                               \
  X(ORPHAN_DROPPED, "orphan_dropped") /* came as an orphan itself, or nobody is the heir */                         \
  /* rung 3: SYN */                                                                                                 \
  X(SYN_LOCAL, "syn_local")                                                                                         \
  X(SYN_TO_OWNER, "syn_to_owner")                                                                                   \
  X(SYN_TUNNELLED_DROPPED, "syn_tunnelled_dropped")                                                                 \
  X(SYN_DRAINING, "syn_draining")                                                                                   \
  /* flows that this node claims, or whose own session is under suspicion (map `flows`): before rung 4 */           \
  X(CLAIM_PUNT, "claim_punt")                                                                                       \
  X(FROZEN_PUNT, "frozen_punt")                                                                                     \
  X(CLAIM_LIMITED, "claim_limited")           /* one of these two, but the prefix's bucket is empty */              \
  X(CLAIM_LIMITED_NODE, "claim_limited_node") /* or this node's */                                                  \
  /* rung 4: local socket */                                                                                        \
  X(LOCAL_SOCKET, "local_socket")                                                                                   \
  X(LOCAL_REQUEST, "local_request")                                                                                 \
  X(LOCAL_TIME_WAIT, "local_time_wait")                                                                             \
  X(LOCAL_SYNCOOKIE, "local_syncookie")                                                                             \
  X(REPLACED_FORWARDED, "replaced_forwarded") /* its echo is ahead of our socket: to the node it names */           \
  X(REPLACED_DROPPED, "replaced_dropped")     /*   which does not live, or the packet was forwarded */              \
  X(REWRITTEN, "rewritten")                   /* besides: something rewrites its timestamps */                      \
  /* rung 5: came tunnelled as final, but is not ours */                                                            \
  X(NOT_MINE, "not_mine")                                                                                           \
  X(ASK_NOT_MINE, "ask_not_mine")                                                                                   \
  X(ASK_MINE, "ask_mine")                                                                                           \
  /* rung 6: forwarded to the owner */                                                                              \
  X(FORWARD_HINT, "forward_hint")                                                                                   \
  X(FORWARD_MAP, "forward_map")                                                                                     \
  X(HINT_LIMITED, "hint_limited")                                                                                   \
  X(OWNER_DEAD, "owner_dead") /* by hint or map; then rung 7, which counts too (RST: dropped here) */               \
  /* rung 7: user space decides */                                                                                  \
  X(PUNT, "punt")                                                                                                   \
  X(PUNT_LIMITED, "punt_limited")             /* the prefix's bucket is empty */                                    \
  X(PUNT_LIMITED_NODE, "punt_limited_node")   /* this node's bucket is empty */                                     \
  X(STRAY_DROPPED, "stray_dropped")           /* RST to nobody (nobody answers an RST), or neither SYN nor ACK */   \
  X(EVENT_DROPPED, "event_dropped")           /* the sender's event bucket is empty, or user space does not read */ \
  X(EVENT_LIMITED_NODE, "event_limited_node") /* or this node's */                                                  \
  /* tunnel device */                                                                                               \
  X(TUNNEL_UNKNOWN_PEER, "tunnel_unknown_peer")                                                                     \
  X(TUNNEL_UNKNOWN_KIND, "tunnel_unknown_kind")                                                                     \
  X(TUNNEL_INNER_NOT_VIP, "tunnel_inner_not_vip")                                                                   \
  X(TUNNEL_RETURNED, "tunnel_returned")     /* owner's answer, sent on to the client from here */                   \
  X(RETURN_UNROUTABLE, "return_unroutable") /* no route to that client from here: dropped */                        \
  X(ENCAP_FAILED, "encap_failed")                                                                                   \
  /* egress */                                                                                                      \
  X(EGRESS_STALE_DROPPED, "egress_stale_dropped")                                                                   \
  X(EGRESS_FIN_DROPPED, "egress_fin_dropped")                                                                       \
  X(EGRESS_RST_DROPPED, "egress_rst_dropped")                                                                       \
  X(EGRESS_ORPHAN_DROPPED, "egress_orphan_dropped") /* a killed process's socket, retransmitting */                 \
  X(EGRESS_FROZEN_DROPPED, "egress_frozen_dropped")                                                                 \
  X(EGRESS_RST_SILENT, "egress_rst_silent") /* marked, but the client is silent beyond a lease */                   \
  X(EGRESS_GATED, "egress_gated")           /* cut off, no fence, client silent beyond a lease */                   \
  X(EGRESS_RETURN_TUNNEL, "egress_return_tunnel")                                                                   \
  X(EGRESS_EVERY_WAY, "egress_every_way") /* a retransmission, by all of them */

enum suture_rung {
#define SUTURE_RUNG_ENUM(name, label) SUTURE_RUNG_##name,
  SUTURE_RUNGS(SUTURE_RUNG_ENUM)
#undef SUTURE_RUNG_ENUM
      SUTURE_RUNG_COUNT
};

/* A tunnelled packet's kind is the low 3 bits of its VNI; the rest is suture_node_state.vni_base. */
enum suture_tunnel_kind {
  SUTURE_TUNNEL_FINAL = 1,  /* for the receiver's own socket, or dropped: never forwarded again */
  SUTURE_TUNNEL_ORPHAN = 2, /* the sender's process is dead: treat as fresh from the access side, once */
  SUTURE_TUNNEL_ASK = 3,    /* is this yours? If so take it and say so (event ASK_MINE), else say so */
  SUTURE_TUNNEL_RETURN = 4, /* owner's packet to a client, to be sent on from the receiver (`return: tunnel`) */
};
#define SUTURE_TUNNEL_KIND_MASK 7u

enum suture_node_flags {
  SUTURE_NODE_DRAINING = 1 << 0,      /* new connections are dropped (the client's retry goes elsewhere) */
  SUTURE_NODE_RETURN_TUNNEL = 1 << 1, /* answers to forwarded packets go back through the forwarder */
  SUTURE_NODE_CUT_OFF = 1 << 2,       /* no majority: flows without fence are gated (egress rule 4) */
};

/* The single entry of map `node`. Written by user space only. */
struct suture_node_state {
  __u64 heartbeat_ns;       /* bpf_ktime_get_ns() time base; the last beat */
  __u64 heartbeat_limit_ns; /* older than this: dead or stuck (rung 2, egress rule 1) */
  __u64 slot_offset_ms;     /* slot clock = bpf_ktime_get_ns()/1e6 + this (wraps; PROTOCOL.md, slot clock) */
  __u32 vni_base;           /* low 3 bits are 0 */
  __u32 flags;              /* enum suture_node_flags */
  __u32 fin_mark;           /* skb->mark & fin_mark: this FIN is intended */
  __u32 rst_mark;           /* skb->mark & rst_mark: this RST is intended */
  __u32 vxlan_ifindex;
  __u32 tun_ifindex; /* punted packets go there */
  __u8 node_id;
  __u8 heir_id; /* 0: none */
  __u16 pad;
  __u32 hint_burst;      /* token bucket of hints without a map entry, per client prefix: packets */
  __u32 hint_per_second; /*   and its refill */
  __u32 punt_burst;      /* token bucket of punts, per client prefix */
  __u32 punt_per_second;
  __u32 event_burst; /* token bucket of "not mine" events, per sending peer */
  __u32 event_per_second;
  __u32 flow_states;       /* entries of map `flows`: 0, and ordinary packets skip the look-up */
  __u64 not_mine_until_ns; /* same base: no entry of `not_mine` outlives it, so that most packets skip the look-up */
  __u32 lease_jiffies;     /* jiffies of this kernel: after so long a client's silence egress rules 3 and 4 bite */
  __u32 claim_burst; /* token buckets of claim and frozen punts, of REPLACED and of GATED events, per client prefix */
  __u32 claim_per_second;
  /* What one node's user space takes, whoever sends it: one token bucket each for punts, claim and frozen punts,
     REPLACED, GATED and REWRITTEN events. After the prefix's own bucket: random sources have a fresh one each. */
  __u32 punt_total_burst;
  __u32 punt_total_per_second;
  __u32 pad2;
};

enum suture_peer_flags {
  SUTURE_PEER_CONFIGURED = 1 << 0,
  SUTURE_PEER_ALIVE = 1 << 1,   /* in two-way liveness */
  SUTURE_PEER_HINT_OK = 1 << 2, /* its slot clock agrees with ours within 60 s */
  SUTURE_PEER_UNDERLAY6 = 1 << 3,
};

/* Map `peers`: array, index = node id. */
struct suture_peer {
  struct suture_addr local;  /* our underlay address towards it, v4-mapped or v6 */
  struct suture_addr remote; /* its underlay address */
  __u32 flags;               /* enum suture_peer_flags */
  __u32 incarnation;         /* the one that is alive */
};

/* Map `owners`: hash, suture_flow_key -> this. One writer: the directory. */
struct suture_owner {
  __u8 node_id;
  __u8 pad[3];
  __u32 incarnation; /* of the owner when it said so; another incarnation of it is "not living" for this flow */
};

/* Map `not_mine`: LRU hash, this -> __u64 until (ns, bpf_ktime_get_ns() base): `peer` has no socket for `flow`. */
struct suture_not_mine_key {
  struct suture_flow_key flow;
  __u32 peer;
};

/* Map `flows`: hash, suture_flow_key -> this. One writer: user space (Steering::set_flow_state). */
enum suture_flow_phase {
  SUTURE_FLOW_CLAIMING = 1, /* this node probes, fences or rebuilds it: what finds no finished socket is punted */
  SUTURE_FLOW_FROZEN = 2,   /* our own session, replaced or under suspicion: nothing in, nothing out of its socket */
  SUTURE_FLOW_NO_FENCE = 3, /* our own session, and something rewrites its timestamps: no echo says anything */
};
struct suture_flow_state {
  __u8 state; /* enum suture_flow_phase */
  __u8 pad[7];
};

/* Map `vips`: hash, suture_vip_key -> __u8. Besides each VIP:port it holds each VIP with port 0 (fragments and
   truncated headers have no port). Map `underlay_peers`: hash, suture_addr -> __u32 node id, the sources that may
   tunnel to us. Map `return_path`: LRU hash, suture_flow_key -> __u32 node id of the peer that forwarded the flow's
   last packet. Map `rewritten`: LRU hash, suture_flow_key -> struct suspicion (bpf/maps.bpf.h). */

/* Ring buffer `events`, kernel to user space. */
enum suture_event_kind {
  SUTURE_EVENT_NOT_MINE = 1,     /* `peer` forwarded us a packet (final) of a flow that we do not have */
  SUTURE_EVENT_ASK_MINE = 2,     /* `peer` asked, and the packet went into our socket */
  SUTURE_EVENT_ASK_NOT_MINE = 3, /* `peer` asked, and we have no socket */
  SUTURE_EVENT_REPLACED = 4,     /* the client echoes a clock ahead of our socket's; `peer`: whom it names, or 0 */
  SUTURE_EVENT_GATED = 5,        /* a segment with data or FIN was held back (egress rule 4): probe the client */
  /* The client acknowledges our data and does not echo its clock: set SUTURE_FLOW_NO_FENCE. Once per connection, on its
     second such packet. */
  SUTURE_EVENT_REWRITTEN = 6,
};
struct suture_event {
  struct suture_flow_key key;
  __u32 kind; /* enum suture_event_kind */
  __u32 peer; /* node id; REPLACED: of a configured peer, living or not, or 0 */
  /* Of the packet, host byte order; REPLACED, GATED and REWRITTEN only. */
  __u32 echo; /* TSecr; GATED: 0; REWRITTEN: 0 where there is none */
  __u32 seq;
  __u32 ack;
};

#endif
