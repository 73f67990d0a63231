// What is fixed when a connection is established, read from the kernel once at accept (PROTOCOL.md, "What the owner
// does with a socket at accept"). The state record starts with it; a rebuild needs all of it.
#pragma once

#include <cstdint>

#include <suture/flow_key.h>
#include <suture/result.hpp>

namespace suture {

struct ConnFacts {
  suture_flow_key key{};
  std::uint32_t iss = 0;  // our initial sequence number; `out` offset 0 is iss + 1
  std::uint32_t irs = 0;  // the client's; `in` offset 0 is irs + 1
  std::uint16_t mss = 0;  // what the client announced and we use, bytes
  std::uint8_t snd_wscale = 0;
  std::uint8_t rcv_wscale = 0;
  bool wscale_ok = false;
  bool sack_ok = false;
  bool timestamps = false;
  bool hint = false;             // the timestamp offset was moved into our slot
  std::uint32_t ts_offset = 0;   // TSval - CLOCK_MONOTONIC ms of the owner, modulo 2^32, after the move
  std::uint32_t flow_label = 0;  // IPv6, host order, 20 bits
};

// Done to every accepted socket before its first byte is written. Implemented by healing/tcp_repair on the slot clock;
// a fake in unit tests. Must be callable from every worker thread at once. An error leaves the socket usable: the
// session then runs without a record of sequence numbers ("no hint").
class AcceptHook {
 public:
  virtual ~AcceptHook() = default;
  virtual Result<ConnFacts> on_accept(int fd) = 0;
};

}  // namespace suture
