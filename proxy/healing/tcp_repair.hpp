// The kernel's door to a connection's inner state (TCP_REPAIR; net/ipv4/tcp.c do_tcp_setsockopt, tcp_repair_*).
// Here: what the owner does with a socket at accept (PROTOCOL.md). Dead owners' sockets are rebuilt in rebuild.hpp.
// Needs CAP_NET_ADMIN.
#pragma once

#include <cstdint>

#include <suture/clock.hpp>
#include <suture/conn_facts.hpp>
#include <suture/node_id.hpp>

namespace suture::healing {

// Reads ISS, IRS, options and scales of a freshly accepted socket, and moves its timestamp offset into the slot of `id`
// (idea 6). No byte of ours may have been sent. Thread-safe: no state but the clock, which is atomic.
class SlotAcceptHook final : public AcceptHook {
 public:
  SlotAcceptHook(NodeId id, const SlotClock& clock) : id_(id), clock_(clock) {}
  Result<ConnFacts> on_accept(int fd) override;

 private:
  NodeId id_;
  const SlotClock& clock_;
};

}  // namespace suture::healing
