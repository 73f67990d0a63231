// One Suture per network namespace: its VIPs, filters and sockets' marks are the namespace's own, whatever the devices
// are called, so a second process would take them from the first.
//
// An abstract unix socket is the lock (unix(7): abstract names belong to the network namespace, and go with the
// process). Known hole: any local program can hold the name; the refusal says which one does.
#pragma once

#include <suture/result.hpp>

#include "proxy/datapath/file_descriptor.hpp"

namespace suture::datapath {

class NamespaceLock {
 public:
  // The error names the process that has it, as far as our PID namespace knows it. errno_value EADDRINUSE.
  static Result<NamespaceLock> take();
  // Lets go of the connections of those who asked who we are (each refused start leaves one). Call now and then.
  void forget_callers();

 private:
  explicit NamespaceLock(FileDescriptor fd) : fd_(std::move(fd)) {}
  FileDescriptor fd_;
};

}  // namespace suture::datapath
