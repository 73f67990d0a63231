#include "tests/simulation/socket.hpp"

#include <algorithm>
#include <utility>

#include <suture/sequence.hpp>

#include "tests/simulation/node.hpp"

namespace suture::sim {

Socket::Socket(World& world, Node& node, const Start& start, std::unique_ptr<SessionBehind> behind)
    : world_(world),
      node_(node),
      start_(start),
      behind_(std::move(behind)),
      snd_una_(start.snd),
      snd_nxt_(start.snd + start.to_write),
      write_end_(start.snd + start.to_write),
      retransmit_until_(start.snd + start.to_write),
      rcv_nxt_(start.rcv),
      app_read_(world.in_offset(start.rcv)),
      heard_at_(world.now) {
  behind_->begin(*this);
}

std::uint64_t Socket::acked() const {
  return world_.out_offset(snd_una_);
}

void Socket::on_packet(const Packet& p) {
  // What a spoofer can do to any TCP socket is not the subject here; what he can do to the table is.
  if (p.rst() || p.forged) return;
  heard_at_ = world_.now;
  if (p.timestamps && !seq_before(p.tsval, client_tsval_)) client_tsval_ = p.tsval;
  if (seq_before(snd_una_, p.ack) && !seq_before(snd_nxt_, p.ack)) {
    snd_una_ = p.ack;
    rto_ = ms(200);
    timer_ = 0;
    const std::uint32_t lost = retransmit_until_;
    if (seq_before(snd_una_, lost)) segment(snd_una_, seq_before(snd_una_ + kMss, lost) ? snd_una_ + kMss : lost);
    behind_->acknowledged(*this);
  }
  if (const std::uint32_t length = p.length + p.fin(); length > 0) {
    const std::uint32_t end = p.seq + length;
    if (!seq_before(rcv_nxt_, p.seq) && seq_before(rcv_nxt_, end)) rcv_nxt_ = end;
    acknowledge();
  }
  pump();
  auto self = shared_from_this();
  world_.after(world_.rng.between(10, 300), [self] {
    if (self->node_.process_runs(self.get())) self->read();
  });
}

void Socket::read() {
  const std::uint64_t until = world_.in_offset(rcv_nxt_);
  if (until <= app_read_) return;
  const std::uint64_t from = std::exchange(app_read_, until);
  behind_->read(*this, from, until);
}

void Socket::put_sent(std::uint32_t bytes) {
  write_end_ += bytes;
  snd_nxt_ = retransmit_until_ = write_end_;
  ask_client();
  if (timer_ == 0) arm();
}

void Socket::ask_client() {
  segment(snd_una_ - 1, snd_una_ - 1);
}

void Socket::acknowledge() {
  segment(snd_nxt_, snd_nxt_);
}

void Socket::pump() {
  const std::uint32_t edge = snd_una_ + 12 * kMss;
  while (seq_before(snd_nxt_, write_end_) && seq_before(snd_nxt_, edge)) {
    const std::uint32_t end = seq_before(snd_nxt_ + kMss, write_end_) ? snd_nxt_ + kMss : write_end_;
    const std::uint32_t from = snd_nxt_;
    snd_nxt_ = end;
    segment(from, end);
  }
  if (snd_una_ != snd_nxt_ && timer_ == 0) arm();
}

void Socket::segment(std::uint32_t from, std::uint32_t end) {
  Packet p;
  p.seq = from;
  p.length = end - from;
  p.ack = rcv_nxt_;
  p.window = 65535U << (world_.settings.wscale ? kWscale : 0);
  p.content = start_.content;
  p.timestamps = world_.settings.timestamps;
  p.tsval = node_.mono_ms() + start_.ts_offset;
  p.tsecr = client_tsval_;
  node_.egress(p);
}

void Socket::arm() {
  timer_ = ++world_.timers;
  world_.after(rto_, [weak = weak_from_this(), generation = timer_] {
    if (auto self = weak.lock()) self->on_timeout(generation);
  });
}

void Socket::on_timeout(std::uint64_t generation) {
  if (generation != timer_ || snd_una_ == snd_nxt_) return;
  rto_ = std::min(rto_ * 2, seconds(2));
  retransmit_until_ = snd_nxt_;
  segment(snd_una_, seq_before(snd_una_ + kMss, snd_nxt_) ? snd_una_ + kMss : snd_nxt_);
  arm();
}

}  // namespace suture::sim
