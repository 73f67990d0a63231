// A client made of single packets, behind the TUN device client0: what the kernel under test sends it is read here, and
// nothing is answered unless a test says so.
#pragma once

#include <optional>
#include <string>

#include "proxy/datapath/file_descriptor.hpp"
#include "proxy/datapath/tun.hpp"
#include "tests/packet/packet_builder.hpp"

namespace suture::packet_test {

class ClientNetwork {
 public:
  ClientNetwork();  // aborts the test program where the device cannot be made
  void send(const TcpPacket& packet);
  // The next packet of the kernel to this port.
  std::optional<Bytes> receive(std::uint16_t client_port, int timeout_ms = 3000);
  std::optional<ParsedTcp> receive_tcp(std::uint16_t client_port, int timeout_ms = 3000);

 private:
  datapath::Tun tun_;
};

datapath::FileDescriptor listen_on_vip(bool v6);
// A socket that was in repair has lost SO_REUSEADDR, and what is left of it would keep the next listener away.
void allow_reuse(const datapath::FileDescriptor& socket);

// After the handshake: `next` is what the client sends next. With timestamps if the SYN has them (its only option
// then); it echoes the SYN-ACK's.
struct Connection {
  datapath::FileDescriptor accepted;
  TcpPacket next;
};
Connection connect(ClientNetwork& network, const datapath::FileDescriptor& listener, TcpPacket syn);

}  // namespace suture::packet_test
