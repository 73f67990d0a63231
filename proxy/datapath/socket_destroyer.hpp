// Removes sockets that a killed process left in the kernel (sock_diag(7), SOCK_DESTROY): they would shadow their flows.
#pragma once

#include <cstdint>

#include <boost/asio/ip/address.hpp>

#include <suture/result.hpp>

namespace suture::datapath {

// All TCP sockets with this local address and port, but listeners. Returns how many. An RST that the kernel sends for
// one is dropped by the egress program (it has no mark): attach Steering first.
Result<unsigned> destroy_sockets(const boost::asio::ip::address& vip, std::uint16_t port);

}  // namespace suture::datapath
