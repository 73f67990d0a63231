// IPv4's reverse path filter on a device whose packets carry addresses that no route leads to it for: the TUN device
// (what we write into it) and the VXLAN device (what peers forward).
#pragma once

#include <string>

#include <suture/result.hpp>

namespace suture::datapath {

// Off where that can be. The kernel takes the larger of `all` and the device's own value
// (Documentation/networking/ip-sysctl.rst): where `all` is on, loose (2) is the weakest to be had; and that drops
// everything on a device without an address (net/ipv4/fib_frontend.c, __fib_validate_source: last_resort). So the
// device gets `address` then, one that means nothing anywhere else: of 127.83.117.0/24, another one for each device.
Result<void> allow_any_source(unsigned ifindex, const std::string& device, const char* address);

}  // namespace suture::datapath
