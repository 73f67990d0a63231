/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * The key of a client connection, shared by the BPF programs and the C++ code, so that both sides of a map agree
 * by construction. All fields are in network byte order. IPv4 addresses are IPv4-mapped IPv6 addresses
 * (::ffff:a.b.c.d, RFC 4291 section 2.5.5.2): one map serves both families, and no key has padding to forget.
 */
#ifndef SUTURE_FLOW_KEY_H
#define SUTURE_FLOW_KEY_H

#include <linux/types.h>

struct suture_addr {
  __u8 b[16];
};

/* One of our services: an anycast address and a port. 20 bytes, `pad` is always 0. */
struct suture_vip_key {
  struct suture_addr addr;
  __be16 port;
  __u16 pad;
};

/* One client connection. 36 bytes. */
struct suture_flow_key {
  struct suture_addr client;
  struct suture_addr vip;
  __be16 client_port;
  __be16 vip_port;
};

#endif
