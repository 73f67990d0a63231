// The VIPs on `lo`: those that are missing are added, and go again at a clean exit. One that an operator put there
// stays.
#pragma once

#include <vector>

#include <boost/asio/ip/address.hpp>

#include <suture/result.hpp>

namespace suture::datapath {

class VipAddresses {
 public:
  explicit VipAddresses(std::vector<boost::asio::ip::address> vips) : vips_(std::move(vips)) {}

  // Adds what is on no device, adopts what a former process added. Again at any time: somebody may have removed one.
  Result<void> ensure();
  // Those that are ours by now.
  void remove();

 private:
  std::vector<boost::asio::ip::address> vips_;
  std::vector<boost::asio::ip::address> ours_;
};

}  // namespace suture::datapath
