// The node's kernel, its directory, and what happens to it.
#include "tests/simulation/node.hpp"

#include <tuple>

#include <suture/sequence.hpp>

#include "tests/simulation/client.hpp"
#include "tests/simulation/http_process.hpp"
#include "tests/simulation/scripted_session.hpp"

namespace suture::sim {
namespace {

constexpr Micros kHeartbeatLimit = ms(150);
constexpr Micros kLease = ms(200);  // heartbeat limit <= lease < dead interval
constexpr Micros kSyncTime = ms(120);
constexpr Micros kNotMine = seconds(5);  // Steering::not_mine_lifetime

}  // namespace

Node::Node(World& world, std::size_t index, NodeId id)
    : world_(world),
      index_(index),
      id_(id),
      incarnation_(static_cast<Incarnation>(100 * (index + 1))),
      mono_offset_ms_(world.rng.u32()),
      slot_offset_ms_(static_cast<std::int64_t>(5'000'000'000) - static_cast<std::int64_t>(mono_offset_ms_) +
                      world.settings.slot_apart_ms[index]) {
  begin_process();
}

Node::~Node() = default;

void Node::accept(std::uint32_t iss, std::uint32_t irs) {
  own_ = {};
  own_.facts.key = world_.key;
  own_.facts.iss = iss;
  own_.facts.irs = irs;
  own_.facts.wscale_ok = world_.settings.wscale;
  own_.facts.rcv_wscale = kWscale;
  own_.facts.sack_ok = world_.settings.sack;
  own_.facts.timestamps = world_.settings.timestamps;
  own_.facts.hint = world_.settings.hint;
  own_first_ = slot_tsval(world_.client->ts_recent(), slot_ms(), to_int(id_), world_.rng.u32());
  own_.facts.ts_offset = own_first_ - mono_ms();
  if (world_.rng.chance(0.03)) own_.ts_advance = static_cast<std::uint32_t>(healing::Claim::kAdvanceMax - (1U << 27));
  own_.owner = id_;
  own_.incarnation = incarnation_;
  if (http_) return accept_http();
  socket_ = std::make_shared<Socket>(world_, *this,
                                     Socket::Start{world_.contents++, 0, iss + 1, irs + 1, 0, own_.facts.ts_offset, 0},
                                     std::make_unique<ScriptedSession>(world_, *this));
  world_.ledger.ownership(0, 0, false, 0);
  claim_ = healing::Claim::owner(id_, own_, options(), context());
  publish();
}

// ---- kernel

// Heartbeat stale, or the peers' claims not read yet after a stall: nothing leaves.
bool Node::silent() const {
  if (!alive_ || world_.now < silent_until_) return true;
  return stalled_since_ && world_.now - *stalled_since_ > kHeartbeatLimit;
}

std::optional<std::size_t> Node::named_by(const Packet& p) const {
  if (!world_.settings.timestamps || !world_.settings.hint || !p.timestamps) return {};
  const unsigned named = slot_owner(p.tsecr, slot_ms());
  if (named == to_int(id_)) return {};
  const auto peer = world_.find(NodeId{static_cast<std::uint8_t>(named)}, index_);
  if (!peer || !world_.living(index_, *peer) || world_.now < not_mine_until_[*peer]) return {};
  if (!hint_trusted(*world_.nodes[*peer])) return {};
  return peer;
}

bool Node::hint_trusted(const Node& peer) const {
  const std::int64_t apart = static_cast<std::int64_t>(peer.slot_ms() - slot_ms());
  return apart < 60'000 && apart > -60'000;
}

void Node::ingress(const Packet& p, Via via, std::size_t from) {
  if (!alive_) return;
  if (silent()) {  // to the heir
    if (via != Via::access) return;
    for (std::size_t i = 0; i < World::kNodes; ++i) {
      if (i == index_ || !world_.nodes[i]->responsive() || !world_.reachable(index_, i)) continue;
      return world_.nodes[i]->ingress(p, Via::orphan, index_);
    }
    return;
  }
  if (socket_ && !frozen_) {
    const bool foreign = p.timestamps && own_.facts.timestamps && own_.facts.hint && !p.rst() &&
                         seq_diff(p.tsecr, mono_ms() + own_.facts.ts_offset) > healing::Claim::kReplacedAhead;
    if (gated()) return;
    if (!foreign || world_.broken == Break::replaced) return socket_->on_packet(p);
    ++world_.totals.replaced;
    if (const auto peer = named_by(p); peer && via != Via::final) world_.forward(index_, *peer, p);
    if (responsive() && claim_) apply(claim_->on_foreign_echo(p.tsecr, context()));
    return;
  }
  if (socket_ || claim_) return claim_packet(p, via, from);
  if (p.rst()) return;
  const bool names_us = p.timestamps && slot_owner(p.tsecr, slot_ms()) == to_int(id_);
  // A final packet that is nobody's is dropped, unless it names us: then the client has accepted a fence of ours.
  if (via == Via::final && (!names_us || (http_ && !knows_session()))) {
    world_.nodes[from]->not_mine_until_[index_] = world_.now + kNotMine;
    return;
  }
  if (const auto peer = named_by(p); peer && via != Via::final) return world_.forward(index_, *peer, p);
  if (forward_to_displaced(p, via)) return;
  if (!knows_session() || world_.record_ended) return answer_unknown(p);
  if (http_ && ours(*record_)) return;
  const bool in_force =
      names_us && world_.settings.hint;  // a fence of ours that we did not follow up; the table judges
  if (owner_living(record_->record) && !in_force) {
    if (via == Via::final) return;
    const auto peer = world_.find(record_->record.owner, index_);
    if (peer && world_.now >= not_mine_until_[*peer]) return world_.forward(index_, *peer, p);
    return;
  }
  open_claim();
  claim_packet(p, via, from);
}

void Node::egress(const Packet& p) {
  if (silent() || frozen_ || mute_ || gated()) return;
  if (unspoken_ && p.length > 0) {
    unspoken_ = false;
    world_.ledger.ownership(socket_->start().content, world_.out_offset(socket_->start().snd), false, 0);
  }
  world_.to_client(p);
}

// Egress rule 4, and one thing more that the rule needs: it stays closed until the node is cut off no longer. A client
// that comes back to a cut-off owner after the lease may have been claimed meanwhile, and nothing in its packets says
// so.
bool Node::gated() {
  if ((own_.facts.timestamps && own_.facts.hint) || !cut_off() || world_.broken == Break::gate) return gated_ = false;
  if (socket_ && world_.now - socket_->heard_at() > kLease) gated_ = true;
  return gated_;
}

// ---- who is there

bool Node::majority() const {
  std::size_t n = 1;
  for (std::size_t i = 0; i < World::kNodes; ++i) n += i != index_ && world_.living(index_, i) && synced_[i];
  return n > World::kNodes / 2;
}

bool Node::cut_off() const {
  return !majority();
}

bool Node::owner_living(const SessionRecord& record) const {
  for (std::size_t i = 0; i < World::kNodes; ++i) {
    const Node& peer = *world_.nodes[i];
    if (i == index_ || peer.id_ != record.owner || peer.incarnation_ != record.incarnation) continue;
    if (world_.living(index_, i) && world_.now >= not_mine_until_[i]) return true;
  }
  return false;
}

// ---- directory

bool Node::ours(const WireRecord& r) const {
  return r.record.owner == id_ && r.record.incarnation == incarnation_;
}

// Does a stand against b? One connection; the order of PROTOCOL.md.
bool Node::stands(const SessionRecord& a, const SessionRecord& b) {
  if (a.fenced && b.fenced && a.fence != b.fence) return seq_before(b.fence, a.fence);
  if (a.fenced != b.fenced) return a.fenced ? a.epoch >= b.epoch : a.epoch > b.epoch;
  return std::tuple(a.epoch, to_int(a.owner), a.incarnation) > std::tuple(b.epoch, to_int(b.owner), b.incarnation);
}

// Of another owner, beside the record that stands: the best of those that would stand without it.
void Node::displace(const RecordPtr& r) {
  if (ours(*r)) return;
  const bool same = displaced_ && displaced_->record.incarnation == r->record.incarnation;
  if (same ? displaced_->version <= r->version
           : !r->erased && (!displaced_ || displaced_->erased || stands(r->record, displaced_->record)))
    displaced_ = r;
}

void Node::store(RecordPtr r) {
  if (record_) {
    const bool same = record_->record.owner == r->record.owner &&
                      record_->record.incarnation == r->record.incarnation && record_->record.epoch == r->record.epoch;
    if (same ? r->version < record_->version : !stands(r->record, record_->record)) {
      displace(r);
      return;
    }
    if (record_->record.incarnation != r->record.incarnation) displace(record_);
  }
  record_ = std::move(r);
}

void Node::publish() {
  if (!socket_ || socket_->behind().keeps_record()) return;
  own_.in_known = socket_->received();
  own_.out_acked = socket_->acked();
  own_.out_sent = socket_->sent();
  published_at_ = world_.now;
  auto wire = std::make_shared<WireRecord>(WireRecord{own_, ++version_, own_first_, socket_->start().content,
                                                      socket_->start().instance, socket_->start().client_sent});
  store(wire);
  for (std::size_t i = 0; i < World::kNodes; ++i) {
    if (i != index_ && !mute_) world_.replicate(index_, i, wire);
  }
}

void Node::send_all(std::size_t to) {
  if (!responsive()) return;
  if (record_ && !mute_) world_.nodes[to]->on_record(record_);
  world_.after(ms(20), [this, to] {
    if (world_.living(to, index_)) world_.nodes[to]->synced_[index_] = true;
  });
}

void Node::on_record(const RecordPtr& r) {
  if (!alive_ || stalled() || world_.record_ended || ours(*r)) return;
  if (world_.http) world_.http->announced.insert({r->record.incarnation, r->record.epoch});
  store(r);
  if (!claim_) return;
  if (record_->erased && !socket_) {
    claim_.reset();
    held_.clear();
  }
  if (r->erased || !claim_) return;
  if (socket_) {
    apply(claim_->on_claimed(r->record, context()));
    return;
  }
  const bool same =
      claim_record_->record.owner == r->record.owner && claim_record_->record.incarnation == r->record.incarnation;
  if (same) {
    if (r->version < claim_record_->version) return;
    claim_record_ = r;
    apply(claim_->on_record(r->record, context()));
  } else if (stands(r->record, claim_record_->record)) {
    const NodeId before = claim_->record_owner();
    const RecordPtr old = claim_record_;
    claim_record_ = r;  // the context is of the owner that may be adopted
    const auto outcome = claim_->on_claimed(r->record, context());
    if (claim_->record_owner() == before && r->record.owner != before) claim_record_ = old;
    apply(outcome);
  }
}

// ---- faults

// A stolen certificate: a peer says that it has fenced our client.
void Node::hear_false_claim(NodeId from) {
  if (!responsive() || !socket_ || !claim_ || frozen_ || !own_.facts.hint) return;
  SessionRecord theirs = own_;
  theirs.owner = from;
  theirs.incarnation = 1;
  theirs.fenced = true;
  theirs.fence = mono_ms() + own_.facts.ts_offset + (1U << 24);
  ++theirs.epoch;
  apply(claim_->on_claimed(theirs, context()));
}

void Node::stall() {
  stalled_since_ = world_.now;
}

void Node::go_on(bool clock_stopped) {
  if (!stalled_since_) return;
  const Micros lost = world_.now - *stalled_since_;
  stalled_since_.reset();
  // CLOCK_MONOTONIC stands still while a machine is suspended; the slot clock then catches up.
  if (clock_stopped) {
    clock_lost_ += lost;
    slot_offset_ms_ += static_cast<std::int64_t>(lost / 1000);
  }
  // After a stall longer than the limit it reads its peers' claims before it beats again.
  if (lost > kHeartbeatLimit) silent_until_ = world_.now + kSyncTime;
  if (!socket_) return;
  auto socket = socket_;
  world_.at(std::max(silent_until_, world_.now) + ms(1), [this, socket] {
    if (process_runs(socket.get())) socket->read();
    turn();
  });
}

void Node::kill() {
  alive_ = false;
  stalled_since_.reset();
  const bool heir = http_ && http_->session() != nullptr && own_.epoch > 0 && !own_.fenced;
  if (heir && !world_.http->announced.contains({incarnation_, own_.epoch})) world_.http->unannounced_death = true;
  http_.reset();
  socket_.reset();
  claim_.reset();
  record_.reset();
  displaced_.reset();
  claim_record_.reset();
  held_.clear();
  frozen_ = record_waits_ = erased_ = false;
  orphan_since_.reset();
  ++process_;
}

void Node::restart() {
  if (alive_) return;
  alive_ = true;
  ++incarnation_;
  synced_.fill(false);
  probe_at_ = world_.now + ms(200);
  begin_process();
}

void Node::housekeeping() {
  if (!responsive()) return;
  for (std::size_t i = 0; i < World::kNodes; ++i) {
    if (i == index_) continue;
    const Node& peer = *world_.nodes[i];
    if (world_.living(index_, i)) {
      heard_[peer.incarnation_] = {peer.mono(), world_.now};
    } else {
      synced_[i] = false;
    }
  }
  if (socket_ && !frozen_ && world_.now - published_at_ >= seconds(1)) publish();
  if (http_) http_->sweep();
  const bool has_record = http_ && own_.incarnation == incarnation_ && (erased_ || http_->session() != nullptr);
  if (has_record && world_.now - published_at_ >= seconds(1)) send_record();
  end_orphan();
  if (claim_ && claim_->state() == healing::FlowState::owner) {
    apply(claim_->on_record(own_, context()));
    apply(claim_->on_tick(context()));
    return;
  }
  if (claim_ || socket_ || !knows_session() || world_.record_ended) return;
  if (http_ && ours(*record_)) return;  // its session has just ended, or somebody else's stands
  if (owner_living(record_->record)) {
    probe_at_ = world_.now + world_.rng.between(ms(10), ms(300));
    probe_backoff_ = ms(500);
    return;
  }
  // Its owner is dead: one of the survivors asks the client where it is.
  if (world_.now < probe_at_) return;
  probe_at_ = world_.now + probe_backoff_;
  probe_backoff_ = std::min(probe_backoff_ * 2, seconds(8));
  open_claim();
  apply(claim_->start(context()));
}

}  // namespace suture::sim
