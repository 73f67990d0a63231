/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * The few fields of kernel structures that the ladder reads. Only names matter: CO-RE finds the offsets in the running
 * kernel's BTF at load, so this builds anywhere, without the build machine's vmlinux.h.
 */
#ifndef SUTURE_KERNEL_BPF_H
#define SUTURE_KERNEL_BPF_H

#include <linux/types.h>

#include <bpf/bpf_core_read.h>

#define CO_RE __attribute__((preserve_access_index))

struct sock_common {
  unsigned long skc_flags;
} CO_RE;

struct sock {
  struct sock_common __sk_common;
  __u32 sk_mark;
} CO_RE;

struct inet_connection_sock {
  struct {
    __u32 lrcvtime; /* jiffies: last segment with data */
  } icsk_ack;
} CO_RE;

struct tcp_options_received {
  __u16 tstamp_ok : 1; /* negotiated */
} CO_RE;

struct tcp_sock {
  __u32 tsoffset;       /* TSval = clock + this */
  __u8 repair : 1;      /* TCP_REPAIR is on: being rebuilt */
  __u8 tcp_usec_ts : 1; /* Linux 6.7: the clock counts microseconds, else milliseconds */
  __u32 rcv_tstamp;     /* jiffies: last acceptable ACK */
  __u32 rcv_nxt;
  __u32 rcv_wnd;
  __u32 snd_una;
  __u32 snd_nxt;
  __u64 bytes_acked; /* of this socket's data: no SYN, nothing that it was rebuilt with */
  struct tcp_options_received rx_opt;
} CO_RE;

struct tcp_request_sock {
  __u32 snt_isn; /* ours: include/linux/tcp.h */
} CO_RE;

#define SOCK_DEAD_BIT 1UL /* 1 << SOCK_DEAD, include/net/sock.h enum sock_flags */

#endif
