/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* Into the VXLAN device and out of it (RFC 7348; external mode: the program gives the outer header per packet). */
#ifndef SUTURE_TUNNEL_BPF_H
#define SUTURE_TUNNEL_BPF_H

#include "count.bpf.h"
#include "owners.bpf.h"

#define TUNNEL_TTL 64
#define AF_INET_ 2 /* <sys/socket.h> is no BPF header */
#define AF_INET6_ 10

/* VXLAN carries Ethernet; packets of devices without a MAC header get one. The source must be no receiver's own address
   (drivers/net/vxlan: "ignore packet loops"), hence a constant that no device has. */
static __always_inline int push_ethernet(struct __sk_buff* skb) {
  struct ethhdr header = {
      .h_dest = {0x02, 0x53, 0x75, 0x74, 0x00, 0x02},
      .h_source = {0x02, 0x53, 0x75, 0x74, 0x00, 0x01},
      .h_proto = (__be16)skb->protocol,
  };
  if (bpf_skb_change_head(skb, sizeof(header), 0)) return -1;
  return (int)bpf_skb_store_bytes(skb, 0, &header, sizeof(header), 0);
}

/* The outer header that the VXLAN device will put before this packet. */
static __always_inline long set_outer(struct __sk_buff* skb, const struct suture_node_state* self,
                                      const struct suture_peer* peer, __u32 kind) {
  struct bpf_tunnel_key outer = {.tunnel_id = self->vni_base | kind, .tunnel_ttl = TUNNEL_TTL};
  __u64 flags = BPF_F_ZERO_CSUM_TX; /* the inner TCP checksum covers what matters */
  if (peer->flags & SUTURE_PEER_UNDERLAY6) {
    __builtin_memcpy(outer.remote_ipv6, peer->remote.b, 16);
    __builtin_memcpy(outer.local_ipv6, peer->local.b, 16);
    flags |= BPF_F_TUNINFO_IPV6;
  } else {
    __be32 remote, local;
    __builtin_memcpy(&remote, peer->remote.b + 12, 4);
    __builtin_memcpy(&local, peer->local.b + 12, 4);
    outer.remote_ipv4 = bpf_ntohl(remote);
    outer.local_ipv4 = bpf_ntohl(local);
  }
  return bpf_skb_set_tunnel_key(skb, &outer, sizeof(outer), flags);
}

/* `l3` is 0 on devices without a MAC header. Consumes the packet. */
static __always_inline int tunnel_to(struct __sk_buff* skb, const struct suture_node_state* self, __u32 id, __u32 kind,
                                     __u32 l3, __u32 rung) {
  struct suture_peer* peer = peer_of(id);
  if (!peer || !(peer->flags & SUTURE_PEER_CONFIGURED)) return drop(SUTURE_RUNG_ENCAP_FAILED);
  if (l3 == 0 && push_ethernet(skb)) return drop(SUTURE_RUNG_ENCAP_FAILED);
  if (set_outer(skb, self, peer, kind)) return drop(SUTURE_RUNG_ENCAP_FAILED);
  count(rung);
  count_forwarded(id);
  return (int)bpf_redirect(self->vxlan_ifindex, 0);
}

/* The outer header of a packet on the VXLAN device: sender's address and VNI. */
static __always_inline int outer_of(struct __sk_buff* skb, struct suture_addr* source, __u32* vni) {
  struct bpf_tunnel_key outer = {};
  const __u32 bytes = __builtin_offsetof(struct bpf_tunnel_key, local_ipv6);
  if (!bpf_skb_get_tunnel_key(skb, &outer, bytes, 0)) {
    map_v4(source, bpf_htonl(outer.remote_ipv4));
  } else if (!bpf_skb_get_tunnel_key(skb, &outer, bytes, BPF_F_TUNINFO_IPV6)) {
    __builtin_memcpy(source->b, outer.remote_ipv6, 16);
  } else {
    return -1;
  }
  *vni = outer.tunnel_id;
  return 0;
}

/* Sends the owner's answer on to the client (`return: tunnel`): routed here, with our own next hop. */
static __always_inline int send_to_client(struct __sk_buff* skb, const struct suture_node_state* self,
                                          const struct packet* p) {
  struct bpf_fib_lookup route = {};
  route.ifindex = skb->ifindex;
  route.l4_protocol = IPPROTO_TCP;
  if (p->is_v6) {
    route.family = AF_INET6_;
    __builtin_memcpy(route.ipv6_src, &p->ip.v6.saddr, 16);
    __builtin_memcpy(route.ipv6_dst, &p->ip.v6.daddr, 16);
  } else {
    route.family = AF_INET_;
    route.ipv4_src = p->ip.v4.saddr;
    route.ipv4_dst = p->ip.v4.daddr;
  }
  long found = bpf_fib_lookup(skb, &route, sizeof(route), 0);
  if (found != BPF_FIB_LKUP_RET_SUCCESS && found != BPF_FIB_LKUP_RET_NO_NEIGH)
    return drop(SUTURE_RUNG_RETURN_UNROUTABLE);
  skb->mark |= self->fin_mark | self->rst_mark; /* the owner's egress program has judged its FIN and RST */
  count(SUTURE_RUNG_TUNNEL_RETURNED);
  return (int)bpf_redirect_neigh(route.ifindex, 0, 0, 0);
}

#endif
