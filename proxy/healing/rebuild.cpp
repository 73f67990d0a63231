#include "proxy/healing/rebuild.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

#include <netinet/in.h>
#include <netinet/tcp.h>
// After netinet/in.h: IPV6_FLOWINFO_SEND.
#include <linux/in6.h>

#include <suture/clock.hpp>
#include <suture/ids.hpp>

namespace suture::healing {
namespace {

// TCP option kinds, as TCP_REPAIR_OPTIONS takes them (net/ipv4/tcp.c, tcp_repair_options_est).
constexpr std::uint32_t kMss = 2;
constexpr std::uint32_t kWindowScale = 3;
constexpr std::uint32_t kSackPermitted = 4;
constexpr std::uint32_t kTimestamps = 8;
// TCP_MAXSEG takes 88 to 32767 (TCP_MIN_MSS, MAX_TCP_WINDOW).
constexpr int kMaxsegMax = 32767;

// A socket that is silent when it goes, whatever the step: closed before it is connected, or in repair mode
// (tcp_close, tcp_disconnect: no FIN, no RST).
class Draft {
 public:
  explicit Draft(const Syscalls& sys) : sys_(sys) {}
  Draft(const Draft&) = delete;
  Draft& operator=(const Draft&) = delete;
  ~Draft() {
    if (fd_ < 0) return;
    set(IPPROTO_TCP, TCP_REPAIR, TCP_REPAIR_ON);  // may have been left
    sys_.close(fd_);
  }

  bool open(int family) {
    fd_ = sys_.socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    return fd_ >= 0;
  }
  template <class T>
  bool set(int level, int name, const T& value) {
    return sys_.setsockopt(fd_, level, name, &value, sizeof value) == 0;
  }
  template <class T>
  bool get(int level, int name, T& value) {
    socklen_t size = sizeof value;
    return sys_.getsockopt(fd_, level, name, &value, &size) == 0;
  }
  bool set_bytes(int level, int name, const void* bytes, std::size_t size) {
    return sys_.setsockopt(fd_, level, name, bytes, static_cast<socklen_t>(size)) == 0;
  }
  bool bind(const sockaddr* address, std::size_t size) {
    return sys_.bind(fd_, address, static_cast<socklen_t>(size)) == 0;
  }
  bool connect(const sockaddr* address, std::size_t size) {
    return sys_.connect(fd_, address, static_cast<socklen_t>(size)) == 0;
  }
  int release() { return std::exchange(fd_, -1); }

 private:
  const Syscalls& sys_;
  int fd_ = -1;
};

Error step_error(const char* step, const suture_flow_key& key) {
  const int saved = errno;  // the sentence is made by calls that may change it
  return {"rebuild " + to_string(key) + ": " + step + ": " + std::strerror(saved), saved};
}

bool set_sequence(Draft& draft, int queue, std::uint32_t next) {
  return draft.set(IPPROTO_TCP, TCP_REPAIR_QUEUE, queue) && draft.set(IPPROTO_TCP, TCP_QUEUE_SEQ, next);
}

// The label of an active socket: without one of its own it is a hash that the kernel draws anew when it suspects the
// path (sk_rethink_txhash). Routers may hash on it, and a client that gets bytes below its cursor under a new label
// changes its own (tcp_rcv_spurious_retrans), so it must stay the client's. connect() takes any label as long as nobody
// holds an exclusive one in this namespace (fl6_sock_lookup, since 5.3); a lease (IPV6_FLOWLABEL_MGR) would have to be
// kept for the socket's life, and there are 4096. Where it is refused (EINVAL, before anything has changed) the hash
// must do.
bool connect(Draft& draft, const ConnFacts& facts) {
  const auto client = client_of(facts.key);
  if (client.address().is_v6() && facts.flow_label != 0 && draft.set(IPPROTO_IPV6, IPV6_FLOWINFO_SEND, 1)) {
    sockaddr_in6 address{};
    std::memcpy(&address, client.data(), sizeof address);
    address.sin6_flowinfo = htonl(facts.flow_label);
    if (draft.connect(reinterpret_cast<const sockaddr*>(&address), sizeof address)) return true;
    if (errno != EINVAL) return false;
  }
  return draft.connect(client.data(), client.size());
}

// What the handshake would have negotiated. The scales are always set: without them the socket keeps the one that it
// would have offered, and shifts every window by it although its peer does not (tcp_select_window).
bool set_options(Draft& draft, const ConnFacts& facts) {
  std::array<tcp_repair_opt, 4> options{};
  std::size_t count = 0;
  options[count++] = {kMss, facts.mss};
  options[count++] = {kWindowScale,
                      facts.wscale_ok ? facts.snd_wscale | static_cast<std::uint32_t>(facts.rcv_wscale) << 16 : 0};
  if (facts.sack_ok) options[count++] = {kSackPermitted, 0};
  if (facts.timestamps) options[count++] = {kTimestamps, 0};
  return draft.set_bytes(IPPROTO_TCP, TCP_REPAIR_OPTIONS, options.data(), count * sizeof options[0]);
}

// Both windows (tcp_repair_set_window). snd_wl1 is one below what the client sends next, so that its next segment
// updates the window (RFC 9293 section 3.10.7.4). What we take is the kernel's own choice for a new socket: the client
// may believe in more, which the fence offered; the first acknowledgement corrects it.
bool set_windows(Draft& draft, const RebuildSpec& spec) {
  tcp_repair_window window{};
  if (!draft.get(IPPROTO_TCP, TCP_REPAIR_WINDOW, window)) return false;
  window.snd_wl1 = spec.in_seq - 1;
  window.snd_wnd = static_cast<std::uint32_t>(spec.window) << (spec.facts.wscale_ok ? spec.facts.snd_wscale : 0);
  window.max_window =
      std::max<std::uint32_t>(window.snd_wnd, 65535);  // bounds the MSS to its half: not by a full buffer
  window.rcv_wup = spec.in_seq;
  return draft.set(IPPROTO_TCP, TCP_REPAIR_WINDOW, window);
}

}  // namespace

Result<Rebuilt> rebuild_socket(const RebuildSpec& spec, const Syscalls& syscalls) {
  ConnFacts facts = spec.facts;
  const auto& key = facts.key;
  if (spec.mss_max != 0) facts.mss = std::min(facts.mss, spec.mss_max);
  if (facts.timestamps && spec.tsval % 2 != 0) return Error{"rebuild " + to_string(key) + ": odd TSval", EINVAL};
  const auto vip = vip_of(key);
  const bool v6 = vip.address().is_v6();

  Draft draft(syscalls);
  const auto failed = [&key](const char* step) { return step_error(step, key); };
  if (!draft.open(v6 ? AF_INET6 : AF_INET)) return failed("socket");
  // Repair mode forces address reuse for the bind; SO_REUSEADDR in between would undo that.
  if (!draft.set(IPPROTO_TCP, TCP_REPAIR, TCP_REPAIR_ON)) return failed("TCP_REPAIR (needs CAP_NET_ADMIN)");
  if (!draft.set(IPPROTO_TCP, TCP_NODELAY, 1)) return failed("TCP_NODELAY");  // as client/listener.cpp
  // connect() computes the segment size, and no repair option does so again: without this it is the default 536.
  if (!draft.set(IPPROTO_TCP, TCP_MAXSEG, std::min<int>(facts.mss, kMaxsegMax))) return failed("TCP_MAXSEG");

  if (!draft.bind(vip.data(), vip.size())) return failed("bind (is the VIP on an interface of this host?)");
  if (!set_sequence(draft, TCP_SEND_QUEUE, spec.out_seq)) return failed("TCP_QUEUE_SEQ of the send queue");
  if (!set_sequence(draft, TCP_RECV_QUEUE, spec.in_seq)) return failed("TCP_QUEUE_SEQ of the receive queue");
  if (!connect(draft, facts)) {
    // bind() has accepted the address, so this is the four-tuple (__inet_check_established).
    if (errno == EADDRNOTAVAIL) errno = EADDRINUSE;
    return failed("connect");
  }

  if (!set_options(draft, facts)) return failed("TCP_REPAIR_OPTIONS");
  if (!set_windows(draft, spec)) return failed("TCP_REPAIR_WINDOW");
  if (facts.timestamps) {
    const auto now = Clock::now();
    if (!draft.set(IPPROTO_TCP, TCP_TIMESTAMP, spec.tsval)) return failed("TCP_TIMESTAMP");
    facts.ts_offset = spec.tsval - static_cast<std::uint32_t>(monotonic_ms(now));
  }
  if (!draft.set(IPPROTO_TCP, TCP_REPAIR, TCP_REPAIR_OFF_NO_WP)) return failed("leaving TCP_REPAIR");
  // A restarted listener binds beside this socket; leaving repair mode has cleared what was set before.
  if (!draft.set(SOL_SOCKET, SO_REUSEADDR, 1)) return failed("SO_REUSEADDR");
  if (!draft.set(SOL_SOCKET, SO_REUSEPORT, 1)) return failed("SO_REUSEPORT");
  return Rebuilt{draft.release(), facts};
}

}  // namespace suture::healing
