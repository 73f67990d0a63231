// Makes a socket of this kernel for a connection that another node's kernel held, by TCP_REPAIR (net/ipv4/tcp.c,
// do_tcp_setsockopt and tcp_repair_*). Called once a claim is proven (PROTOCOL.md, "Probe, fence, claim").
//
//   out:  ... acked by the client | out_seq (c) ...      the next byte that the socket sends
//   in:   ... known to the record | in_seq (L or S) ...  the next byte that the socket takes
//
// Nothing is sent, neither by a success nor by a failure at any step. Repair mode is left without a window probe
// (TCP_REPAIR_OFF_NO_WP): the probe would leave before the reuse options are set, which can only be set after it, so a
// failure there could no longer be silent; and what it tells and asks, the caller has at hand: the client's answer to
// the fence, to be written into the socket like a held stray (datapath::Tun::write). Until a packet of the client's has
// come that way, the socket
//   - echoes 0 in its timestamps: ts_recent cannot be set from outside; the first segment at or below in_seq sets it;
//   - keeps the window that `window` gave it;
//   - has no round-trip time: its first timeout is 3 s (tcp_init_metrics, TCP_TIMEOUT_FALLBACK), also for the probe
//     of a closed window, unless the client opens it before.
// Held strays that acknowledge less than out_seq are dropped by the kernel, with a challenge ACK (tcp_ack: the socket
// has sent nothing yet that they could be late for); the client sends their bytes again.
//
// Needs CAP_NET_ADMIN, for ports below 1024 CAP_NET_BIND_SERVICE. Thread-safe: no state.
#pragma once

#include <cstdint>

#include <sys/socket.h>
#include <unistd.h>

#include <suture/conn_facts.hpp>
#include <suture/result.hpp>

namespace suture::healing {

struct RebuildSpec {
  ConnFacts facts;            // of the record; `hint` says whether `tsval` lies in our slot
  std::uint32_t out_seq = 0;  // c
  std::uint32_t in_seq = 0;   // L; S on the lost-bytes rung
  std::uint32_t tsval = 0;  // of the socket's segments from now on: above the fence, even (odd would mean microseconds)
  std::uint16_t window = 0;   // the window field of the client's answer, as it was on the wire
  std::uint16_t mss_max = 0;  // this node's clamp (the listener's TCP_MAXSEG), bytes; 0: none
};

struct Rebuilt {
  int fd = -1;      // the caller's: out of repair mode, non-blocking, close-on-exec, options as the listener gives them
  ConnFacts facts;  // the spec's, with our ts_offset and the MSS in use
};

// What a rebuild asks of the kernel; tests fail the Nth call.
struct Syscalls {
  int (*socket)(int, int, int) = ::socket;
  int (*setsockopt)(int, int, int, const void*, socklen_t) = ::setsockopt;
  int (*getsockopt)(int, int, int, void*, socklen_t*) = ::getsockopt;
  int (*bind)(int, const sockaddr*, socklen_t) = ::bind;
  int (*connect)(int, const sockaddr*, socklen_t) = ::connect;
  int (*close)(int) = ::close;
};

// The error's message names the step, errno_value is the kernel's. Those that a caller tells apart:
//   EADDRINUSE     this kernel has a socket of this connection already
//   EADDRNOTAVAIL  the VIP is not on an interface of this host
//   ENETUNREACH, EHOSTUNREACH  no route to the client
//   EINVAL, EFBIG  the spec is wrong: an odd tsval, an MSS below 88; a window scale above 14
Result<Rebuilt> rebuild_socket(const RebuildSpec& spec, const Syscalls& syscalls = {});

}  // namespace suture::healing
