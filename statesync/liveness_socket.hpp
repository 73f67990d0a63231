// The UDP side of liveness: one socket per underlay family on the control io_context. Reads until the socket is empty
// whenever it is readable, and on demand (stall rule). Sending never blocks: a full buffer loses the datagram.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/udp.hpp>

#include <suture/ids.hpp>
#include <suture/metrics.hpp>
#include <suture/result.hpp>

namespace suture::statesync {

class LivenessSocket {
 public:
  using Receive = std::function<void(std::span<const std::uint8_t>, const boost::asio::ip::udp::endpoint& from)>;

  LivenessSocket(boost::asio::io_context& io, Receive receive) : io_(io), receive_(std::move(receive)) {}
  ~LivenessSocket() { close(); }

  Result<void> open(const boost::asio::ip::address& underlay, std::uint16_t port);  // once per family
  void close();
  void drain();  // hands over everything that waits
  void send(const boost::asio::ip::udp::endpoint& to, std::span<const std::uint8_t> bytes);
  std::optional<boost::asio::ip::udp::endpoint> local(bool v6) const;  // for port 0

  void register_metrics(MetricsRegistry& registry);

 private:
  struct Socket {
    explicit Socket(boost::asio::io_context& io) : udp(io) {}
    boost::asio::ip::udp::socket udp;
  };
  void wait(const std::shared_ptr<Socket>& socket);
  bool drain(Socket& socket, std::size_t max);  // true: more may be waiting

  boost::asio::io_context& io_;
  Receive receive_;
  std::array<std::shared_ptr<Socket>, 2> sockets_;  // IPv4, IPv6
  Counter send_errors_, receive_errors_;
};

}  // namespace suture::statesync
