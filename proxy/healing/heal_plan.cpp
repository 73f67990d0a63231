#include "proxy/healing/heal_plan.hpp"

#include <algorithm>
#include <optional>

#include <suture/limits.hpp>

#include "proxy/client/heal_reasons.hpp"
#include "proxy/client/replay_rule.hpp"
#include "proxy/healing/heal_websocket.hpp"

namespace suture::healing {
namespace {

// First byte behind the request; nullopt: the record cannot say.
std::optional<std::uint64_t> request_end(const Exchange& e) {
  switch (e.request_framing) {
    case BodyFraming::none:
      return e.request_head_end;
    case BodyFraming::length:
      return e.request_head_end + e.request_length;
    case BodyFraming::chunked:  // as long as it was in the stream, once that is known
      if (e.request_length != 0) return e.request_head_end + e.request_length;
      return std::nullopt;
    case BodyFraming::until_close:
      break;
  }
  return std::nullopt;
}

// nullptr: the rest of the response's body can be asked for, and is identical.
const char* range_refusal(const Exchange& e) {
  if (e.method != "GET") return heal_reason::response_method;
  if (e.status != 200) return heal_reason::response_status;
  if (e.response_framing != BodyFraming::length) return heal_reason::response_framing;
  if (e.etag.empty()) return heal_reason::no_etag;
  return replay_refusal(e);
}

class Ladder {
 public:
  Ladder(const SessionRecord& record, const ProofFacts& proof)
      : record_(record), http_(*record.http), proof_(proof), c_(proof.cursor), sent_(proof.client_sent) {
    // The client's FIN was read and acknowledged, and takes one place in its stream: that is not a lost byte.
    if (record.in_closed && sent_ <= record.in_known + 1) {
      sent_ = record.in_known;
      lost_ = false;
    } else {
      lost_ = proof.lost_bytes;
    }
  }

  Resumption take() const {
    if (http_.phase == HttpPhase::upgraded)
      return http_.websocket ? plan_websocket(record_, proof_) : reset(heal_reason::upgraded);
    if (c_ < record_.out_acked) return reset(heal_reason::cursor_behind);
    std::optional<std::uint64_t> end;  // of the response before
    for (std::size_t i = 0; i < http_.answered.size(); ++i) {
      const Exchange& e = http_.answered[i];
      if (c_ == e.response_start || c_ == end) return nothing_of(e, i);
      if (c_ < e.response_start) return reset(i == 0 ? heal_reason::response_unknown : heal_reason::partial_interim);
      if (c_ < e.response_end) return part_of(e, i);
      end = e.response_end;
    }
    switch (http_.phase) {
      case HttpPhase::body:
      case HttpPhase::waiting:
        // No final response yet: [response_start, response_end) are the interim ones, or the last response.
        if (c_ == http_.response_start || c_ == http_.response_end) return nothing_of(http_, http_.answered.size());
        return reset(c_ < http_.response_end ? heal_reason::partial_interim : heal_reason::response_unknown);
      case HttpPhase::response:
        if (c_ == http_.response_start || c_ == end) return nothing_of(http_, http_.answered.size());
        if (c_ < http_.response_start) return reset(heal_reason::partial_interim);
        if (http_.response_end != 0 && c_ == http_.response_end) return between_exchanges();
        return part_of(http_, http_.answered.size());
      default:
        if (c_ == http_.response_end) return between_exchanges();
        // One more: our FIN, in a session that was to end there.
        if (c_ == http_.response_end + 1 && last_exchange()) return go_on(ResumeRung::idle, 0, true);
        return reset(c_ < http_.response_end ? heal_reason::response_unknown : heal_reason::cursor_beyond);
    }
  }

 private:
  // The client has none of e's response, and exactly everything before it.
  Resumption nothing_of(const Exchange& e, std::size_t place) const {
    if (const char* why = above_cursor()) return reset(why);
    if (const char* why = replay_refusal(e)) return refuse(why);
    return go_on(ResumeRung::replay, place, followed(place) || swallowed() || lost_ || record_.out_closed);
  }

  // The client has the beginning of e's response.
  Resumption part_of(const Exchange& e, std::size_t place) const {
    if (c_ < e.response_head_end) return reset(heal_reason::partial_head);
    if (e.response_end != 0 && c_ > e.response_end) return reset(heal_reason::cursor_beyond);
    if (const char* why = range_refusal(e)) return reset(why);
    // Behind this response the client may hold bytes that answer what it sent after this request.
    const auto requested = request_end(e);
    const bool unproven = proof_.identical_only || (above_cursor() && (!requested || sent_ > *requested));
    return go_on(ResumeRung::range, place,
                 followed(place) || swallowed() || lost_ || last_exchange(e) || record_.out_closed || unproven);
  }

  // c is the end of the last response.
  Resumption between_exchanges() const {
    if (proof_.sack_above) return reset(heal_reason::sack_above);
    if (last_exchange()) return go_on(ResumeRung::idle, 0, true);
    const bool gap = lost_ || swallowed();
    // Without an answer in the client's hands about what lies above c: only if it has asked for nothing more. A request
    // of which only the beginning was ever sent is not answered.
    const bool only_a_beginning = http_.phase == HttpPhase::head && http_.pipelined == 0;
    const bool asked = sent_ > record_.in_known || lost_ || (swallowed() && !only_a_beginning);
    if (const char* why = asked || proof_.identical_only ? above_cursor() : nullptr) return reset(why);
    if (gap) return refuse(lost_ ? heal_reason::lost_bytes : heal_reason::partial_request);
    return go_on(ResumeRung::idle, 0, false);
  }

  // nullptr: the client holds nothing above c.
  const char* above_cursor() const {
    if (proof_.sack_above) return heal_reason::sack_above;
    if (proof_.identical_only) return heal_reason::identical_only;
    if (!record_.facts.sack_ok) return heal_reason::no_sack;
    return nullptr;
  }

  bool last_exchange() const { return last_exchange(http_) || record_.out_closed; }
  static bool last_exchange(const Exchange& e) { return !e.keep_alive; }
  bool current() const {
    return http_.phase == HttpPhase::body || http_.phase == HttpPhase::waiting || http_.phase == HttpPhase::response;
  }
  bool followed(std::size_t place) const { return place + 1 < http_.answered.size() + (current() ? 1 : 0); }

  // Bytes below L belong to a request that the record does not hold. In phase idle L is the end of a request.
  bool swallowed() const {
    switch (http_.phase) {
      case HttpPhase::idle:
        return false;
      case HttpPhase::waiting:
      case HttpPhase::response: {
        const auto end = request_end(http_);
        return !end || record_.in_known > *end;
      }
      default:
        return true;
    }
  }

  Resumption go_on(ResumeRung rung, std::size_t place, bool close_after) const {
    Resumption out = at(rung, "");
    if (rung == ResumeRung::range && proof_.sack_above) out.sack_edge = proof_.sack_edge;
    out.exchange = place;
    out.close_after = close_after;
    return out;
  }
  Resumption refuse(const char* why) const { return at(ResumeRung::refuse, why); }
  Resumption reset(const char* why) const { return at(ResumeRung::reset, why); }
  Resumption at(ResumeRung rung, const char* why) const {
    Resumption out;
    out.rung = rung;
    out.reason = why;
    out.cursor = c_;
    out.received = proof_.received;
    out.client_sent = proof_.client_sent;
    out.close_after = true;
    return out;
  }

  const SessionRecord& record_;
  const HttpState& http_;
  const ProofFacts& proof_;
  std::uint64_t c_;
  std::uint64_t sent_;  // S, without a FIN that is known
  bool lost_ = false;
};

}  // namespace

Resumption plan_healing(const SessionRecord& record, const ProofFacts& proof) {
  const bool tcp = record.mode == SessionMode::tcp;
  if (tcp || !record.http)
    return {ResumeRung::reset,
            tcp ? heal_reason::mode_tcp : heal_reason::no_state,
            proof.cursor,
            proof.received,
            proof.client_sent,
            0,
            true};
  return Ladder(record, proof).take();
}

bool ends_as_known(const SessionRecord& record) {
  const auto ends_at = [&](std::uint64_t cursor) {
    ProofFacts proof;
    proof.cursor = cursor;
    proof.received = proof.client_sent = record.in_known;
    proof.fenced = true;
    const ResumeRung rung = plan_healing(record, proof).rung;
    return rung == ResumeRung::refuse || rung == ResumeRung::reset || rung == ResumeRung::close;
  };
  if (!ends_at(record.out_acked) || !ends_at(record.out_sent)) return false;
  if (!record.http) return true;
  const HttpState& http = *record.http;
  const bool may_have_all = http.response_end <= record.out_sent + limits::record_step_bytes;
  return ends_at(http.response_start) && ends_at(http.response_head_end) &&
         !(may_have_all && !ends_at(http.response_end));
}

}  // namespace suture::healing
