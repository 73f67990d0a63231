#include "proxy/healing/stray_handler.hpp"

#include <string>
#include <utility>

namespace suture::healing {

void StrayHandler::on_packet(std::span<const std::uint8_t> packet, TimePoint now) {
  const auto segment = parse_segment(packet);
  if (!segment) {
    malformed_.add();
    return;
  }
  const auto& key = segment->key;
  const auto owner = knowledge_.owner_of(key);
  const auto asked = questions_.find(key);
  const StrayFacts facts{(segment->flags & kRst) != 0, knowledge_.has_claim(key), owner.state,
                         asked == questions_.end() ? Question::none : asked->second.state};
  const auto verdict = judge_stray(facts);
  count(verdict);
  switch (verdict) {
    case StrayVerdict::forward_record:
      release(key, owner.node);
      outlet_.forward(owner.node, packet);
      break;
    case StrayVerdict::forward_answer:
      outlet_.forward(asked->second.owner, packet);
      break;
    case StrayVerdict::hold:
      if (!holding_.hold(key, Packet(packet.begin(), packet.end()))) held_dropped_.add();
      break;
    case StrayVerdict::ask:
      ask(*segment, packet, now);
      break;
    case StrayVerdict::deliver:
      for (const auto& held : holding_.take(key)) outlet_.deliver(held);
      outlet_.deliver(packet);
      break;
    case StrayVerdict::claim:
      claim_held(key, now);
      outlet_.claim(*segment, packet, now);
      break;
    case StrayVerdict::drop_rst:
    case StrayVerdict::drop_unproven:
    case StrayVerdict::reset:
    case StrayVerdict::reset_unrecorded:
    case StrayVerdict::count:
      break;
  }
  held_.set(static_cast<std::int64_t>(holding_.size()));
}

void StrayHandler::ask(const Segment& stray, std::span<const std::uint8_t> packet, TimePoint now) {
  if (questions_.size() >= questions_max) {
    questions_full_.add();
    return;
  }
  const auto peers = knowledge_.living_peers();
  questions_.emplace(stray.key, Asked{stray, now + question_timeout, Question::open, NodeId{}, peers});
  for (const NodeId peer : peers) outlet_.ask(peer, packet);
}

void StrayHandler::on_mine(NodeId peer, const suture_flow_key& key, TimePoint now) {
  const auto it = questions_.find(key);
  if (it == questions_.end()) return;
  it->second.state = Question::answered;
  it->second.owner = peer;
  it->second.until = now + answer_lifetime;
  release(key, peer);
}

void StrayHandler::on_unknown(NodeId peer, const suture_flow_key& key) {
  const auto it = questions_.find(key);
  if (it != questions_.end()) std::erase(it->second.silent, peer);
}

void StrayHandler::on_not_mine(NodeId peer, const suture_flow_key& key) {
  const auto it = questions_.find(key);
  if (it == questions_.end() || it->second.state != Question::answered || it->second.owner != peer) return;
  questions_.erase(it);
}

void StrayHandler::release(const suture_flow_key& key, NodeId owner) {
  for (const auto& packet : holding_.take(key)) outlet_.forward(owner, packet);
  held_.set(static_cast<std::int64_t>(holding_.size()));
}

// What was held for a question that the death of the owner has answered.
void StrayHandler::claim_held(const suture_flow_key& key, TimePoint now) {
  for (const auto& packet : holding_.take(key)) {
    if (const auto segment = parse_segment(packet); segment) outlet_.claim(*segment, packet, now);
  }
  held_.set(static_cast<std::int64_t>(holding_.size()));
}

void StrayHandler::on_tick(TimePoint now) {
  std::vector<std::pair<suture_flow_key, Asked>> over;
  for (const auto& [key, asked] : questions_) {
    if (asked.until <= now) over.emplace_back(key, asked);
  }
  for (const auto& [key, asked] : over) {
    questions_.erase(key);
    if (asked.state == Question::open) expire(key, asked, now);
  }
  boost::unordered::erase_if(unproven_, [now](const auto& one) { return now - one.second.latest > unproven_lifetime; });
}

bool StrayHandler::owner_must_be_dead(const suture_flow_key& key, TimePoint now) {
  auto it = unproven_.find(key);
  if (it == unproven_.end()) {
    if (unproven_.size() >= questions_max) {
      questions_full_.add();
      return false;
    }
    it = unproven_.emplace(key, Unproven{now, now}).first;
  }
  it->second.latest = now;
  return now - it->second.since >= end_grace_ && knowledge_.complete_but_for_dead(end_grace_);
}

void StrayHandler::expire(const suture_flow_key& key, const Asked& asked, TimePoint now) {
  const auto owner = knowledge_.owner_of(key);
  UnansweredFacts facts{.owner = owner.state};
  if (owner.state == KnownOwner::none && asked.silent.empty()) {
    facts.peers_complete = knowledge_.peers_complete();
    facts.owner_must_be_dead = !facts.peers_complete && owner_must_be_dead(key, now);
  }
  const auto verdict = judge_unanswered(facts);
  count(verdict);
  if (verdict == StrayVerdict::forward_record) {
    release(key, owner.node);
    return;
  }
  if (verdict == StrayVerdict::claim) {
    claim_held(key, now);
    return;
  }
  if (verdict == StrayVerdict::deliver) {
    for (const auto& held : holding_.take(key)) outlet_.deliver(held);
  }
  holding_.take(key);
  held_.set(static_cast<std::int64_t>(holding_.size()));
  if (verdict != StrayVerdict::drop_unproven) unproven_.erase(key);
  if (verdict == StrayVerdict::reset || verdict == StrayVerdict::reset_unrecorded)
    outlet_.reset(build_reset(asked.stray));
}

void StrayHandler::register_metrics(MetricsRegistry& registry) {
  for (std::size_t i = 0; i < verdicts_.size(); ++i) {
    registry.counter("suture_strays_total", "Strays that reached user space, by what was done with them.",
                     "verdict=\"" + std::string(to_label(static_cast<StrayVerdict>(i))) + "\"", verdicts_[i]);
  }
  registry.counter("suture_strays_malformed_total", "Punted packets with bad lengths or checksums.", "", malformed_);
  registry.counter("suture_stray_questions_full_total", "Strays dropped because too many questions were open.", "",
                   questions_full_);
  registry.counter("suture_strays_held_dropped_total", "Strays dropped because too many were held.", "", held_dropped_);
  registry.gauge("suture_strays_held", "Packets that wait for an answer about their flow.", "", held_);
}

}  // namespace suture::healing
