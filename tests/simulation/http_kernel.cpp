// In place of proxy/client/closing.cpp and priming.cpp: the linker takes these, and leaves those in their library.
#include "tests/simulation/http_kernel.hpp"

#include <map>

#include <proxy/client/closing.hpp>
#include <proxy/client/priming.hpp>

namespace suture {
namespace sim {
namespace {

std::map<int, KernelSide*>& sides() {
  static std::map<int, KernelSide*> all;
  return all;
}

KernelSide* side_of(int fd) {
  const auto it = sides().find(fd);
  return it == sides().end() ? nullptr : it->second;
}

// Closed, and its number may be another's from here on.
void close(StreamSocket& socket, void (KernelSide::*how)()) {
  if (KernelSide* side = side_of(socket.fd())) (side->*how)();
  detach_kernel_side(socket.fd());
  socket.close();
}

}  // namespace

void attach_kernel_side(int fd, KernelSide& side) {
  sides()[fd] = &side;
}

void detach_kernel_side(int fd) {
  sides().erase(fd);
}

}  // namespace sim

namespace closing {

bool allow(int, std::uint32_t) {
  return true;
}

void half_close(StreamSocket& socket, const Marks&) {
  if (auto* side = sim::side_of(socket.fd())) side->half_closes();
  socket.shutdown_write();
}

void close(StreamSocket& socket, const Marks&) {
  sim::close(socket, &sim::KernelSide::closes);
}

void reset(StreamSocket& socket, const Marks&) {
  sim::close(socket, &sim::KernelSide::resets);
}

void close_silently(StreamSocket& socket) {
  sim::close(socket, &sim::KernelSide::closes_silently);
}

std::uint64_t unacknowledged(int fd) {
  const auto* side = sim::side_of(fd);
  return side ? side->unacknowledged() : 0;
}

bool is_dead(int fd) {
  return sim::side_of(fd) == nullptr;
}

Millis silence(int fd) {
  const auto* side = sim::side_of(fd);
  return side ? side->silence() : Millis{0};
}

void ask_client(int fd) {
  if (auto* side = sim::side_of(fd)) side->ask_client();
}

}  // namespace closing

namespace priming {

bool put_sent(int fd, std::string_view bytes) {
  auto* side = sim::side_of(fd);
  return side != nullptr && side->put_sent(bytes);
}

}  // namespace priming
}  // namespace suture
