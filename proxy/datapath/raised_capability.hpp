// A capability that is needed for one system call, and not effective for the rest of the process's life.
#pragma once

namespace suture::datapath {

// Raises `capability` for the calling thread, if it is permitted and not effective yet, and lowers it again in the end
// (errno stays what it was). If it is not permitted nothing happens: the call that needed it fails as it would have.
class RaisedCapability {
 public:
  explicit RaisedCapability(int capability);
  RaisedCapability(const RaisedCapability&) = delete;
  RaisedCapability& operator=(const RaisedCapability&) = delete;
  ~RaisedCapability();

 private:
  int capability_;
  bool raised_;
};

}  // namespace suture::datapath
