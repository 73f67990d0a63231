// What the process needs from the kernel before it starts, and says so when it is missing.
#pragma once

#include <string>
#include <vector>

#include <suture/result.hpp>

namespace suture {

// What a file capability only permits (setcap ...+p, the container image's way) becomes effective; the rest of what is
// permitted stays asleep. +ep in the file would do the same, but the kernel refuses to execute such a file (EPERM, and
// nothing that could be logged) where a container is not allowed all of them; so it is check_capabilities that says
// what is missing. Call it before there are threads: capabilities are each thread's own. Root has nothing to raise.
void raise_capabilities();

// CAP_NET_ADMIN (TCP_REPAIR, SO_MARK, routes, devices), CAP_NET_RAW (our own RSTs), CAP_BPF and CAP_PERFMON (programs
// that read sockets by BTF), CAP_NET_BIND_SERVICE if a listener's port is below 1024. The error names all that are
// missing and how to grant them. CAP_SYS_ADMIN stands in for CAP_BPF and CAP_PERFMON (engines that do not know those).
Result<void> check_capabilities(bool privileged_ports);

// No core dump: it would hold the TUN device, and so the route, for its duration (DESIGN.md idea 5). As many
// descriptors as allowed. Nothing here is fatal; returns what an operator should know.
std::vector<std::string> set_limits();

// The calling thread before others of the machine, where we may (CAP_SYS_NICE): a control thread that waits its turn
// for a quarter of a second is dead to its peers. Threads that it starts later inherit this.
void prefer_this_thread();

}  // namespace suture
