// The node as the claim table's driver.
#include <algorithm>

#include <suture/sequence.hpp>

#include "tests/simulation/client.hpp"
#include "tests/simulation/http_process.hpp"
#include "tests/simulation/node.hpp"
#include "tests/simulation/scripted_session.hpp"

namespace suture::sim {
namespace {

using namespace healing;

constexpr std::size_t kHeldMax = 16;  // limits::held_packets_per_flow

}  // namespace

ClaimOptions Node::options() {
  ClaimOptions o;
  o.session_timeout = Millis{15'000};
  o.grace = Millis{2000};
  o.grace_max = Millis{8000};
  o.renew_every = Millis{10'000};
  o.unfenced_timeout = Millis{3000};
  o.resend_patience = Millis{600};
  o.lease = Millis{200};
  o.rounds_max = 5;
  return o;
}

ClaimContext Node::context() {
  ClaimContext c;
  c.now = time_point(world_.now);
  c.slot_now_ms = slot_ms();
  c.random = world_.rng.u32();
  c.majority = majority();
  for (std::size_t i = 0; i < World::kNodes; ++i) {
    const Node& peer = *world_.nodes[i];
    if (i == index_ || !world_.living(index_, i) || world_.now < not_mine_until_[i] || !hint_trusted(peer)) continue;
    c.living.set(to_int(peer.id_));
  }
  if (socket_) {
    c.former_clock_known = true;
    c.former_clock = mono_ms() + own_.facts.ts_offset;
    c.former_first = own_first_;
    return c;
  }
  if (!claim_record_) return c;
  const SessionRecord& r = claim_record_->record;
  c.former_first = claim_record_->first_tsval;
  c.owner_living = owner_living(r);
  for (std::size_t i = 0; i < World::kNodes; ++i) {
    const Node& peer = *world_.nodes[i];
    const bool is_owner = peer.id_ == r.owner && peer.incarnation_ == r.incarnation;
    if (i != index_ && !is_owner && world_.living(index_, i)) {
      for (std::size_t j = 0; j < World::kNodes; ++j) {
        const Node& owner = *world_.nodes[j];
        if (owner.id_ == r.owner && owner.incarnation_ == r.incarnation && world_.living(i, j))
          c.owner_heard_by_any = true;
      }
    }
    if (peer.id_ == r.owner) {
      const std::int64_t apart = static_cast<std::int64_t>(peer.slot_ms() - slot_ms());
      c.clocks_apart = c.clocks_apart || apart > (1 << 21) || apart < -(1 << 21);
    }
  }
  if (const auto heard = heard_.find(r.incarnation); heard != heard_.end()) {
    const std::uint64_t mono = heard->second.first + (world_.now - heard->second.second) / 1000;
    c.former_clock_known = true;
    c.former_clock = static_cast<std::uint32_t>(mono) + r.facts.ts_offset;
  } else if (r.owner == id_) {  // our own former incarnation: the machine's clock is the same
    c.former_clock_known = true;
    c.former_clock = mono_ms() + r.facts.ts_offset;
  }
  if (world_.broken == Break::majority) {
    c.majority = true;
    c.owner_heard_by_any = false;
  }
  if (world_.broken == Break::lead) c.former_clock_known = false;
  return c;
}

void Node::open_claim() {
  ++world_.totals.claims;
  claim_record_ = record_;
  claim_ = Claim::claimant(id_, record_->record, options());
  began_.reset();
  last_state_ = FlowState::none;
  state_since_ = world_.now;
}

Segment Node::segment(const Packet& p) const {
  Segment s;
  s.key = world_.key;
  s.seq = p.seq;
  s.ack = p.ack;
  s.flags = p.flags;
  s.window = static_cast<std::uint16_t>(p.window >> (world_.settings.wscale ? kWscale : 0));
  s.payload_bytes = p.length;
  if (p.timestamps) s.timestamps = Timestamps{p.tsval, p.tsecr};
  s.sacks.assign(p.sacks.begin(), p.sacks.end());
  return s;
}

void Node::claim_packet(const Packet& p, Via via, std::size_t from) {
  if (!responsive()) return;
  if (!began_ && !p.rst()) began_ = p;
  Segment s = segment(p);
  if (world_.broken == Break::echo && claim_->state() == FlowState::fencing && s.timestamps)
    s.timestamps->echo = last_fence_;
  if (world_.broken == Break::data_proof && claim_->state() == FlowState::fencing) s.payload_bytes = 0;
  if (via == Via::final && from != index_ && claim_->state() == FlowState::fencing) ++world_.totals.third_pop;
  const ClaimContext now = context();
  const Outcome outcome = claim_->on_packet(s, now);
  if (world_.verbose()) {
    static const char* const verdicts[] = {"none", "hold", "drop", "deliver", "forward"};
    world_.say(index_, std::string(verdicts[static_cast<int>(outcome.packet)]) + " seq " +
                           std::to_string(world_.in_offset(p.seq)) + "+" + std::to_string(p.length) + " ack " +
                           std::to_string(world_.out_offset(p.ack)) + " echo " + std::to_string(p.tsecr) + " (clock " +
                           std::to_string(now.former_clock) + ")" + (p.forged ? " forged" : ""));
  }
  apply(outcome, &p, via);
}

void Node::apply(const Outcome& outcome, const Packet* packet, Via via) {
  // The packet first: it may be among those that an action gives away.
  switch (packet != nullptr ? outcome.packet : PacketVerdict::none) {
    case PacketVerdict::none:
      break;
    case PacketVerdict::hold:
      ++world_.totals.held;
      if (held_.size() < kHeldMax) held_.push_back(*packet);
      break;
    case PacketVerdict::drop:
      ++world_.totals.dropped;
      break;
    case PacketVerdict::deliver:
      held_.push_back(*packet);
      break;
    case PacketVerdict::forward:
      ++world_.totals.forwarded;
      if (const auto peer = world_.find(outcome.forward_to, index_); peer && via != Via::final) {
        world_.forward(index_, *peer, *packet);
      }
  }
  if (held_.size() > kHeldMax + 1) world_.ledger.violation("too much is held");
  for (const Action& action : outcome.actions) {
    std::visit([this](const auto& a) { carry_out(a); }, action);
  }
  if (packet != nullptr && outcome.packet == PacketVerdict::deliver) {
    ++world_.totals.delivered;
    deliver_held();
  }
  if (claim_ && !socket_ && (claim_->state() == FlowState::none || claim_->state() == FlowState::released)) {
    claim_.reset();
    held_.clear();
  }
  if (claim_ && claim_->state() != last_state_) {
    last_state_ = claim_->state();
    state_since_ = world_.now;
  }
  schedule_tick();
}

void Node::schedule_tick() {
  if (ticking_ || !claim_ || claim_->state() == FlowState::owner || claim_->state() == FlowState::released) return;
  ticking_ = true;
  world_.after(ms(20), [this, process = process_] {
    ticking_ = false;
    if (process != process_ || !claim_) return;
    if (responsive()) {
      if (!socket_ && claim_record_ && owner_living(claim_record_->record)) apply(claim_->on_owner_living(context()));
      if (claim_) apply(claim_->on_tick(context()));
    } else {
      schedule_tick();
    }
  });
}

void Node::deliver_held() {
  std::deque<Packet> held;
  held.swap(held_);
  for (const Packet& p : held) {
    if (socket_ && !frozen_) socket_->on_packet(p);
  }
}

// ---- actions

void Node::carry_out(const action::Send& send) {
  if (silent()) return;
  Packet p;
  p.seq = send.nudge.seq;
  p.ack = send.nudge.ack;
  p.length = 1;
  p.content = kGarbage;
  p.window = (world_.broken == Break::window ? 2U : kNudgeWindow) << (world_.settings.wscale ? kWscale : 0);
  if (send.nudge.timestamps) {
    p.timestamps = true;
    p.tsval = send.nudge.timestamps->value;
    p.tsecr = send.nudge.timestamps->echo;
  }
  switch (claim_->state()) {
    case FlowState::probing:
      ++world_.totals.probes;
      if (world_.broken == Break::sent_position && claim_record_) {
        p.seq = to_seq(world_.iss, claim_record_->record.out_sent);
      }
      break;
    case FlowState::fencing:
      ++world_.totals.fences;
      last_fence_ = p.tsval;
      if (world_.broken == Break::swallow && began_) p.ack = seq_max(p.ack, began_->seq + began_->length);
      break;
    default:
      ++world_.totals.verifications;
  }
  world_.say(index_, "nudge seq " + std::to_string(world_.out_offset(p.seq)) + " ack " +
                         std::to_string(world_.in_offset(p.ack)) + " ts " + std::to_string(p.tsval));
  world_.to_client(p);
}

void Node::carry_out(const action::Proven& proven) {
  Proof proof = proven.proof;
  Totals& t = world_.totals;
  ++(proof.fenced ? t.proven : t.proven_unfenced);
  t.lost_bytes += proof.lost_bytes;
  t.sack_above += proof.sack_above;
  t.unknown_owner += proof.unknown_owner;
  t.clipped += proof.seq_clipped;
  t.reclaimed += socket_ != nullptr;
  if (world_.broken == Break::chance_ack && began_) proof.ack = began_->ack;
  if (world_.broken == Break::s_rule) proof.seq = proof.received;
  if (world_.broken == Break::sack) proof.sack_above = false;
  world_.say(index_, "proven: c " + std::to_string(world_.out_offset(proof.ack)) + " received " +
                         std::to_string(world_.in_offset(proof.received)) + " S " +
                         std::to_string(world_.in_offset(proof.seq)) + (proof.lost_bytes ? " lost bytes" : "") +
                         (proof.sack_above ? " sack above" : ""));
  auto former = std::make_shared<WireRecord>(*(socket_ ? record_ : claim_record_));
  if (socket_)
    former->record = own_, former->content = socket_->start().content,
    former->client_sent = socket_->start().client_sent;
  // A rebuild takes time, and in between things happen.
  world_.after(world_.rng.between(ms(0.2), ms(20)), [this, proof, former, process = process_] {
    if (process != process_ || !claim_ || claim_->state() != FlowState::proven) {
      ++world_.totals.discarded;
      return;
    }
    if (world_.rng.chance(world_.settings.rebuild_failure) && !world_.faults_over) {
      ++world_.totals.rebuild_failed;
      apply(claim_->on_rebuild_failed(context()));
    } else {
      rebuilt(proof, former);
    }
  });
}

void Node::rebuilt(const Proof& proof, const RecordPtr& former) {
  if (!responsive()) return;
  own_ = former->record;
  own_.owner = id_;
  own_.incarnation = incarnation_;
  own_.epoch = std::max(former->record.epoch, record_ ? record_->record.epoch : 0) + 1;
  own_.fenced = proof.fenced;
  own_.fence = proof.fence;
  own_.ts_advance = proof.ts_advance;
  own_.in_known = world_.in_offset(proof.received);
  own_.out_acked = own_.out_sent = world_.out_offset(proof.ack);
  own_first_ = proof.fence;
  own_.facts.ts_offset = proof.fence + 2 - mono_ms();
  ++world_.totals.rebuilt;
  if (http_) return rebuilt_http(proof, former);
  // The plan (DESIGN.md, healing ladder), reduced to: which bytes may follow?
  const bool above = proof.sack_above || !world_.settings.sack;
  const bool no_end = proof.lost_bytes || (above && proof.unknown_owner);
  const Content content = above ? former->content : world_.contents++;
  // Without a fence it begins with the first byte: nobody knows of one that dies before.
  unspoken_ = !proof.fenced;
  if (proof.fenced) world_.ledger.ownership(content, world_.out_offset(proof.ack), true, proof.fence);
  socket_ = std::make_shared<Socket>(world_, *this,
                                     Socket::Start{content, ++world_.instances, proof.ack, proof.received,
                                                   std::max(world_.in_offset(proof.seq), former->client_sent),
                                                   own_.facts.ts_offset, above ? 64 * kMss : 0},
                                     std::make_unique<ScriptedSession>(world_, *this));
  frozen_ = false;
  apply(claim_->on_rebuilt(own_, context()));
  if (no_end) return reset_client(proof);
  publish();
  deliver_held();
  if (socket_) socket_->pump();
}

// Nothing is provably right: an RST, and the session is over.
void Node::reset_client(const Proof& proof) {
  carry_out(action::Reset{proof.ack, 0});
  carry_out(action::EndRecord{});
  carry_out(action::Release{});
  claim_.reset();
}

void Node::carry_out(const action::Freeze&) {
  ++world_.totals.freezes;
  world_.say(index_, "freezes");
  frozen_ = true;
  if (http_ && http_->session()) http_->session()->freeze();
}

void Node::carry_out(const action::Thaw& thaw) {
  ++world_.totals.thaws;
  world_.totals.thaws_claimed += thaw.claimed;
  world_.say(index_, "thaws");
  frozen_ = false;
  own_.epoch = thaw.epoch;
  if (http_ && http_->session()) http_->session()->thaw(thaw.claimed ? std::optional(thaw.epoch) : std::nullopt);
  deliver_held();
  if (thaw.claimed) publish();
  socket_->read();
  socket_->pump();
  turn();
}

void Node::carry_out(const action::Release&) {
  ++world_.totals.releases;
  world_.say(index_, "releases");
  if (http_ && http_->session()) http_->session()->release(true);
  socket_.reset();
  orphan_since_.reset();
  frozen_ = false;
  held_.clear();
}

void Node::carry_out(const action::Reset& reset) {
  Packet p;
  p.flags = kRst;
  p.seq = reset.seq;
  world_.say(index_, "resets the client");
  world_.to_client(p);
  world_.after(ms(400), [this, p] { world_.to_client(p); });
}

void Node::carry_out(const action::EndRecord&) {
  ++world_.totals.ended;
  world_.say(index_, "ends the record");
  world_.record_ended = true;
}

void Node::carry_out(const action::GiveUp& give_up) {
  static const char* const names[] = {
#define SUTURE_SIM_NAME(name, label) label,
      SUTURE_CLAIM_GIVE_UPS(SUTURE_SIM_NAME)
#undef SUTURE_SIM_NAME
  };
  world_.say(index_, std::string("gives up: ") + names[static_cast<int>(give_up.reason)]);
  switch (give_up.reason) {
#define SUTURE_SIM_CASE(name, label) \
  case GiveUpReason::name:           \
    ++world_.totals.gave_up_##name;  \
    break;
    SUTURE_CLAIM_GIVE_UPS(SUTURE_SIM_CASE)
#undef SUTURE_SIM_CASE
    case GiveUpReason::count:
      break;
  }
  if (!give_up.served_by) return;
  for (const Packet& p : held_) {
    if (const auto peer = world_.find(*give_up.served_by, index_)) world_.forward(index_, *peer, p);
  }
  held_.clear();
}

}  // namespace suture::sim
