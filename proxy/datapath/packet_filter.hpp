// A BPF program attached to one side of one device (tc clsact, tc-bpf(8)). Handles and priority are fixed, so the next
// start of the process replaces what the last one left, in one step, with no moment without a program.
#pragma once

#include <cstdint>
#include <string>

#include <suture/result.hpp>

namespace suture::datapath {

enum class TcSide : std::uint8_t { ingress, egress };

// Makes the device's clsact qdisc where it has none. True: it is Suture's, made now or by a former process.
Result<bool> prepare_clsact(unsigned ifindex, const std::string& device);
// The id of the program in Suture's filter there, whichever process attached it. 0: none.
std::uint32_t attached_program(unsigned ifindex, TcSide side);
// Attaches or replaces; the kernel holds the program from then on, whatever becomes of the process. `owns_clsact`: what
// prepare_clsact() said; the filter remembers it.
Result<void> attach_program(unsigned ifindex, const std::string& device, TcSide side, int program_fd, bool owns_clsact);
// Ok if nothing is attached.
Result<void> detach_program(unsigned ifindex, const std::string& device, TcSide side);
// Removes the clsact qdisc if no filter is left on it.
Result<void> remove_empty_clsact(unsigned ifindex, const std::string& device);

}  // namespace suture::datapath
