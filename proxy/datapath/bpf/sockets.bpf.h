/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* Rung 4: does this kernel have a socket that this packet belongs to? */
#ifndef SUTURE_SOCKETS_BPF_H
#define SUTURE_SOCKETS_BPF_H

#include "kernel.bpf.h"
#include "parse.bpf.h"

enum local {
  LOCAL_NONE,
  LOCAL_FULL,    /* established and the like */
  LOCAL_REQUEST, /* half-open, and the packet is its third handshake segment */
  LOCAL_TIME_WAIT,
  LOCAL_COOKIE, /* only a listener, but the ACK carries a SYN cookie of ours */
};

struct local_socket {
  enum local is;
  /* LOCAL_FULL only: */
  __u32 in_repair;  /* still being rebuilt */
  __u32 ts_unit_ns; /* what its timestamps count; 0: none were negotiated */
  __u32 tsoffset;
  __u32 acks_new_data; /* the packet fits it, and acknowledges data for the first time */
  __u32 first_byte;    /* SEQ of its first byte of data */
};

static __always_inline struct bpf_sock* lookup(struct __sk_buff* skb, const struct suture_flow_key* key, int is_v6) {
  struct bpf_sock_tuple tuple = {};
  if (is_v6) {
    __builtin_memcpy(tuple.ipv6.saddr, key->client.b, 16);
    __builtin_memcpy(tuple.ipv6.daddr, key->vip.b, 16);
    tuple.ipv6.sport = key->client_port;
    tuple.ipv6.dport = key->vip_port;
    return bpf_skc_lookup_tcp(skb, &tuple, sizeof(tuple.ipv6), BPF_F_CURRENT_NETNS, 0);
  }
  __builtin_memcpy(&tuple.ipv4.saddr, key->client.b + 12, 4);
  __builtin_memcpy(&tuple.ipv4.daddr, key->vip.b + 12, 4);
  tuple.ipv4.sport = key->client_port;
  tuple.ipv4.dport = key->vip_port;
  return bpf_skc_lookup_tcp(skb, &tuple, sizeof(tuple.ipv4), BPF_F_CURRENT_NETNS, 0);
}

/*
 * A socket whose process is gone (SOCK_DEAD) and that was not closed on purpose (no mark): what a killed proxy leaves
 * behind. It shadows a flow that a peer may heal, so it counts as no socket.
 */
static __always_inline int is_abandoned(struct tcp_sock* tcp, const struct suture_node_state* self) {
  struct sock* full = (struct sock*)tcp;
  return (full->__sk_common.skc_flags & SOCK_DEAD_BIT) && !(full->sk_mark & (self->fin_mark | self->rst_mark));
}

/* The client's answer to our SYN-ACK. Anything else with this key belongs to a flow that lives elsewhere, of which only
   a copy of the SYN came here: the request socket would swallow it. */
static __always_inline int completes_handshake(struct bpf_sock* sk, const struct packet* p) {
  struct tcp_request_sock* request = bpf_skc_to_tcp_request_sock(sk);
  return request && (p->flags & TCP_ACK) && bpf_ntohl(p->tcp.ack_seq) == request->snt_isn + 1;
}

static __always_inline int has_cookie(struct bpf_sock* sk, struct packet* p) {
  if ((p->flags & (TCP_ACK | TCP_SYN | TCP_RST)) != TCP_ACK) return 0;
  __u32 ip_bytes = p->is_v6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr);
  return bpf_tcp_check_syncookie(sk, &p->ip, ip_bytes, &p->tcp, sizeof(p->tcp)) == 0;
}

/* The unit of a socket's timestamps (RFC 7323 section 5.4 leaves it to the sender), or 0: none were negotiated. */
static __always_inline __u32 timestamp_unit_ns(struct tcp_sock* tcp) {
  if (!BPF_CORE_READ_BITFIELD(tcp, rx_opt.tstamp_ok)) return 0;
  if (bpf_core_field_exists(tcp->tcp_usec_ts) && BPF_CORE_READ_BITFIELD(tcp, tcp_usec_ts)) return 1000;
  return 1000000;
}

/* As RFC 9293 section 3.10.7.4 tests a segment; more narrowly, because nothing depends on each single one. */
static __always_inline int acks_new_data(struct tcp_sock* tcp, const struct packet* p) {
  if ((p->flags & (TCP_ACK | TCP_RST)) != TCP_ACK) return 0;
  __u32 ack = bpf_ntohl(p->tcp.ack_seq);
  return (__s32)(ack - tcp->snd_una) > 0 && (__s32)(tcp->snd_nxt - ack) >= 0 &&
         bpf_ntohl(p->tcp.seq) - tcp->rcv_nxt <= tcp->rcv_wnd;
}

static __always_inline struct local_socket full_socket(struct bpf_sock* sk, const struct suture_node_state* self,
                                                       const struct packet* p) {
  struct local_socket found = {.is = LOCAL_FULL};
  struct tcp_sock* tcp = bpf_skc_to_tcp_sock(sk);
  if (!tcp) return found;
  if (is_abandoned(tcp, self)) {
    found.is = LOCAL_NONE;
    return found;
  }
  found.in_repair = BPF_CORE_READ_BITFIELD(tcp, repair);
  found.ts_unit_ns = timestamp_unit_ns(tcp);
  found.tsoffset = tcp->tsoffset;
  found.acks_new_data = acks_new_data(tcp, p);
  found.first_byte = tcp->snd_una - (__u32)tcp->bytes_acked;
  return found;
}

static __always_inline struct local_socket local_socket(struct __sk_buff* skb, struct packet* p,
                                                        const struct suture_node_state* self) {
  struct local_socket found = {.is = LOCAL_NONE};
  struct bpf_sock* sk = lookup(skb, &p->key, p->is_v6);
  if (!sk) return found;
  switch (sk->state) {
    case BPF_TCP_LISTEN:
      found.is = has_cookie(sk, p) ? LOCAL_COOKIE : LOCAL_NONE;
      break;
    case BPF_TCP_NEW_SYN_RECV:
      found.is = completes_handshake(sk, p) ? LOCAL_REQUEST : LOCAL_NONE;
      break;
    case BPF_TCP_TIME_WAIT:
      found.is = LOCAL_TIME_WAIT;
      break;
    default:
      found = full_socket(sk, self, p);
  }
  bpf_sk_release(sk);
  return found;
}

/* For ICMP errors: no header to judge by, so any socket but a listener. */
static __always_inline int has_any_socket(struct __sk_buff* skb, const struct packet* p,
                                          const struct suture_node_state* self) {
  struct bpf_sock* sk = lookup(skb, &p->key, p->is_v6);
  if (!sk) return 0;
  int found = sk->state != BPF_TCP_LISTEN;
  if (found && sk->state != BPF_TCP_NEW_SYN_RECV && sk->state != BPF_TCP_TIME_WAIT)
    found = full_socket(sk, self, p).is == LOCAL_FULL;
  bpf_sk_release(sk);
  return found;
}

#endif
