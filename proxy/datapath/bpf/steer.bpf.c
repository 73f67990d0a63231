/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * Steering: the programs that Suture attaches (tc clsact, direct action).
 *
 *   client ──> [ingress] ──> local socket
 *                 │  └────> TUN device ──> user space             (punt)
 *                 └───────> VXLAN device ──> peer [tunnel_ingress] ──> its local socket
 *   local socket ──> [egress] ──> client
 *                       └───────> VXLAN device ──> forwarder [tunnel_ingress] ──> [egress] ──> client   (return:
 * tunnel)
 *
 * The _l3 variants are for devices without a MAC header (TUN, WireGuard). Contract with user space:
 * suture/datapath_abi.h.
 */
#include <stddef.h>

#include <linux/bpf.h>
#include <linux/icmpv6.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "gate.bpf.h"
#include "ladder.bpf.h"
#include "return.bpf.h"

static __always_inline int steer_ingress(struct __sk_buff* skb, __u32 l3) {
  struct suture_node_state* self = this_node();
  if (!self) return TC_ACT_UNSPEC;
  struct packet p = {};
  struct origin access = {};
  switch (parse_ingress(skb, &p, l3)) {
    case PARSED_TCP:
      return tcp_ladder(skb, &p, self, &access, bpf_ktime_get_ns());
    case PARSED_ICMP:
      return icmp_ladder(skb, &p, self, &access, bpf_ktime_get_ns());
    case PARSED_FRAGMENT:
      return pass(SUTURE_RUNG_FRAGMENT);
    case PARSED_MALFORMED:
      return drop(SUTURE_RUNG_MALFORMED);
    default:
      return not_ours();
  }
}

static __always_inline int steer_returned(struct __sk_buff* skb, const struct suture_node_state* self) {
  struct packet p = {};
  if (parse_egress(skb, &p, ETHERNET_BYTES) != PARSED_TCP) return drop(SUTURE_RUNG_TUNNEL_INNER_NOT_VIP);
  return send_to_client(skb, self, &p);
}

static __always_inline int steer_egress(struct __sk_buff* skb, __u32 l3) {
  struct suture_node_state* self = this_node();
  if (!self) return TC_ACT_UNSPEC;
  struct packet p = {};
  switch (parse_egress(skb, &p, l3)) {
    case PARSED_TCP:
      break;
    case PARSED_FRAGMENT: /* our own TCP never fragments; one that is here came from elsewhere and is judged by age only
                           */
    case PARSED_MALFORMED:
      return is_stale(self, bpf_ktime_get_ns()) ? drop(SUTURE_RUNG_EGRESS_STALE_DROPPED) : TC_ACT_UNSPEC;
    default:
      return TC_ACT_UNSPEC;
  }
  __u64 now = bpf_ktime_get_ns();
  if (is_stale(self, now)) return drop(SUTURE_RUNG_EGRESS_STALE_DROPPED);
  /* Came through the tunnel to be sent on from here: the owner has judged it, and it must not go back. */
  if (skb->ingress_ifindex && skb->ingress_ifindex == self->vxlan_ifindex) return TC_ACT_UNSPEC;
  if (p.flags & TCP_RST) {
    if (!(skb->mark & self->rst_mark)) return drop(SUTURE_RUNG_EGRESS_RST_DROPPED);
  } else if (p.flags & TCP_FIN) {
    if (!(skb->mark & self->fin_mark)) return drop(SUTURE_RUNG_EGRESS_FIN_DROPPED);
  }
  int rung = gate(skb, &p, self, now);
  if (rung != GATE_OPEN) return drop((__u32)rung);
  if (self->flags & SUTURE_NODE_RETURN_TUNNEL) return answer(skb, &p, self, l3);
  return TC_ACT_UNSPEC;
}

SEC("tc")
int ingress(struct __sk_buff* skb) {
  return steer_ingress(skb, ETHERNET_BYTES);
}

SEC("tc")
int ingress_l3(struct __sk_buff* skb) {
  return steer_ingress(skb, 0);
}

SEC("tc")
int tunnel_ingress(struct __sk_buff* skb) {
  struct suture_node_state* self = this_node();
  if (!self) return TC_ACT_SHOT;
  struct suture_addr source = {};
  __u32 vni = 0;
  if (outer_of(skb, &source, &vni)) return drop(SUTURE_RUNG_TUNNEL_UNKNOWN_PEER);
  __u32* sender = bpf_map_lookup_elem(&underlay_peers, &source);
  if (!sender) return drop(SUTURE_RUNG_TUNNEL_UNKNOWN_PEER);
  struct origin from = {.kind = vni & SUTURE_TUNNEL_KIND_MASK, .node = *sender};
  if ((vni & ~SUTURE_TUNNEL_KIND_MASK) != self->vni_base || from.kind < SUTURE_TUNNEL_FINAL ||
      from.kind > SUTURE_TUNNEL_RETURN)
    return drop(SUTURE_RUNG_TUNNEL_UNKNOWN_KIND);
  if (from.kind == SUTURE_TUNNEL_RETURN) return steer_returned(skb, self);

  bpf_skb_change_type(skb, PACKET_HOST); /* the inner MAC address is the sender's */
  struct packet p = {};
  switch (parse_ingress(skb, &p, ETHERNET_BYTES)) {
    case PARSED_TCP:
      return tcp_ladder(skb, &p, self, &from, bpf_ktime_get_ns());
    case PARSED_ICMP:
      return icmp_ladder(skb, &p, self, &from, bpf_ktime_get_ns());
    case PARSED_MALFORMED:
      return drop(SUTURE_RUNG_MALFORMED);
    default:
      return drop(SUTURE_RUNG_TUNNEL_INNER_NOT_VIP);
  }
}

SEC("tc")
int egress(struct __sk_buff* skb) {
  return steer_egress(skb, ETHERNET_BYTES);
}

SEC("tc")
int egress_l3(struct __sk_buff* skb) {
  return steer_egress(skb, 0);
}

/* Attached nowhere: run once at load, to learn what bpf_ktime_get_ns() says (the process may live in a time namespace).
 */
__u64 clock_ns;

SEC("tc")
int read_clock(struct __sk_buff* skb) {
  clock_ns = bpf_ktime_get_ns();
  return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
