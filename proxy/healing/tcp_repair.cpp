#include "proxy/healing/tcp_repair.hpp"

#include <array>
#include <cerrno>
#include <cstring>
#include <random>
#include <span>

#include <arpa/inet.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

namespace suture::healing {
namespace {

// A socket in repair mode neither sends nor answers; it must not stay there, whatever fails in between. -1 leaves
// repair mode without a window probe (TCP_REPAIR_OFF_NO_WP).
class RepairMode {
 public:
  explicit RepairMode(int fd) : fd_(fd) {
    const int on = TCP_REPAIR_ON;
    entered_ = ::setsockopt(fd_, IPPROTO_TCP, TCP_REPAIR, &on, sizeof on) == 0;
  }
  RepairMode(const RepairMode&) = delete;
  RepairMode& operator=(const RepairMode&) = delete;
  ~RepairMode() {
    const int off = TCP_REPAIR_OFF_NO_WP;
    if (entered_) ::setsockopt(fd_, IPPROTO_TCP, TCP_REPAIR, &off, sizeof off);
  }
  bool entered() const { return entered_; }

 private:
  int fd_;
  bool entered_ = false;
};

template <class T>
bool get_option(int fd, int level, int name, T& value) {
  socklen_t size = sizeof value;
  return ::getsockopt(fd, level, name, &value, &size) == 0;
}

bool queue_seq(int fd, int queue, std::uint32_t& seq) {
  return ::setsockopt(fd, IPPROTO_TCP, TCP_REPAIR_QUEUE, &queue, sizeof queue) == 0 &&
         get_option(fd, IPPROTO_TCP, TCP_QUEUE_SEQ, seq);
}

struct SavedSyn {
  std::uint32_t seq = 0;
  std::uint32_t flow_label = 0;
};

// The client's SYN from its network header on (TCP_SAVE_SYN on the listener). Empty for connections that were accepted
// by a SYN cookie.
bool saved_syn(int fd, SavedSyn& out) {
  std::array<std::uint8_t, 256> bytes{};
  socklen_t size = bytes.size();
  if (::getsockopt(fd, IPPROTO_TCP, TCP_SAVED_SYN, bytes.data(), &size) != 0 || size < 40) return false;
  const bool v6 = bytes[0] >> 4 == 6;
  const std::size_t header = v6 ? 40 : static_cast<std::size_t>(bytes[0] & 0x0f) * 4;
  if (size < header + 20) return false;
  std::uint32_t word = 0;
  std::memcpy(&word, &bytes[header + 4], 4);
  out.seq = ntohl(word);
  std::memcpy(&word, bytes.data(), 4);
  out.flow_label = v6 ? ntohl(word) & 0xfffff : 0;
  return true;
}

// Without a saved SYN: the initial receive sequence number from what has arrived since. Both values move while packets
// come in; they belong together when the count did not change around the read. A FIN that has arrived is in both: the
// kernel adds the sequence space of a segment to bytes_received, not its payload (tcp_rcv_nxt_update).
bool derive_irs(int fd, std::uint32_t& irs) {
  tcp_info before{};
  tcp_info after{};
  for (int attempt = 0; attempt < 100; ++attempt) {
    std::uint32_t rcv_nxt = 0;
    if (!get_option(fd, IPPROTO_TCP, TCP_INFO, before) || !queue_seq(fd, TCP_RECV_QUEUE, rcv_nxt) ||
        !get_option(fd, IPPROTO_TCP, TCP_INFO, after)) {
      return false;
    }
    if (before.tcpi_bytes_received != after.tcpi_bytes_received) continue;
    irs = rcv_nxt - static_cast<std::uint32_t>(after.tcpi_bytes_received) - 1;
    return true;
  }
  errno = EAGAIN;
  return false;
}

bool endpoints(int fd, suture_flow_key& key) {
  sockaddr_in6 local{};  // large enough for both families
  sockaddr_in6 peer{};
  socklen_t local_size = sizeof local;
  socklen_t peer_size = sizeof peer;
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&local), &local_size) != 0 ||
      ::getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &peer_size) != 0) {
    return false;
  }
  const auto fill = [](const sockaddr_in6& from, suture_addr& addr, __be16& port) {
    if (from.sin6_family == AF_INET) {
      sockaddr_in v4{};
      std::memcpy(&v4, &from, sizeof v4);
      addr.b[10] = addr.b[11] = 0xff;
      std::memcpy(addr.b + 12, &v4.sin_addr, 4);
      port = v4.sin_port;
    } else {
      std::memcpy(addr.b, &from.sin6_addr, 16);
      port = from.sin6_port;
    }
  };
  fill(peer, key.client, key.client_port);
  fill(local, key.vip, key.vip_port);
  return true;
}

std::uint32_t random_number() {
  thread_local std::minstd_rand engine{std::random_device{}()};
  return static_cast<std::uint32_t>(engine());
}

}  // namespace

Result<ConnFacts> SlotAcceptHook::on_accept(int fd) {
  ConnFacts facts;
  if (!endpoints(fd, facts.key)) return errno_error("getpeername");

  const RepairMode repair(fd);
  if (!repair.entered()) return errno_error("TCP_REPAIR (needs CAP_NET_ADMIN)");

  std::uint32_t write_seq = 0;
  if (!queue_seq(fd, TCP_SEND_QUEUE, write_seq)) return errno_error("TCP_QUEUE_SEQ");
  facts.iss = write_seq - 1;

  SavedSyn syn;
  if (saved_syn(fd, syn)) {
    facts.irs = syn.seq;
    facts.flow_label = syn.flow_label;
  } else if (!derive_irs(fd, facts.irs)) {
    return errno_error("initial receive sequence number");
  }

  tcp_info info{};
  if (!get_option(fd, IPPROTO_TCP, TCP_INFO, info)) return errno_error("TCP_INFO");
  facts.mss = static_cast<std::uint16_t>(info.tcpi_snd_mss + ((info.tcpi_options & TCPI_OPT_TIMESTAMPS) ? 12 : 0));
  facts.wscale_ok = (info.tcpi_options & TCPI_OPT_WSCALE) != 0;
  facts.snd_wscale = info.tcpi_snd_wscale;
  facts.rcv_wscale = info.tcpi_rcv_wscale;
  facts.sack_ok = (info.tcpi_options & TCPI_OPT_SACK) != 0;
  facts.timestamps = (info.tcpi_options & TCPI_OPT_TIMESTAMPS) != 0;

  if (facts.timestamps) {
    std::uint32_t tsval = 0;
    if (!get_option(fd, IPPROTO_TCP, TCP_TIMESTAMP, tsval)) return errno_error("TCP_TIMESTAMP");
    const auto now = Clock::now();
    const std::uint32_t moved = slot_tsval(tsval, clock_.now_ms(now), to_int(id_), random_number());
    if (::setsockopt(fd, IPPROTO_TCP, TCP_TIMESTAMP, &moved, sizeof moved) != 0) return errno_error("TCP_TIMESTAMP");
    facts.ts_offset = moved - static_cast<std::uint32_t>(monotonic_ms(now));
    facts.hint = true;
  }
  return facts;
}

}  // namespace suture::healing
