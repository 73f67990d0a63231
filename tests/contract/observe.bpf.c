// What a tc program sees of sockets, written down for test_tc_sockets.py. Host byte order throughout.
#include <stddef.h>

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define CO_RE __attribute__((preserve_access_index))
struct sock_common {
  unsigned long skc_flags;
} CO_RE;
struct sock {
  struct sock_common __sk_common;
} CO_RE;
struct inet_sock {
  struct sock sk;
} CO_RE;
struct inet_connection_sock {
  struct inet_sock icsk_inet;
} CO_RE;
struct tcp_sock {
  struct inet_connection_sock inet_conn;
  __u32 tsoffset;
  __u32 rcv_tstamp;
} CO_RE;
struct tcp_request_sock {
  __u32 snt_isn;
} CO_RE;

enum { NO_SOCKET, NOT_FULL, FULL };
#define EVENTS_MAX 256U

struct event {
  __u32 serial, round, out, kind, state, dead, tsoffset, rcv_tstamp, jiffies, now_ms, mark, flags, seq, ack, snt_isn,
      sport, dport;
  __s32 cookie;  // bpf_tcp_check_syncookie, for a LISTEN socket and an ACK
};

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, EVENTS_MAX);
  __type(key, __u32);
  __type(value, struct event);
} events SEC(".maps");

struct {  // [0] count of events, [1] round, [2] ifindex and [3] destination port for to_tun
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 4);
  __type(key, __u32);
  __type(value, __u32);
} words SEC(".maps");

static __u32* word(__u32 index) {
  return bpf_map_lookup_elem(&words, &index);
}

struct headers {
  void* network;
  struct tcphdr* tcp;
  __u32 network_size;
  struct bpf_sock_tuple tuple;
  __u32 tuple_size;
};

static __always_inline int parse(struct __sk_buff* skb, struct headers* h) {
  void* end = (void*)(long)skb->data_end;
  struct ethhdr* eth = (void*)(long)skb->data;
  if ((void*)(eth + 1) > end) return -1;
  h->network = eth + 1;
  if (eth->h_proto == bpf_htons(ETH_P_IP)) {
    struct iphdr* ip = h->network;
    if ((void*)(ip + 1) > end || ip->protocol != IPPROTO_TCP || ip->ihl != 5) return -1;
    h->tcp = (void*)(ip + 1);
    h->network_size = sizeof(*ip);
    h->tuple.ipv4.saddr = ip->saddr;
    h->tuple.ipv4.daddr = ip->daddr;
    h->tuple_size = sizeof(h->tuple.ipv4);
  } else if (eth->h_proto == bpf_htons(ETH_P_IPV6)) {
    struct ipv6hdr* ip = h->network;
    if ((void*)(ip + 1) > end || ip->nexthdr != IPPROTO_TCP) return -1;
    h->tcp = (void*)(ip + 1);
    h->network_size = sizeof(*ip);
    __builtin_memcpy(h->tuple.ipv6.saddr, &ip->saddr, 16);
    __builtin_memcpy(h->tuple.ipv6.daddr, &ip->daddr, 16);
    h->tuple_size = sizeof(h->tuple.ipv6);
  } else {
    return -1;
  }
  if ((void*)(h->tcp + 1) > end) return -1;
  if (h->tuple_size == sizeof(h->tuple.ipv4)) {
    h->tuple.ipv4.sport = h->tcp->source;
    h->tuple.ipv4.dport = h->tcp->dest;
  } else {
    h->tuple.ipv6.sport = h->tcp->source;
    h->tuple.ipv6.dport = h->tcp->dest;
  }
  return 0;
}

static __always_inline void put(struct event* e, const struct tcphdr* tcp) {
  __u32 *count = word(0), *round = word(1);
  if (!count || !round) return;
  e->round = *round;
  e->now_ms = (__u32)(bpf_ktime_get_ns() / 1000000);
  e->jiffies = (__u32)bpf_jiffies64();
  e->flags = ((const __u8*)tcp)[13];
  e->seq = bpf_ntohl(tcp->seq);
  e->ack = bpf_ntohl(tcp->ack_seq);
  e->sport = bpf_ntohs(tcp->source);
  e->dport = bpf_ntohs(tcp->dest);
  e->serial = __sync_fetch_and_add(count, 1);
  __u32 index = e->serial % EVENTS_MAX;
  bpf_map_update_elem(&events, &index, e, 0);
}

static __always_inline void full(struct event* e, struct tcp_sock* tp) {
  if (!tp) return;
  e->dead = tp->inet_conn.icsk_inet.sk.__sk_common.skc_flags & 1;  // SOCK_DEAD, include/net/sock.h
  e->tsoffset = tp->tsoffset;
  e->rcv_tstamp = tp->rcv_tstamp;
}

SEC("tc")
int egress(struct __sk_buff* skb) {
  struct headers h = {};
  struct event e = {.out = 1, .mark = skb->mark};
  if (parse(skb, &h)) return TC_ACT_OK;
  struct bpf_sock* sk = skb->sk;
  if (sk) {
    e.kind = NOT_FULL;
    e.state = sk->state;
    struct bpf_sock* all = bpf_sk_fullsock(sk);
    if (all) {
      e.kind = FULL;
      full(&e, bpf_skc_to_tcp_sock(all));
    }
  }
  put(&e, h.tcp);
  return TC_ACT_OK;
}

SEC("tc")
int ingress(struct __sk_buff* skb) {
  struct headers h = {};
  struct event e = {.mark = skb->mark};
  if (parse(skb, &h)) return TC_ACT_OK;
  struct bpf_sock* sk = bpf_skc_lookup_tcp(skb, &h.tuple, h.tuple_size, BPF_F_CURRENT_NETNS, 0);
  if (sk) {
    e.state = sk->state;
    e.kind = NOT_FULL;
    if (sk->state == BPF_TCP_NEW_SYN_RECV) {
      struct tcp_request_sock* request = bpf_skc_to_tcp_request_sock(sk);
      if (request) e.snt_isn = request->snt_isn;
    } else if (sk->state == BPF_TCP_LISTEN) {
      e.kind = FULL;
      if (h.tcp->ack && !h.tcp->syn && !h.tcp->rst) {
        if (h.network_size == sizeof(struct iphdr))
          e.cookie = (__s32)bpf_tcp_check_syncookie(sk, h.network, sizeof(struct iphdr), h.tcp, sizeof(*h.tcp));
        else
          e.cookie = (__s32)bpf_tcp_check_syncookie(sk, h.network, sizeof(struct ipv6hdr), h.tcp, sizeof(*h.tcp));
      }
    } else if (sk->state != BPF_TCP_TIME_WAIT) {
      e.kind = FULL;
      full(&e, bpf_skc_to_tcp_sock(sk));
    }
    bpf_sk_release(sk);
  }
  put(&e, h.tcp);
  return TC_ACT_OK;
}

SEC("tc")
int to_tun(struct __sk_buff* skb) {
  struct headers h = {};
  __u32 *ifindex = word(2), *port = word(3);
  if (!ifindex || !port || parse(skb, &h) || h.tcp->dest != bpf_htons((__u16)*port)) return TC_ACT_OK;
  return (int)bpf_redirect(*ifindex, 0);
}

SEC("tc")
int to_host(struct __sk_buff* skb) {
  bpf_skb_change_type(skb, PACKET_HOST);
  return TC_ACT_OK;
}

char LICENSE[] SEC("license") = "GPL";
