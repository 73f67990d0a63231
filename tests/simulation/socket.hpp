// An owner's socket and the session behind it: sends its content, reads requests, executes each once, and hands a
// record to the node before it acts (PROTOCOL.md: a record may lag, but it is made first).
#pragma once

#include <functional>

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
  Socket(World& world, Node& node, const Start& start);

  void on_packet(const Packet& packet);  // the kernel's part: runs while the process stands still
  void read();                           // the process's part
  void pump();                           // sends what may be sent
  void acknowledge();

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
  std::uint32_t snd_una_, snd_nxt_, write_end_, retransmit_until_, rcv_nxt_;
  std::uint64_t app_read_;
  std::size_t next_request_ = 0;
  std::uint32_t client_tsval_ = 0;
  Micros heard_at_;
  Micros rto_ = ms(200);
  std::uint64_t timer_ = 0;
};

}  // namespace suture::sim
