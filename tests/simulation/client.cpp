#include "tests/simulation/client.hpp"

#include <algorithm>

#include <suture/sequence.hpp>

#include "tests/simulation/http_world.hpp"

namespace suture::sim {

Client::Client(World& world, std::uint32_t isn, std::uint32_t server_isn, std::uint32_t synack_tsval)
    : world_(world),
      iss_(isn),
      irs_(server_isn),
      rcv_nxt_(server_isn + 1),
      rcv_wup_(rcv_nxt_),
      ts_recent_(synack_tsval),
      ts_offset_(world.rng.u32()),
      snd_una_(isn + 1),
      snd_nxt_(snd_una_),
      write_end_(snd_una_),
      retransmit_until_(snd_una_) {
  if (!world_.settings.wscale) rcv_window_ = snd_wnd_ = max_window_ = 65535;
}

Packet Client::blank() const {
  Packet p;
  p.ack = rcv_nxt_;
  p.window = rcv_window_;
  p.timestamps = world_.settings.timestamps;
  if (p.timestamps) {
    p.tsval = ts_offset_ + static_cast<std::uint32_t>(world_.now / 1000);
    p.tsecr = ts_recent_;
  }
  return p;
}

// ---- what arrives

void Client::on_packet(const Packet& p) {
  if (gone_) {
    if (p.rst()) return;
    Packet reset = blank();
    reset.flags = healing::kRst;
    reset.seq = p.ack;
    world_.from_client(reset);
    return;
  }
  if (reset_) return;
  if (p.rst()) {  // PAWS does not apply (RFC 7323 section 5.2)
    if (p.seq == rcv_nxt_) reset_ = true;
    if (reset_ && world_.http) world_.http->conversation().reset();
    return;
  }
  if (paws_refuses(p)) return challenge(p);
  const std::uint32_t end = p.seq + p.length;
  if (seq_before(end, rcv_wup_) || seq_before(rcv_nxt_ + rcv_window_, p.seq)) return challenge(p);
  if (!take_ack(p)) return;
  if (p.length > 0) take_data(p);
}

bool Client::paws_refuses(const Packet& p) const {
  if (!p.timestamps || !world_.settings.timestamps) return false;
  return seq_diff(ts_recent_, p.tsval) > 1 && world_.now - ts_stamp_ < seconds(2147);
}

void Client::challenge(const Packet& p) {
  if (p.length == 0) {
    if (challenged_at_ && world_.now - *challenged_at_ < ms(500)) return;
    challenged_at_ = world_.now;
  } else if (seq_before(p.seq, rcv_nxt_)) {
    duplicate_ = healing::SackBlock{p.seq, p.seq + p.length};
  }
  send_ack();
}

bool Client::take_ack(const Packet& p) {
  if (seq_before(snd_nxt_, p.ack)) return false;
  if (seq_before(p.ack, snd_una_ - max_window_)) {  // RFC 5961 section 5.2, rate-limited
    if (challenged_at_ && world_.now - *challenged_at_ < ms(500)) return false;
    challenged_at_ = world_.now;
    send_ack();
    return false;
  }
  if (seq_before(p.ack, snd_una_)) return true;  // old_ack: nothing is stored
  if (p.timestamps && !seq_before(rcv_wup_, p.seq) && seq_diff(p.tsval, ts_recent_) >= 0) {
    ts_recent_ = p.tsval;
    ts_stamp_ = world_.now;
  }
  if (seq_before(snd_una_, p.ack) || seq_before(snd_wl1_, p.seq) || (snd_wl1_ == p.seq && p.window > snd_wnd_)) {
    snd_wnd_ = p.window;
    snd_wl1_ = p.seq;
    max_window_ = std::max(max_window_, snd_wnd_);
  }
  const bool progress = seq_before(snd_una_, p.ack);
  snd_una_ = p.ack;
  if (progress) {
    rto_ = ms(200);
    timer_ = 0;
    if (seq_before(snd_una_, retransmit_until_))
      segment(snd_una_, seq_before(snd_una_ + kMss, retransmit_until_) ? snd_una_ + kMss : retransmit_until_);
  }
  send_data();
  if (snd_una_ != snd_nxt_ && timer_ == 0) arm();
  return true;
}

void Client::take_data(const Packet& p) {
  const std::uint32_t end = p.seq + p.length;
  if (!seq_before(rcv_nxt_, end)) {
    duplicate_ = healing::SackBlock{p.seq, end};
    return send_ack();
  }
  if (seq_before(rcv_nxt_, p.seq)) {
    // Keeps what came first, as tcp_data_queue_ofo does for what it already holds.
    auto [it, fresh] = out_of_order_.try_emplace(p.seq, Piece{end, p.content});
    if (!fresh && seq_before(it->second.end, end)) it->second = {end, p.content};
    return send_ack();
  }
  advance(end, p.content);
  bool holes = !out_of_order_.empty();
  for (bool found = true; found;) {
    found = false;
    for (auto it = out_of_order_.begin(); it != out_of_order_.end(); ++it) {
      if (seq_before(rcv_nxt_, it->first)) continue;
      const Piece piece = it->second;
      out_of_order_.erase(it);
      if (seq_before(rcv_nxt_, piece.end)) advance(piece.end, piece.content);
      found = true;
      break;
    }
  }
  if (holes || ack_pending_) return send_ack();
  ack_pending_ = true;
  world_.after(ms(40), [this, generation = ++delayed_] {
    if (ack_pending_ && generation == delayed_) send_ack();
  });
}

void Client::advance(std::uint32_t end, Content content) {
  const std::uint64_t from = world_.out_offset(rcv_nxt_);
  const std::uint64_t until = from + (end - rcv_nxt_);
  rcv_nxt_ = end;
  if (world_.http) return world_.http->accepted(from, until, content);
  world_.ledger.accepted(from, until, content);
}

// ---- what leaves

std::uint32_t Client::acceptable_seq() const {
  const std::uint32_t edge = snd_una_ + snd_wnd_;
  if (!seq_before(edge, snd_nxt_)) return snd_nxt_;
  if (world_.settings.wscale && snd_nxt_ - edge < (1U << kWscale)) return snd_nxt_;
  return edge;
}

void Client::send_ack() {
  Packet p = blank();
  p.seq = acceptable_seq();
  if (world_.settings.sack) {
    if (duplicate_) p.sacks.push_back(*duplicate_);
    for (const auto& [start, piece] : out_of_order_) {
      if (p.sacks.size() == 3) break;
      p.sacks.push_back({start, piece.end});
    }
  }
  duplicate_.reset();
  rcv_wup_ = rcv_nxt_;
  ack_pending_ = false;
  world_.from_client(p);
}

void Client::write(std::uint64_t end) {
  if (reset_ || gone_ || closed_) return;
  write_end_ = to_seq(iss_, end);
  send_data();
  if (snd_una_ != snd_nxt_ && timer_ == 0) arm();
}

void Client::close() {
  if (reset_ || gone_ || closed_) return;
  closed_ = true;
  ++write_end_;
  send_data();
  if (snd_una_ != snd_nxt_ && timer_ == 0) arm();
}

void Client::keep_alive() {
  if (reset_ || gone_ || snd_una_ != write_end_) return;
  Packet p = blank();
  p.seq = snd_nxt_ - 1;
  world_.from_client(p);
}

void Client::send_data() {
  while (seq_before(snd_nxt_, write_end_)) {
    std::uint32_t end = seq_before(snd_nxt_ + kMss, write_end_) ? snd_nxt_ + kMss : write_end_;
    const std::uint32_t edge = snd_una_ + std::min(snd_wnd_, world_.settings.client_burst * kMss);
    if (seq_before(edge, end)) end = edge;
    if (!seq_before(snd_nxt_, end)) return;
    const std::uint32_t from = snd_nxt_;
    snd_nxt_ = end;
    segment(from, end);
  }
}

void Client::segment(std::uint32_t from, std::uint32_t end) {
  Packet p = blank();
  p.seq = from;
  p.length = end - from;
  if (closed_ && end == write_end_) {
    --p.length;
    p.flags |= healing::kFin;
  }
  rcv_wup_ = rcv_nxt_;
  ack_pending_ = false;
  world_.from_client(p);
}

void Client::arm() {
  timer_ = ++world_.timers;
  world_.after(rto_, [this, generation = timer_] { on_timeout(generation); });
}

void Client::on_timeout(std::uint64_t generation) {
  if (generation != timer_ || reset_ || gone_) return;
  timer_ = 0;
  if (snd_una_ == snd_nxt_) return;
  retransmit_until_ = snd_nxt_;
  segment(snd_una_, seq_before(snd_una_ + kMss, snd_nxt_) ? snd_una_ + kMss : snd_nxt_);
  rto_ = std::min(rto_ * 2, seconds(2));
  arm();
}

}  // namespace suture::sim
