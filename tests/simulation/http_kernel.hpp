// The kernel's part of a client's connection as the product asks for it: what proxy/client/closing.cpp and priming.cpp
// do with a TCP socket, done here (http_kernel.cpp is linked in their place) with the simulated one behind the
// descriptor.
#pragma once

#include <cstdint>
#include <string_view>

#include <suture/clock.hpp>

namespace suture::sim {

class KernelSide {
 public:
  virtual ~KernelSide() = default;
  virtual void half_closes() = 0;
  // The descriptor is about to be closed.
  virtual void closes() = 0;
  virtual void resets() = 0;
  virtual void closes_silently() = 0;
  virtual std::uint64_t unacknowledged() const = 0;
  virtual Millis silence() const = 0;
  virtual void ask_client() = 0;
  virtual bool put_sent(std::string_view bytes) = 0;
};

void attach_kernel_side(int fd, KernelSide& side);
void detach_kernel_side(int fd);  // no effect where there is none

}  // namespace suture::sim
