// The TUN device: punted packets arrive on it, and the VIP's route hangs on it (DESIGN.md, idea 5). Not persistent: it
// lives exactly as long as the process holds the descriptor (close-on-exec; keep RLIMIT_CORE 0).
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include <suture/result.hpp>

#include "proxy/datapath/file_descriptor.hpp"

namespace suture::datapath {

class Tun {
 public:
  // Creates and sets it up. An error names what holds the name, or the missing CONFIG_TUN or /dev/net/tun.
  static Result<Tun> open(const std::string& name);

  // Sets it up again where somebody set it down; true: it was. The routes on it have to be added again then.
  Result<bool> restore();

  int fd() const { return fd_.get(); }  // non-blocking, for Asio
  unsigned ifindex() const { return ifindex_; }
  const std::string& name() const { return name_; }

  // One packet from its IP header on. 0: nothing there.
  Result<std::size_t> read(std::span<std::uint8_t> buffer);
  // Into the local stack, past the ingress program (none is attached here).
  Result<void> write(std::span<const std::uint8_t> packet);

 private:
  FileDescriptor fd_;
  unsigned ifindex_ = 0;
  std::string name_;
};

}  // namespace suture::datapath
