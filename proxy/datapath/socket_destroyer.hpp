// Removes sockets of earlier connections from the kernel (sock_diag(7), SOCK_DESTROY): they would shadow flows that are
// to be healed, or take the place of the socket that heals them.
#pragma once

#include <cstdint>

#include <boost/asio/ip/address.hpp>

#include <suture/flow_key.h>
#include <suture/result.hpp>

namespace suture::datapath {

// All TCP sockets with this local address and port, but listeners. Returns how many. An RST that the kernel sends for
// one is dropped by the egress program (it has no mark): attach Steering first.
Result<unsigned> destroy_sockets(const boost::asio::ip::address& vip, std::uint16_t port);

// The TIME_WAIT (or FIN_WAIT2 without a process) that an earlier connection of this key has left here. Any other socket
// stays. Returns whether there was one.
Result<bool> destroy_time_wait(const suture_flow_key& key);

}  // namespace suture::datapath
