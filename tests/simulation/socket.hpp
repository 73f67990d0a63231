// An owner's socket: the kernel's TCP, between the node's packets and the session behind it.
#pragma once

#include <functional>

#include "tests/simulation/behind.hpp"
#include "tests/simulation/world.hpp"

namespace suture::sim {

class Socket : public std::enable_shared_from_this<Socket> {
 public:
  struct Start {
    Content content = 0;
    int instance = 0;                // number of the ownership
    std::uint32_t snd = 0, rcv = 0;  // next bytes, absolute
    std::uint64_t client_sent = 0;   // S, `in` offset; 0 for the first owner
    std::uint32_t ts_offset = 0;
    // Identical bytes, as many as the former owner may have had under way, put into the queue in repair mode, that is
    // as sent: the client's ACK will jump over what it holds, and an ACK of unsent bytes is ignored (tcp_ack).
    std::uint32_t to_write = 0;
  };
  Socket(World& world, Node& node, const Start& start, std::unique_ptr<SessionBehind> behind);

  void on_packet(const Packet& packet);  // the kernel's part: runs while the process stands still
  void read();                           // the process's part
  void pump();                           // sends what may be sent
  void acknowledge();
  // The session behind writes so many bytes, which pump() may send; or says that they were sent before (repair mode).
  void write(std::uint32_t bytes) { write_end_ += bytes; }
  void put_sent(std::uint32_t bytes);
  void ask_client();  // what a living client answers (closing::ask_client)

  SessionBehind& behind() const { return *behind_; }
  std::uint32_t unacknowledged() const { return write_end_ - snd_una_; }
  std::uint32_t snd_nxt() const { return snd_nxt_; }
  std::uint64_t acked() const;
  std::uint64_t sent() const { return world_.out_offset(write_end_); }
  std::uint64_t received() const { return app_read_; }
  Micros heard_at() const { return heard_at_; }
  std::uint32_t rcv_nxt() const { return rcv_nxt_; }
  const Start& start() const { return start_; }

 private:
  void segment(std::uint32_t from, std::uint32_t end);
  void arm();
  void on_timeout(std::uint64_t generation);

  World& world_;
  Node& node_;
  Start start_;
  std::unique_ptr<SessionBehind> behind_;
  std::uint32_t snd_una_, snd_nxt_, write_end_, retransmit_until_, rcv_nxt_;
  std::uint64_t app_read_;
  std::uint32_t client_tsval_ = 0;
  Micros heard_at_;
  Micros rto_ = ms(200);
  std::uint64_t timer_ = 0;
};

}  // namespace suture::sim
