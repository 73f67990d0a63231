// The node in the HTTP mode: what healing/healer.cpp does with a proof, a worker with its session, the replicator with
// its records.
#include <algorithm>

#include <suture/sequence.hpp>

#include "proxy/healing/heal_plan.hpp"
#include "tests/simulation/client.hpp"
#include "tests/simulation/http_process.hpp"
#include "tests/simulation/node.hpp"

namespace suture::sim {
namespace {

using namespace healing;

constexpr Micros kLease = ms(200);
constexpr Micros kOrphanShort = seconds(1), kOrphanLong = seconds(20);
constexpr Micros kFlushInterval = ms(2);
constexpr std::uint64_t kWindowMax = 65535ULL << 14;  // healer.cpp

}  // namespace

void Node::begin_process() {
  if (world_.http) http_ = std::make_unique<HttpProcess>(world_, *this, index_, id_, incarnation_);
}

void Node::accept_http() {
  own_.mode = SessionMode::http;
  const Content content = world_.http->begin_stream(0);
  auto behind = std::make_unique<HttpBehind>(world_, *this, content);
  const int fd = behind->session_fd();
  socket_ = std::make_shared<Socket>(
      world_, *this, Socket::Start{content, 0, own_.facts.iss + 1, own_.facts.irs + 1, 0, own_.facts.ts_offset, 0},
      std::move(behind));
  http_->accept(fd, own_.facts);
  claim_ = Claim::owner(id_, own_, options(), context());
  turn();
}

// ---- a proof

void Node::rebuilt_http(const Proof& proof, const RecordPtr& former) {
  const SessionRecord& theirs = former->record;
  HttpTotals& totals = world_.http->totals;
  ProofFacts facts;
  facts.cursor = to_offset(theirs.facts.iss, proof.ack, theirs.out_acked);
  facts.received = to_offset(theirs.facts.irs, proof.received, theirs.in_known);
  facts.client_sent = to_offset(theirs.facts.irs, proof.seq, theirs.in_known);
  facts.sack_above = proof.sack_above;
  facts.sack_full = proof.sack_full;
  facts.sack_edge = to_offset(theirs.facts.iss, proof.sack_edge, theirs.out_acked);
  facts.lost_bytes = proof.lost_bytes;
  facts.fenced = proof.fenced;
  facts.identical_only = proof.unknown_owner && (proof.sack_above || !theirs.facts.sack_ok);
  facts.unknown_owner = proof.unknown_owner && world_.broken != Break::unknown_owner;
  if (proof.seq_clipped) facts.client_sent += kWindowMax;
  ++totals.heals;
  totals.heals_twice += world_.instances > 0;
  totals.lost_bytes += facts.lost_bytes;
  totals.sack_above += facts.sack_above;
  totals.identical_only += facts.identical_only;
  totals.clipped += proof.seq_clipped;
  for (const auto& node : world_.nodes)
    totals.false_suspicions += node.get() != this && node->http_ && node->http_->session() != nullptr;

  Adoption adoption;
  adoption.record = theirs;
  adoption.record.facts = own_.facts;
  adoption.record.owner = id_;
  adoption.record.incarnation = incarnation_;
  adoption.record.epoch = own_.epoch;
  adoption.record.fenced = own_.fenced;
  adoption.record.fence = own_.fence;
  adoption.record.ts_advance = own_.ts_advance;
  if (world_.broken == Break::lost) facts.lost_bytes = false;
  adoption.resume = plan_healing(adoption.record, facts);
  if (world_.broken == Break::journal && adoption.resume.journal > 0) --adoption.resume.cursor;
  if (world_.broken == Break::range && adoption.resume.rung == ResumeRung::range)
    --adoption.record.http->response_head_end;
  adoption.from = theirs.owner;
  // A frozen owner that claims anew gives its socket away first.
  if (http_->session()) http_->session()->release(false);
  socket_.reset();

  const Content content = world_.http->begin_stream(facts.cursor);
  auto behind = std::make_unique<HttpBehind>(world_, *this, content);
  adoption.fd = behind->session_fd();
  socket_ = std::make_shared<Socket>(
      world_, *this, Socket::Start{content, ++world_.instances, proof.ack, proof.received, 0, own_.facts.ts_offset, 0},
      std::move(behind));
  frozen_ = erased_ = false;
  orphan_since_.reset();
  said("plan: " + std::string(to_label(adoption.resume.rung)) + ' ' + adoption.resume.reason + ", phase " +
       (theirs.http ? std::to_string(static_cast<int>(theirs.http->phase)) : "-") + ", journal " +
       std::to_string(adoption.resume.journal));
  own_ = adoption.record;
  apply(claim_->on_rebuilt(own_, context()));
  if (!socket_) {
    StreamSocket unused(adoption.fd);
    return;
  }
  // First what the client said: its window, its timestamp for our echo; then the session may write.
  deliver_held();
  http_->adopt(adoption);
  turn();
}

// ---- the process

void Node::turn() {
  if (!http_ || !responsive()) return;
  http_->turn(socket_ ? &static_cast<HttpBehind&>(socket_->behind()) : nullptr);
  settle_session();
}

// What the session's end means for its socket and its claim.
void Node::settle_session() {
  if (!socket_) return;
  const auto& behind = static_cast<const HttpBehind&>(socket_->behind());
  if (behind.end() != HttpBehind::End::none && !orphan_since_) {
    claim_.reset();
    held_.clear();
    frozen_ = false;
    orphan_since_ = world_.now;
    said("its session ends");
  }
  if (behind.end() == HttpBehind::End::reset) {
    Packet p;
    p.flags = kRst;
    p.seq = socket_->snd_nxt();
    // Egress rule 3.
    const bool heard = world_.now - socket_->heard_at() <= kLease;
    if (heard && !silent() && !mute_)
      ++world_.http->totals.resets_sent, world_.to_client(p);
    else
      ++world_.http->totals.resets_held_back;
  }
  if (behind.end() == HttpBehind::End::reset || behind.end() == HttpBehind::End::silent) {
    socket_.reset();
    orphan_since_.reset();
    return;
  }
  socket_->pump();
}

// FIN_WAIT, LAST_ACK and TIME_WAIT, in short.
void Node::end_orphan() {
  if (!orphan_since_ || !socket_) return;
  const Micros age = world_.now - *orphan_since_;
  if (age < kOrphanShort || (socket_->unacknowledged() > 0 && age < kOrphanLong)) return;
  socket_.reset();
  orphan_since_.reset();
}

// ---- records

void Node::on_upsert(const SessionRecord& record) {
  own_ = record;
  flush_record();
}

void Node::on_erase(std::uint64_t session_id) {
  if (own_.session_id != session_id || own_.incarnation != incarnation_) return;
  erased_ = true;
  flush_record();
}

// Coalesced: what is said within a flush interval is said once.
void Node::flush_record() {
  if (record_waits_) return;
  record_waits_ = true;
  world_.after(world_.rng.below(kFlushInterval), [this, process = process_] {
    if (process != process_) return;
    record_waits_ = false;
    if (!responsive()) return flush_record();
    send_record();
  });
}

// Also once a second: updates may be left out, the last one always comes at last.
void Node::send_record() {
  published_at_ = world_.now;
  auto wire = std::make_shared<WireRecord>(WireRecord{own_, ++version_, own_first_, 0, 0, 0, erased_});
  store(wire);
  for (std::size_t i = 0; i < World::kNodes; ++i)
    if (i != index_ && !mute_) world_.replicate(index_, i, wire);
}

// ---- the end

void Node::judge_http() const {
  if (http_) http_->check(world_.ledger);
  const bool has_session = http_ && http_->session() != nullptr;
  if (has_session && !socket_)
    world_.ledger.violation("pop" + std::to_string(index_) + " has a session without socket");
  if (has_session && world_.http->conversation().over() && world_.client->everything_acknowledged() && !frozen_ &&
      socket_->unacknowledged() == 0 && http_->session()->record().in_closed)
    world_.ledger.violation("pop" + std::to_string(index_) + " keeps a session that both ends have closed");
}

// ---- strays of nobody

bool Node::in_sync_with_all() const {
  for (std::size_t i = 0; i < World::kNodes; ++i)
    if (i != index_ && (!world_.living(index_, i) || !synced_[i])) return false;
  return true;
}

// The directory has more than one owner's record: once the one that stood is erased, the one before it stands again.
// Its owner, who has heard of no claim, then sees whose fence the client echoes.
bool Node::forward_to_displaced(const Packet& p, Via via) {
  if (!http_ || knows_session() || world_.record_ended || via == Via::final) return false;
  if (!displaced_ || displaced_->erased || !owner_living(displaced_->record)) return false;
  const auto peer = world_.find(displaced_->record.owner, index_);
  if (!peer) return false;
  ++world_.http->totals.stood_again;
  world_.forward(index_, *peer, p);
  return true;
}

// PROTOCOL.md, "RST to an unknown flow": nobody holds a record, and everybody who could was asked.
void Node::answer_unknown(const Packet& p) {
  if (!world_.http || p.rst() || !responsive() || !in_sync_with_all()) return;
  // It asks its peers, the packet attached: whoever knows of a dead owner's session takes it.
  for (std::size_t i = 0; i < World::kNodes; ++i) {
    Node& peer = *world_.nodes[i];
    if (i == index_ || peer.socket_ || !peer.knows_session() || world_.record_ended) continue;
    if (!peer.responsive() || !world_.reachable(index_, i) || peer.owner_living(peer.record_->record)) continue;
    return peer.ingress(p, Via::orphan, index_);
  }
  for (const auto& node : world_.nodes)
    if (node->socket_ || (node->knows_session() && !world_.record_ended)) return;
  ++world_.http->totals.resets_unknown;
  Packet reset;
  reset.flags = kRst;
  reset.seq = p.ack;
  world_.to_client(reset);
}

}  // namespace suture::sim
