#include <statesync/liveness_socket.hpp>

#include <netinet/in.h>
#include <sys/socket.h>

#include <boost/asio/buffer.hpp>
#include <boost/asio/ip/v6_only.hpp>

#include <statesync/liveness_wire.hpp>

namespace suture::statesync {
namespace {

using boost::asio::ip::udp;
using boost::system::error_code;

// Fair to the rest of the control thread even if somebody floods the port.
constexpr std::size_t kReadsPerTurn = 512;
// At a stall the kernel holds what came meanwhile: a few seconds of every peer's beats.
constexpr int kReceiveBufferBytes = 1 << 20;
constexpr int kTrafficClass = 0xc0;  // CS6, network control (RFC 4594 section 3.2), as for BFD

}  // namespace

Result<void> LivenessSocket::open(const boost::asio::ip::address& underlay, std::uint16_t port) {
  auto socket = std::make_shared<Socket>(io_);
  const udp::endpoint local(underlay, port);
  const auto failed = [&](const char* what, const error_code& ec) {
    return Error{std::string("liveness socket: ") + what + ' ' + underlay.to_string() + " port " +
                     std::to_string(port) + ": " + ec.message() +
                     (ec.value() == EADDRINUSE ? " (statesync.liveness_port is used by another program)" : "") +
                     (ec.value() == EADDRNOTAVAIL ? " (node.underlay is not an address of this host)" : ""),
                 ec.value()};
  };
  error_code ec;
  if (socket->udp.open(local.protocol(), ec); ec) return failed("cannot open for", ec);
  if (underlay.is_v6()) socket->udp.set_option(boost::asio::ip::v6_only(true), ec);
  socket->udp.set_option(boost::asio::socket_base::receive_buffer_size(kReceiveBufferBytes), ec);  // best effort
  // Best effort: a queue on the way that drops beats makes a dead node of a busy one.
  if (underlay.is_v6()) {
    ::setsockopt(socket->udp.native_handle(), IPPROTO_IPV6, IPV6_TCLASS, &kTrafficClass, sizeof kTrafficClass);
  } else {
    ::setsockopt(socket->udp.native_handle(), IPPROTO_IP, IP_TOS, &kTrafficClass, sizeof kTrafficClass);
  }
  if (socket->udp.bind(local, ec); ec) return failed("cannot bind", ec);
  if (socket->udp.non_blocking(true, ec); ec) return failed("cannot configure", ec);
  sockets_[underlay.is_v6() ? 1 : 0] = socket;
  wait(socket);
  return {};
}

void LivenessSocket::close() {
  for (auto& socket : sockets_) {
    error_code ec;
    if (socket) socket->udp.close(ec);
    socket.reset();
  }
}

void LivenessSocket::wait(const std::shared_ptr<Socket>& socket) {
  socket->udp.async_wait(udp::socket::wait_read, [this, weak = std::weak_ptr(socket)](error_code ec) {
    // close() has dropped the socket: `this` may be gone as well.
    const auto held = weak.lock();
    if (ec || !held || !held->udp.is_open()) return;
    drain(*held, kReadsPerTurn);
    if (held->udp.is_open()) wait(held);
  });
}

void LivenessSocket::drain() {
  for (const auto& socket : sockets_) {
    if (const auto held = socket) {
      // Bounded: what the receive buffer can hold of the smallest datagrams.
      for (int turns = 0; turns < 8 && drain(*held, kReadsPerTurn); ++turns) {
      }
    }
  }
}

bool LivenessSocket::drain(Socket& socket, std::size_t max) {
  std::array<std::uint8_t, kLivenessBytesMax + 1> buffer;  // one more: too long ones are seen to be too long
  for (std::size_t i = 0; i < max && socket.udp.is_open(); ++i) {
    udp::endpoint from;
    error_code ec;
    const std::size_t size = socket.udp.receive_from(boost::asio::buffer(buffer), from, 0, ec);
    if (ec == boost::asio::error::would_block || ec == boost::asio::error::try_again) return false;
    if (ec) {
      receive_errors_.add();  // an ICMP error of an earlier send; the next read goes on
      continue;
    }
    receive_(std::span(buffer).first(size), from);
  }
  return true;
}

void LivenessSocket::send(const udp::endpoint& to, std::span<const std::uint8_t> bytes) {
  const auto& socket = sockets_[to.address().is_v6() ? 1 : 0];
  error_code ec = boost::asio::error::not_connected;
  if (socket) {
    ec.clear();
    socket->udp.send_to(boost::asio::buffer(bytes.data(), bytes.size()), to, 0, ec);
  }
  if (ec) send_errors_.add();
}

std::optional<udp::endpoint> LivenessSocket::local(bool v6) const {
  const auto& socket = sockets_[v6 ? 1 : 0];
  if (!socket) return std::nullopt;
  error_code ec;
  return socket->udp.local_endpoint(ec);
}

void LivenessSocket::register_metrics(MetricsRegistry& registry) {
  registry.counter("suture_liveness_errors_total", "Liveness datagrams that the kernel refused.", "op=\"send\"",
                   send_errors_);
  registry.counter("suture_liveness_errors_total", "Liveness datagrams that the kernel refused.", "op=\"receive\"",
                   receive_errors_);
}

}  // namespace suture::statesync
