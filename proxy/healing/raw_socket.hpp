// Sends whole IP packets of our own making (segment.hpp) to clients, with the marks that let an intended RST pass the
// egress program (PROTOCOL.md, egress rule 2). Needs CAP_NET_RAW and CAP_NET_ADMIN (SO_MARK).
#pragma once

#include <cstdint>
#include <span>

#include <suture/result.hpp>

namespace suture::healing {

class RawSocket {
 public:
  // `mark` is put on every packet.
  static Result<RawSocket> open(std::uint32_t mark);
  RawSocket(RawSocket&& other) noexcept;
  RawSocket& operator=(RawSocket&& other) noexcept;
  ~RawSocket();

  // `packet` starts at an IPv4 or IPv6 header, checksums filled in. Never blocks; a full queue is an error.
  Result<void> send(std::span<const std::uint8_t> packet);

 private:
  RawSocket(int fd4, int fd6) : fd4_(fd4), fd6_(fd6) {}
  int fd4_ = -1;
  int fd6_ = -1;
};

}  // namespace suture::healing
