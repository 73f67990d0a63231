#include "proxy/healing/raw_socket.hpp"

#include <cstring>
#include <utility>

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

namespace suture::healing {
namespace {

// IPPROTO_RAW implies IP_HDRINCL for IPv4 and IPV6_HDRINCL for IPv6 (raw(7); net/ipv6/raw.c).
int open_one(int family, std::uint32_t mark) {
  const int fd = ::socket(family, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_RAW);
  if (fd >= 0 && ::setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof mark) != 0) {
    ::close(fd);
    return -1;
  }
  return fd;
}

}  // namespace

Result<RawSocket> RawSocket::open(std::uint32_t mark) {
  const int fd4 = open_one(AF_INET, mark);
  if (fd4 < 0) return errno_error("raw socket (needs CAP_NET_RAW and CAP_NET_ADMIN)");
  const int fd6 = open_one(AF_INET6, mark);  // -1 on a host without IPv6: sends to IPv6 clients then fail one by one
  return RawSocket(fd4, fd6);
}

RawSocket::RawSocket(RawSocket&& other) noexcept
    : fd4_(std::exchange(other.fd4_, -1)), fd6_(std::exchange(other.fd6_, -1)) {}

RawSocket& RawSocket::operator=(RawSocket&& other) noexcept {
  std::swap(fd4_, other.fd4_);
  std::swap(fd6_, other.fd6_);
  return *this;
}

RawSocket::~RawSocket() {
  if (fd4_ >= 0) ::close(fd4_);
  if (fd6_ >= 0) ::close(fd6_);
}

Result<void> RawSocket::send(std::span<const std::uint8_t> packet) {
  if (packet.size() < 40) return Error{"packet too short to send"};
  ssize_t sent = -1;
  if (packet[0] >> 4 == 4) {
    sockaddr_in to{};
    to.sin_family = AF_INET;
    std::memcpy(&to.sin_addr, &packet[16], 4);
    sent = ::sendto(fd4_, packet.data(), packet.size(), MSG_DONTWAIT, reinterpret_cast<sockaddr*>(&to), sizeof to);
  } else {
    sockaddr_in6 to{};
    to.sin6_family = AF_INET6;
    std::memcpy(&to.sin6_addr, &packet[24], 16);
    sent = ::sendto(fd6_, packet.data(), packet.size(), MSG_DONTWAIT, reinterpret_cast<sockaddr*>(&to), sizeof to);
  }
  if (sent < 0) return errno_error("raw send");
  return {};
}

}  // namespace suture::healing
