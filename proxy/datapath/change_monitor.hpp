// Says that a device, qdisc or filter of this network namespace has changed (rtnetlink(7) notifications), not which:
// its user looks for itself, since notifications can be lost.
#pragma once

#include <suture/result.hpp>

#include "proxy/datapath/file_descriptor.hpp"

namespace suture::datapath {

class ChangeMonitor {
 public:
  static Result<ChangeMonitor> open();
  int fd() const { return fd_.get(); }  // readable: something has changed
  void drain();                         // call when it is, before looking

 private:
  explicit ChangeMonitor(FileDescriptor fd) : fd_(std::move(fd)) {}
  FileDescriptor fd_;
};

}  // namespace suture::datapath
