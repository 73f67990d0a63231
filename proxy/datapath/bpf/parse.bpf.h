/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * From bytes to a flow key. Reads with bpf_skb_load_bytes only: headers may lie in page fragments, and a packet is
 * never changed before it is known to be ours.
 */
#ifndef SUTURE_PARSE_BPF_H
#define SUTURE_PARSE_BPF_H

#include "maps.bpf.h"

#define ETHERNET_BYTES 14
#define EXTENSION_HEADERS_MAX 6 /* hop-by-hop, 2 x destination, routing, AH, and one to spare */
#define FRAGMENT_BITS 0x3fff    /* more fragments | offset: RFC 791 */

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10

/* <linux/icmp.h> pulls in the build machine's libc. RFC 792. */
#define ICMP_DEST_UNREACH 3
#define ICMP_TIME_EXCEEDED 11
#define ICMP_PARAMETERPROB 12

enum parsed {
  PARSED_OTHER,     /* not TCP and no ICMP error, or not one of our VIP:ports */
  PARSED_TCP,       /* key and all of the header are valid */
  PARSED_ICMP,      /* ICMP error about a flow of ours; key is that flow's */
  PARSED_FRAGMENT,  /* TCP fragment of a VIP */
  PARSED_MALFORMED, /* TCP of a VIP, truncated or contradictory */
};

struct packet {
  struct suture_flow_key key;
  __u32 l3; /* offsets from skb->data */
  __u32 l4;
  __u32 end;
  __u8 is_v6;
  __u8 protocol;
  __u8 fragment;
  __u8 flags;      /* of TCP */
  __u32 tcp_bytes; /* header with options */
  union {
    struct iphdr v4;
    struct ipv6hdr v6;
  } ip;
  struct tcphdr tcp;
};

enum direction { TO_VIP, FROM_VIP };

static __always_inline void map_v4(struct suture_addr* addr, __be32 v4) {
  __u32 words[4] = {0, 0, bpf_htonl(0xffff), v4};
  __builtin_memcpy(addr->b, words, sizeof(words));
}

static __always_inline void set_addresses_v4(struct suture_flow_key* key, __be32 source, __be32 destination,
                                             enum direction direction) {
  map_v4(&key->client, direction == TO_VIP ? source : destination);
  map_v4(&key->vip, direction == TO_VIP ? destination : source);
}

static __always_inline void set_addresses_v6(struct suture_flow_key* key, const struct ipv6hdr* ip,
                                             enum direction direction) {
  const struct in6_addr* client = direction == TO_VIP ? &ip->saddr : &ip->daddr;
  const struct in6_addr* vip = direction == TO_VIP ? &ip->daddr : &ip->saddr;
  __builtin_memcpy(key->client.b, client, 16);
  __builtin_memcpy(key->vip.b, vip, 16);
}

static __always_inline void set_ports(struct suture_flow_key* key, __be16 source, __be16 destination,
                                      enum direction direction) {
  key->client_port = direction == TO_VIP ? source : destination;
  key->vip_port = direction == TO_VIP ? destination : source;
}

/* port 0: is the address a VIP at all? */
static __always_inline int is_vip(const struct suture_addr* addr, __be16 port) {
  struct suture_vip_key vip = {.port = port};
  vip.addr = *addr;
  return bpf_map_lookup_elem(&vips, &vip) != 0;
}

/* Walks extension headers (RFC 8200 section 4.1) from `*l4` on. Negative: the chain is cut off or too long. */
static __always_inline int skip_extension_headers(struct __sk_buff* skb, __u32* l4, __u8* protocol, __u8* fragment) {
  for (int i = 0; i < EXTENSION_HEADERS_MAX; i++) {
    __u8 header[4];
    switch (*protocol) {
      case IPPROTO_HOPOPTS:
      case IPPROTO_ROUTING:
      case IPPROTO_DSTOPTS:
        if (bpf_skb_load_bytes(skb, *l4, header, 2)) return -1;
        *protocol = header[0];
        *l4 += (header[1] + 1) * 8;
        break;
      case IPPROTO_AH:
        if (bpf_skb_load_bytes(skb, *l4, header, 2)) return -1;
        *protocol = header[0];
        *l4 += (header[1] + 2) * 4;
        break;
      case IPPROTO_FRAGMENT:
        if (bpf_skb_load_bytes(skb, *l4, header, 4)) return -1;
        *protocol = header[0];
        *fragment = 1;
        return 0;
      default:
        return 0;
    }
  }
  return -1;
}

/* IP header at p->l3: addresses, p->l4, p->end, p->protocol, p->fragment. Negative: not a readable IP header. */
static __always_inline int parse_ip(struct __sk_buff* skb, struct packet* p, enum direction direction) {
  p->fragment = 0;
  if (skb->protocol == bpf_htons(ETH_P_IP)) {
    if (bpf_skb_load_bytes(skb, p->l3, &p->ip.v4, sizeof(p->ip.v4))) return -1;
    if (p->ip.v4.version != 4 || p->ip.v4.ihl < 5) return -1;
    p->is_v6 = 0;
    p->protocol = p->ip.v4.protocol;
    p->fragment = (p->ip.v4.frag_off & bpf_htons(FRAGMENT_BITS)) != 0;
    p->l4 = p->l3 + p->ip.v4.ihl * 4;
    p->end = p->l3 + bpf_ntohs(p->ip.v4.tot_len);
    if (p->end == p->l3 && skb->len - p->l3 > 0xffff) p->end = skb->len; /* BIG TCP */
    set_addresses_v4(&p->key, p->ip.v4.saddr, p->ip.v4.daddr, direction);
    return 0;
  }
  if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
    if (bpf_skb_load_bytes(skb, p->l3, &p->ip.v6, sizeof(p->ip.v6))) return -1;
    if (p->ip.v6.version != 6) return -1;
    p->is_v6 = 1;
    p->protocol = p->ip.v6.nexthdr;
    p->l4 = p->l3 + sizeof(struct ipv6hdr);
    p->end = p->l4 + bpf_ntohs(p->ip.v6.payload_len);
    if (p->end == p->l4 && skb->len - p->l4 > 0xffff) p->end = skb->len;
    set_addresses_v6(&p->key, &p->ip.v6, direction);
    return skip_extension_headers(skb, &p->l4, &p->protocol, &p->fragment);
  }
  return -1;
}

static __always_inline enum parsed parse_tcp(struct __sk_buff* skb, struct packet* p, enum direction direction) {
  p->key.client_port = 0;
  p->key.vip_port = 0;
  if (p->fragment) return is_vip(&p->key.vip, 0) ? PARSED_FRAGMENT : PARSED_OTHER;
  if (p->l4 + sizeof(p->tcp) > p->end || bpf_skb_load_bytes(skb, p->l4, &p->tcp, sizeof(p->tcp)))
    return is_vip(&p->key.vip, 0) ? PARSED_MALFORMED : PARSED_OTHER;
  set_ports(&p->key, p->tcp.source, p->tcp.dest, direction);
  if (!is_vip(&p->key.vip, p->key.vip_port)) return PARSED_OTHER;
  p->tcp_bytes = p->tcp.doff * 4;
  p->flags = ((__u8*)&p->tcp)[13];
  if (p->tcp_bytes < sizeof(p->tcp) || p->l4 + p->tcp_bytes > p->end || p->end > skb->len) return PARSED_MALFORMED;
  return PARSED_TCP;
}

/*
 * ICMP errors carry the head of the packet that caused them (RFC 792, RFC 4443): one that we sent, so its source is the
 * VIP. Only 8 bytes of TCP are promised: the ports.
 */
static __always_inline enum parsed parse_icmp(struct __sk_buff* skb, struct packet* p) {
  __u8 type;
  if (p->fragment || bpf_skb_load_bytes(skb, p->l4, &type, 1)) return PARSED_OTHER;
  __u32 inner = p->l4 + 8;
  __u8 protocol, fragment = 0;
  __u32 ports_at;
  if (p->is_v6) {
    if (type < ICMPV6_DEST_UNREACH || type > ICMPV6_PARAMPROB) return PARSED_OTHER;
    if (bpf_skb_load_bytes(skb, inner, &p->ip.v6, sizeof(p->ip.v6)) || p->ip.v6.version != 6) return PARSED_OTHER;
    set_addresses_v6(&p->key, &p->ip.v6, FROM_VIP);
    protocol = p->ip.v6.nexthdr;
    ports_at = inner + sizeof(struct ipv6hdr);
    if (skip_extension_headers(skb, &ports_at, &protocol, &fragment)) return PARSED_OTHER;
  } else {
    if (type != ICMP_DEST_UNREACH && type != ICMP_TIME_EXCEEDED && type != ICMP_PARAMETERPROB) return PARSED_OTHER;
    if (bpf_skb_load_bytes(skb, inner, &p->ip.v4, sizeof(p->ip.v4)) || p->ip.v4.version != 4 || p->ip.v4.ihl < 5)
      return PARSED_OTHER;
    set_addresses_v4(&p->key, p->ip.v4.saddr, p->ip.v4.daddr, FROM_VIP);
    protocol = p->ip.v4.protocol;
    fragment = (p->ip.v4.frag_off & bpf_htons(0x1fff)) != 0; /* a first fragment has the ports */
    ports_at = inner + p->ip.v4.ihl * 4;
  }
  __be16 ports[2];
  if (protocol != IPPROTO_TCP || fragment || bpf_skb_load_bytes(skb, ports_at, ports, sizeof(ports)))
    return PARSED_OTHER;
  set_ports(&p->key, ports[0], ports[1], FROM_VIP);
  return is_vip(&p->key.vip, p->key.vip_port) ? PARSED_ICMP : PARSED_OTHER;
}

static __always_inline enum parsed parse_ingress(struct __sk_buff* skb, struct packet* p, __u32 l3) {
  p->l3 = l3;
  if (parse_ip(skb, p, TO_VIP)) return PARSED_OTHER;
  if (p->protocol == IPPROTO_TCP) return parse_tcp(skb, p, TO_VIP);
  if (p->protocol == (p->is_v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP)) return parse_icmp(skb, p);
  return PARSED_OTHER;
}

static __always_inline enum parsed parse_egress(struct __sk_buff* skb, struct packet* p, __u32 l3) {
  p->l3 = l3;
  if (parse_ip(skb, p, FROM_VIP) || p->protocol != IPPROTO_TCP) return PARSED_OTHER;
  return parse_tcp(skb, p, FROM_VIP);
}

#endif
