/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* The timestamp echo (RFC 7323 section 3) and the node that it names (PROTOCOL.md, "Slot"). */
#ifndef SUTURE_ECHO_BPF_H
#define SUTURE_ECHO_BPF_H

#include "parse.bpf.h"

#define TCP_OPTION_END 0
#define TCP_OPTION_NOP 1
#define TCP_OPTION_TIMESTAMP 8
#define TCP_OPTION_TIMESTAMP_BYTES 10

#define ECHO_FOUND (1ULL << 32)

#define SLOT_BITS 20 /* include/suture/clock.hpp kSlotBits */
#define SLOT_SPACE_MASK ((1U << 28) - 1)

/* ECHO_FOUND | TSecr in host order, or 0. A function of its own for the verifier: checked once, not once per caller. */
__noinline __u64 timestamp_echo(struct __sk_buff* skb, __u32 options, __u32 end) {
  __be32 word[3];
  /* What Linux and most others send: NOP NOP timestamp, first. */
  if (options + 12 <= end && !bpf_skb_load_bytes(skb, options, word, 12) && word[0] == bpf_htonl(0x0101080a))
    return ECHO_FOUND | bpf_ntohl(word[2]);
  for (int i = 0; i < 40; i++) { /* 40 bytes of options at most */
    __u8 option[2];
    if (options >= end || bpf_skb_load_bytes(skb, options, option, 1) || option[0] == TCP_OPTION_END) return 0;
    if (option[0] == TCP_OPTION_NOP) {
      options++;
      continue;
    }
    if (options + 2 > end || bpf_skb_load_bytes(skb, options, option, 2) || option[1] < 2 || options + option[1] > end)
      return 0;
    if (option[0] == TCP_OPTION_TIMESTAMP) {
      if (option[1] != TCP_OPTION_TIMESTAMP_BYTES || bpf_skb_load_bytes(skb, options + 6, word, 4)) return 0;
      return ECHO_FOUND | bpf_ntohl(word[0]);
    }
    options += option[1];
  }
  return 0;
}

/* The same, for a whole packet. An echo means something only beside ACK. */
static __always_inline __u64 echo_of(struct __sk_buff* skb, const struct packet* p) {
  if (!(p->flags & TCP_ACK) || p->tcp_bytes < sizeof(struct tcphdr) + TCP_OPTION_TIMESTAMP_BYTES) return 0;
  return timestamp_echo(skb, p->l4 + sizeof(struct tcphdr), p->l4 + p->tcp_bytes);
}

/* The id that an echo (echo_of) names, or 0. */
static __always_inline __u32 hinted_node(__u64 echo, const struct suture_node_state* self, __u64 now) {
  if (!(echo & ECHO_FOUND)) return 0;
  __u32 clock = (__u32)(now / 1000000 + self->slot_offset_ms);
  return (((__u32)echo - clock) & SLOT_SPACE_MASK) >> SLOT_BITS;
}

#endif
