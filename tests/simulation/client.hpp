// The client's TCP, as Linux does what matters here (net/ipv4/tcp_input.c, names in parentheses): acceptability
// (tcp_sequence), PAWS and what it remembers (tcp_paws_check, tcp_replace_ts_recent, not on the old_ack path of
// tcp_ack), dup ACKs to data always and to pure ACKs rate-limited (tcp_oow_rate_limited), SACK and D-SACK, SEQ clipped
// to the offered window (tcp_acceptable_seq), delayed ACKs.
#pragma once

#include <map>

#include "tests/simulation/world.hpp"

namespace suture::sim {

class Client {
 public:
  Client(World& world, std::uint32_t isn, std::uint32_t server_isn, std::uint32_t synack_tsval);

  void on_packet(const Packet& packet);
  // The application writes up to `end` of its stream.
  void write(std::uint64_t end);
  void close();                    // ... and no more: FIN
  void keep_alive();               // of an idle connection, as the kernel asks (tcp_keepalive_timer)
  void vanish() { gone_ = true; }  // its kernel answers with RSTs from here on

  bool reset() const { return reset_; }
  bool gone() const { return gone_; }
  bool everything_acknowledged() const { return snd_una_ == write_end_; }
  std::uint32_t rcv_nxt() const { return rcv_nxt_; }
  std::uint32_t snd_nxt() const { return snd_nxt_; }
  std::uint32_t snd_una() const { return snd_una_; }
  std::uint32_t ts_recent() const { return ts_recent_; }

 private:
  struct Piece {
    std::uint32_t end = 0;
    Content content = 0;
  };
  bool paws_refuses(const Packet& packet) const;
  bool take_ack(const Packet& packet);
  void take_data(const Packet& packet);
  void advance(std::uint32_t end, Content content);
  void challenge(const Packet& packet);
  void send_ack();
  void send_data();
  void segment(std::uint32_t from, std::uint32_t end);
  void arm();
  void on_timeout(std::uint64_t generation);
  Packet blank() const;
  std::uint32_t acceptable_seq() const;

  World& world_;
  std::uint32_t iss_, irs_;
  std::uint32_t rcv_nxt_, rcv_wup_;
  std::uint32_t rcv_window_ = 65535U << kWscale;
  std::uint32_t ts_recent_;
  Micros ts_stamp_ = 0;
  std::uint32_t ts_offset_;
  std::map<std::uint32_t, Piece> out_of_order_;  // by SEQ - rcv_nxt at insertion: see take_data
  std::optional<healing::SackBlock> duplicate_;
  std::uint32_t snd_una_, snd_nxt_, write_end_, retransmit_until_;
  std::uint32_t snd_wnd_ = 65535U << kWscale, snd_wl1_ = 0, max_window_ = 65535U << kWscale;
  Micros rto_ = ms(200);
  std::uint64_t timer_ = 0;
  std::uint64_t delayed_ = 0;
  bool ack_pending_ = false;
  std::optional<Micros> challenged_at_;
  bool reset_ = false;
  bool gone_ = false;
  bool closed_ = false;  // write_end_ is behind the FIN
};

}  // namespace suture::sim
