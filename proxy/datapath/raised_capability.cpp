#include "proxy/datapath/raised_capability.hpp"

#include <linux/capability.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

namespace suture::datapath {
namespace {

// True if this changed the calling thread's effective set.
bool set_effective(int capability, bool on) {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3] = {};
  if (::syscall(SYS_capget, &header, sets) != 0) return false;
  auto& set = sets[CAP_TO_INDEX(capability)];
  const auto mask = CAP_TO_MASK(capability);
  if (((set.effective & mask) != 0) == on || (on && (set.permitted & mask) == 0)) return false;
  set.effective ^= mask;
  return ::syscall(SYS_capset, &header, sets) == 0;
}

}  // namespace

RaisedCapability::RaisedCapability(int capability)
    : capability_(capability), raised_(set_effective(capability, true)) {}

RaisedCapability::~RaisedCapability() {
  const int saved = errno;
  if (raised_) set_effective(capability_, false);
  errno = saved;
}

}  // namespace suture::datapath
