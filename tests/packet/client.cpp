#include "tests/packet/client.hpp"

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <cstdlib>
#include <iostream>

#include <boost/asio/ip/tcp.hpp>

#include "tests/packet/steering_fixture.hpp"

namespace suture::packet_test {
namespace {

template <class T>
T need(Result<T> result) {
  if (!result) {
    std::cerr << result.error().message << "\n";
    std::abort();
  }
  return std::move(*result);
}

}  // namespace

ClientNetwork::ClientNetwork() : tun_(need(datapath::Tun::open("client0"))) {
  must("ip addr replace 198.51.100.1/24 dev client0 && ip -6 route replace 2001:db8:c::/48 dev client0");
}

void ClientNetwork::send(const TcpPacket& packet) {
  const auto sent = tun_.write(packet.ip());
  if (!sent) std::cerr << sent.error().message << "\n";
}

std::optional<Bytes> ClientNetwork::receive(std::uint16_t client_port, int timeout_ms) {
  Bytes buffer(70000);
  for (;;) {
    pollfd ready{tun_.fd(), POLLIN, 0};
    if (::poll(&ready, 1, timeout_ms) <= 0) return std::nullopt;
    const auto bytes = tun_.read(buffer);
    if (!bytes || *bytes == 0) continue;
    const auto tcp = parse_tcp(std::span(buffer).first(*bytes));
    if (tcp && tcp->destination_port == client_port)
      return Bytes(buffer.begin(), buffer.begin() + static_cast<std::ptrdiff_t>(*bytes));
  }
}

std::optional<ParsedTcp> ClientNetwork::receive_tcp(std::uint16_t client_port, int timeout_ms) {
  const auto packet = receive(client_port, timeout_ms);
  return packet ? parse_tcp(*packet) : std::nullopt;
}

void allow_reuse(const datapath::FileDescriptor& socket) {
  const int on = 1;
  ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
}

datapath::FileDescriptor listen_on_vip(bool v6) {
  const boost::asio::ip::tcp::endpoint vip(boost::asio::ip::make_address(v6 ? kVip6 : kVip4), kPort);
  datapath::FileDescriptor fd(::socket(v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  allow_reuse(fd);
  if (::bind(fd.get(), vip.data(), static_cast<socklen_t>(vip.size())) < 0 || ::listen(fd.get(), 16) < 0) {
    std::perror("listen on the VIP");
    std::abort();
  }
  return fd;
}

Connection connect(ClientNetwork& network, const datapath::FileDescriptor& listener, TcpPacket syn) {
  syn.flags = kSyn;
  syn.ack = 0;
  network.send(syn);
  const auto answer = network.receive_tcp(syn.source_port);
  if (!answer || answer->flags != (kSyn | kAck)) {
    ADD_FAILURE() << "no SYN-ACK";
    return {};
  }
  syn.flags = kAck;
  ++syn.seq;
  syn.ack = answer->seq + 1;
  if (answer->tsval) syn.options = timestamp_option(2, *answer->tsval);
  network.send(syn);
  pollfd ready{listener.get(), POLLIN, 0};
  if (::poll(&ready, 1, 3000) != 1) {
    ADD_FAILURE() << "nothing to accept";
    return {};
  }
  return {datapath::FileDescriptor(::accept(listener.get(), nullptr, nullptr)), syn};
}

}  // namespace suture::packet_test
