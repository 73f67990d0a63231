// Addresses of a device: a VIP is added to `lo` as /32 or /128 when it is missing.
#pragma once

#include <cstdint>

#include <boost/asio/ip/address.hpp>

#include <suture/result.hpp>

namespace suture::datapath {

// Who has put the address on a device of this network namespace.
enum class AddressOwner : std::uint8_t {
  nobody,  // it is on none
  suture,  // on `lo`, with the mark of add_address: this process or a former one
  others,  // an operator, another program: it stays when we go
};
Result<AddressOwner> find_address(const boost::asio::ip::address& address);
// Host prefix (/32, /128, no duplicate address detection), marked as ours. Ok if it is there already.
Result<void> add_address(unsigned ifindex, const boost::asio::ip::address& address);
// Ok if it is not there.
Result<void> delete_address(unsigned ifindex, const boost::asio::ip::address& address);

}  // namespace suture::datapath
