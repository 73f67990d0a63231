// The kernel's jiffies: the unit in which TCP notes when it last heard the client (tcp_sock.rcv_tstamp).
#pragma once

#include <cstdint>

#include <suture/result.hpp>

namespace suture::datapath {

// HZ. There is no call for it (sysconf(_SC_CLK_TCK) is USER_HZ, always 100); the coarse clocks advance once a jiffy, so
// their resolution is its length (kernel/time/posix-timers.c, posix_get_coarse_res: TICK_NSEC).
Result<std::uint32_t> jiffies_per_second();

// Rounded down, to 0 even: a lease of the kernel's is never longer than the one that peers count on.
Result<std::uint32_t> to_jiffies(std::uint64_t ns);

}  // namespace suture::datapath
