// Kernel settings below /proc/sys.
#pragma once

#include <string>

#include <suture/result.hpp>

namespace suture::datapath {

// `name` relative to /proc/sys: "net/ipv4/conf/all/rp_filter".
Result<int> read_sysctl(const std::string& name);
// Writes only where the value differs; a read-only /proc/sys (containers) is an error only then, and says what to set.
Result<void> ensure_sysctl(const std::string& name, int value);

}  // namespace suture::datapath
