#include "proxy/heal_io.hpp"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <optional>
#include <utility>

#include "proxy/client/closing.hpp"
#include "proxy/datapath/socket_destroyer.hpp"

namespace suture {

healing::ClaimContext NodeHealWorld::situation(const SessionRecord& record, TimePoint now) const {
  healing::ClaimContext out;
  out.slot_now_ms = slot_clock_.now_ms(now);
  out.majority = sync_.majority();
  out.living = living_;
  if (is_own(record)) {
    out.former_clock = record.facts.ts_offset + static_cast<std::uint32_t>(monotonic_ms(now));
    out.former_clock_known = true;
    out.owner_living = true;
    out.former_may_live = record.fenced;
  } else {
    if (const auto clock = sync_.former_clock(record, now); clock) {
      out.former_clock = clock->tsval;
      out.former_clock_known = true;
      out.clocks_apart = !clock->claim_ok;
    }
    out.owner_living = sync_.directory().living(record.owner, record.incarnation);
    out.owner_heard_by_any = sync_.heard_by_any(record.owner);
    // Another incarnation is there: no telling since when, and long enough for what this is for.
    const auto dead_for = sync_.directory().dead_for(record.owner, record.incarnation, now);
    if (dead_for && *dead_for != Millis::max()) out.owner_dead_for = *dead_for;
  }
  const auto state = is_own(record) ? std::nullopt : sync_.directory().updated(record.facts.key);
  out.former_first = healing::Claim::first_echo(
      record, out.former_clock, state ? std::optional(std::chrono::duration_cast<Millis>(now - *state)) : std::nullopt);
  return out;
}

std::optional<Millis> NodeHealWorld::owner_dead_for(const SessionRecord& record, TimePoint now) const {
  return sync_.directory().dead_for(record.owner, record.incarnation, now);
}

const SessionRecord* NodeHealWorld::record(const suture_flow_key& key) const {
  return sync_.directory().find(key);
}

const SessionRecord* NodeHealWorld::own_record(const suture_flow_key& key) const {
  return sync_.directory().find_own(key);
}

bool NodeHealWorld::is_own(const SessionRecord& record) const {
  return sync_.directory().is_own(record);
}

void NodeHealWorld::send(std::span<const std::uint8_t> packet) {
  if (!raw_.send(packet)) send_errors_.add();
}

void NodeHealWorld::forward(NodeId peer, std::span<const std::uint8_t> packet) {
  if (!kernel_.send(peer, SUTURE_TUNNEL_FINAL, packet)) forward_errors_.add();
}

void NodeHealWorld::inject(std::span<const std::uint8_t> packet) {
  if (!kernel_.inject(packet)) inject_errors_.add();
}

bool NodeHealWorld::set_flow_state(const suture_flow_key& key, suture_flow_phase phase) {
  return kernel_.set_flow_state(key, phase).has_value();
}

void NodeHealWorld::clear_flow_state(const suture_flow_key& key) {
  (void)kernel_.clear_flow_state(key);
}

// The client may have come back to this node from a port of which its last connection still waits here.
Result<healing::Rebuilt> NodeHealWorld::rebuild(const healing::RebuildSpec& spec) {
  auto ours = healing::rebuild_socket(spec);
  if (ours || ours.error().errno_value != EADDRINUSE) return ours;
  const auto removed = datapath::destroy_time_wait(spec.facts.key);
  if (!removed) return Error{ours.error().message + "; " + removed.error().message, EADDRINUSE};
  return *removed ? healing::rebuild_socket(spec) : std::move(ours);
}

bool NodeHealWorld::adopt(Adoption adoption) {
  Worker& worker = *workers_[FlowKeyHash{}(adoption.record.facts.key) % workers_.size()];
  return worker.adopt(std::move(adoption));
}

void NodeHealWorld::discard(int fd) {
  StreamSocket socket(fd);
  closing::close_silently(socket);
}

// Accepted sessions are with the worker that the kernel chose: whoever knows the key acts.
void NodeHealWorld::freeze(const suture_flow_key& key) {
  for (const auto& worker : workers_) worker->freeze(key);
}

void NodeHealWorld::thaw(const suture_flow_key& key, std::optional<Epoch> claimed_again) {
  for (const auto& worker : workers_) worker->thaw(key, claimed_again);
}

void NodeHealWorld::release(const suture_flow_key& key, bool erase_record) {
  for (const auto& worker : workers_) worker->release(key, erase_record);
}

void NodeHealWorld::forget_own(const suture_flow_key& key) {
  sync_.forget_own(key);
}

void NodeHealWorld::give_up_fence(const suture_flow_key& key) {
  if (own_record(key) == nullptr) return;
  if (!kernel_.set_flow_state(key, SUTURE_FLOW_NO_FENCE)) return fences_kept_.add();
  if (!unfenced_.insert(key).second) return;
  fences_given_up_.add();
  for (const auto& worker : workers_) worker->give_up_fence(key);
}

void NodeHealWorld::sweep(TimePoint now) {
  if (unfenced_.empty() || now - swept_at_ < std::chrono::seconds(1)) return;
  swept_at_ = now;
  boost::unordered::erase_if(unfenced_, [this](const suture_flow_key& key) {
    if (own_record(key) != nullptr) return false;
    clear_flow_state(key);
    return true;
  });
}

void NodeHealWorld::register_metrics(MetricsRegistry& registry) {
  registry.counter("suture_sessions_unfenced_total",
                   "Own sessions whose timestamps something rewrites on the way: no hint, no fence.", "",
                   fences_given_up_);
  registry.counter("suture_sessions_unfenced_errors_total",
                   "... that the kernel's map of flows did not take: their packets are judged by their timestamps.", "",
                   fences_kept_);
  const auto errors = [&](const char* what, const Counter& counter) {
    registry.counter("suture_heal_send_errors_total", "Packets of heals that could not be sent, by where to.",
                     std::string("to=\"") + what + '"', counter);
  };
  errors("client", send_errors_);
  errors("peer", forward_errors_);
  errors("local_socket", inject_errors_);
}

void DirectoryProbeSource::for_each(NodeId node, Incarnation incarnation,
                                    const std::function<void(const suture_flow_key&, TimePoint active)>& visit) const {
  sync_.directory().for_each_of(
      node, incarnation, [&](const SessionRecord& record, TimePoint updated) { visit(record.facts.key, updated); });
}

}  // namespace suture
