#include "proxy/datapath/vip_addresses.hpp"

#include <net/if.h>

#include <algorithm>

#include <suture/log.hpp>

#include "proxy/datapath/address.hpp"

namespace suture::datapath {

Result<void> VipAddresses::ensure() {
  const unsigned loopback = ::if_nametoindex("lo");
  for (const auto& vip : vips_) {
    const auto owner = find_address(vip);
    if (!owner) return owner.error();
    if (*owner == AddressOwner::others) continue;
    if (*owner == AddressOwner::nobody) {
      if (auto done = add_address(loopback, vip); !done) return done;
      log::info("vip_added", {{"vip", vip.to_string()}, {"device", "lo"}});
    }
    if (std::find(ours_.begin(), ours_.end(), vip) == ours_.end()) ours_.push_back(vip);
  }
  return {};
}

void VipAddresses::remove() {
  const unsigned loopback = ::if_nametoindex("lo");
  for (const auto& vip : ours_) {
    if (auto done = delete_address(loopback, vip); !done) log::warn("vip_remove", {{"reason", done.error().message}});
  }
  ours_.clear();
}

}  // namespace suture::datapath
