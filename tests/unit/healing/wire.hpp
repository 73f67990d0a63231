// Two kernels and a wire that the test holds in its hands: a client and a PoP in network namespaces of their own, each
// with a TUN device as its only way out. Every packet passes through pump(), which shows it to the test, so that it can
// be lost, held or doubled on purpose; nothing moves while the test does not pump.
//
//   client 192.0.2.7, 2001:db8::7 ── TUN ── pump() ── TUN ── PoP, VIP 203.0.113.10, 2001:db8:113::10 on lo
//
// Needs root and /dev/net/tun. Namespaces are anonymous: they go with the process.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "proxy/datapath/tun.hpp"
#include "proxy/healing/segment.hpp"

namespace suture::healing::test {

using Bytes = std::vector<std::uint8_t>;

// The calling thread is in `ns` (a descriptor) while this lives.
class InNamespace {
 public:
  explicit InNamespace(int ns);
  ~InNamespace();
  InNamespace(const InNamespace&) = delete;
  InNamespace& operator=(const InNamespace&) = delete;

 private:
  int before_;
};

struct Passing {
  bool from_client = false;
  Bytes packet;
  Segment segment;  // of packets to the client: "client" and "vip" are swapped
};

class Wire {
 public:
  static constexpr const char* kVip4 = "203.0.113.10";
  static constexpr const char* kVip6 = "2001:db8:113::10";

  static Wire& instance();  // made once: devices and addresses stay, connections come and go

  int client_ns() const { return client_ns_; }
  int pop_ns() const { return pop_ns_; }
  datapath::Tun& client() { return *client_; }
  datapath::Tun& pop() { return *pop_; }

  // Moves packets until `done` (asked before each wait); false after ten seconds without it. `pass` decides on each TCP
  // packet whether it reaches the other side; without it all do.
  bool pump(const std::function<bool()>& done, const std::function<bool(const Passing&)>& pass = {});
  // Takes what is in flight off the wire; waits for `at_least` packets (ten seconds at most).
  std::vector<Passing> take(std::size_t at_least = 0);

  // Segments that the PoP's kernel has sent since it was made (Tcp: OutSegs + OutRsts).
  std::uint64_t pop_segments_sent() const;
  void client_sysctl(const std::string& name, int value);

 private:
  Wire();
  void wait() const;  // for a packet, some milliseconds
  std::vector<Passing> read_all();

  int client_ns_ = -1;
  int pop_ns_ = -1;
  std::optional<datapath::Tun> client_;
  std::optional<datapath::Tun> pop_;
};

}  // namespace suture::healing::test
