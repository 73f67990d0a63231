#include "proxy/healing/heal_plan.hpp"

#include <algorithm>
#include <functional>
#include <optional>
#include <vector>

#include <suture/limits.hpp>

#include "proxy/client/heal_reasons.hpp"
#include "proxy/client/known_bytes.hpp"
#include "proxy/client/replay_rule.hpp"
#include "proxy/healing/heal_websocket.hpp"

namespace suture::healing {
namespace {

class Ladder {
 public:
  Ladder(const SessionRecord& record, const ProofFacts& proof)
      : record_(record), http_(*record.http), proof_(proof), sent_(proof.client_sent) {
    // The client's FIN was read and acknowledged, and takes one place in its stream: that is not a lost byte.
    if (record.in_closed && sent_ <= record.in_known + 1) {
      sent_ = record.in_known;
      lost_ = false;
    } else {
      lost_ = proof.lost_bytes;
    }
  }

  // What is known byte for byte may be written first, all of it or up to the end of a message: as far as it leads
  // somewhere.
  Resumption take() {
    c_ = proof_.cursor;
    if (proof_.unknown_owner && c_ > record_.out_acked && !same_from_anybody())
      return reset(heal_reason::identical_only);
    if (http_.phase == HttpPhase::upgraded)
      return http_.websocket ? plan_websocket(record_, proof_) : reset(heal_reason::upgraded);
    if (proof_.cursor < record_.out_acked) return reset(heal_reason::cursor_behind);
    std::vector<std::uint64_t> places{proof_.cursor, known_behind(http_, proof_.cursor, [](std::string_view) {})};
    const auto ends = [&](const Exchange& e) {
      for (const std::uint64_t place : {e.response_start, e.response_end})
        if (place > places[0] && place < places[1]) places.push_back(place);
    };
    for (const Exchange& e : http_.answered) ends(e);
    ends(http_);
    std::sort(places.begin(), places.end(), std::greater<>());
    std::optional<Resumption> first, chosen;
    for (const std::uint64_t place : places) {
      c_ = place;
      const Resumption found = take_at_place();
      if (chosen) {
        // Of that response the client has nothing: a new one may be another, the rest of the first may not.
        if (found.rung == ResumeRung::replay && found.exchange == chosen->exchange) return found;
        continue;
      }
      const bool rest =
          found.rung == ResumeRung::range || found.rung == ResumeRung::refetch || found.rung == ResumeRung::events;
      if (rest)
        chosen = found;
      else if (found.rung != ResumeRung::reset)
        return found;
      else if (!first)
        first = found;
    }
    if (chosen) return *chosen;
    first->journal = 0;
    return *first;
  }

 private:
  // Whoever wrote [out_acked, c), it is what the record's owner would have written: the inside of one body that the
  // strong entity tag and the length decide.
  bool same_from_anybody() const {
    const auto decides = [&](const Exchange& e) {
      return e.response_head_end != 0 && range_refusal(e) == nullptr && e.response_head_end <= record_.out_acked &&
             c_ <= e.response_head_end + e.response_length;
    };
    return http_.phase != HttpPhase::upgraded &&
           (decides(http_) || std::any_of(http_.answered.begin(), http_.answered.end(), decides));
  }

  Resumption take_at_place() const {
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

  // The client has none of e's response, and exactly everything before it.
  Resumption nothing_of(const Exchange& e, std::size_t place) const {
    if (const char* why = above_cursor()) return reset(why);
    if (const char* why = place == http_.answered.size() ? repeat_refusal() : replay_refusal(e)) return refuse(why);
    return go_on(ResumeRung::replay, place, ends_behind(place));
  }

  // Of the current request, whose body may still be under way: the client goes on sending it to us.
  const char* repeat_refusal() const {
    const char* why = replay_refusal(http_);
    const bool arriving = http_.phase == HttpPhase::body && !lost_ && input_behind(record_, http_.answered.size());
    return why == heal_reason::request_body && arriving && http_.pending == nullptr ? nullptr : why;
  }

  // The client has the beginning of e's response.
  Resumption part_of(const Exchange& e, std::size_t place) const {
    if (c_ < e.response_head_end) return reset(heal_reason::partial_head);
    if (e.response_end != 0 && c_ > e.response_end) return reset(heal_reason::cursor_beyond);
    ResumeRung rung = ResumeRung::range;
    const char* refused = range_refusal(e);
    if (refused && e.body) {
      if (e.body->events && e.response_framing == BodyFraming::length) return reset(refused);
      rung = e.body->events ? ResumeRung::events : ResumeRung::refetch;
      refused = e.body->events ? events_refusal(e) : refetch_refusal(e);
    }
    if (refused) return reset(refused);
    const char* behind = behind_refusal(e);
    if (behind) return reset(behind);
    Resumption out = go_on(rung, place, ends_behind(place) || last_exchange(e) || proof_.identical_only || unproven(e));
    out.refetch = rung == ResumeRung::range && e.body && refetch_refusal(e) == nullptr;
    return out;
  }

  // Behind this response the client may hold bytes that answer what it sent after this request.
  bool unproven(const Exchange& e) const {
    const auto requested = request_end(e);
    return above_cursor() && (!requested || sent_ > *requested);
  }

  // Whether it does: our FIN would stand where these are, and the client's kernel, which has them, would not see it.
  const char* behind_refusal(const Exchange& e) const {
    if (!unproven(e)) return nullptr;
    const bool none = record_.facts.sack_ok && !proof_.sack_full && e.response_framing == BodyFraming::length &&
                      proof_.sack_edge <= e.response_head_end + e.response_length;
    return none ? nullptr : above_cursor();
  }

  // The body once more from its beginning: what the client may hold of it must lie below a mark.
  const char* refetch_refusal(const Exchange& e) const {
    if (const char* why = replay_refusal(e)) return why;
    std::uint64_t content = c_ - e.response_head_end;
    if (e.response_framing == BodyFraming::chunked) {
      const auto place = place_of(*e.body, c_);
      if (!place) return heal_reason::response_unknown;
      content = place->content;
    }
    if (proof_.identical_only) return heal_reason::identical_only;
    if (!proof_.sack_above && !record_.facts.sack_ok) return heal_reason::no_sack;
    if (proof_.sack_above && proof_.sack_full) return heal_reason::sack_above;
    const bool above = above_cursor() != nullptr;
    if (content == 0 && !above) return nullptr;
    return mark_beyond(*e.body, above ? std::max(c_, proof_.sack_edge) : c_, content) ? nullptr
                                                                                      : heal_reason::no_checkpoint;
  }

  // New events are not the ones that the dead owner may have sent behind the journal.
  const char* events_refusal(const Exchange& e) const {
    if (const char* why = replay_refusal(e)) return why;
    if (const char* why = above_cursor()) return why;
    if (!e.journal || c_ != e.journal_start + e.journal->size()) return heal_reason::response_unknown;
    return e.body->identified ? nullptr : heal_reason::no_event_id;
  }

  // c is the end of the last response.
  Resumption between_exchanges() const {
    if (sack_above()) return reset(heal_reason::sack_above);
    if (last_exchange()) return go_on(ResumeRung::idle, 0, true);
    const bool missing = !input_behind(record_, http_.answered.size());
    // Without an answer in the client's hands about what lies above c: only if it has asked for nothing more. A request
    // of which only the beginning was ever sent is not answered.
    const bool only_a_beginning = http_.phase == HttpPhase::head && http_.pipelined == 0;
    const bool asked = sent_ > record_.in_known || lost_ || (more_input() && !only_a_beginning);
    if (const char* why = asked || proof_.identical_only ? above_cursor() : nullptr) return reset(why);
    // One place of the client's stream that no record has, behind an answer to everything: its FIN, if it is not the
    // first byte of a request. An end is right for both, and an answer that nobody has asked for is not.
    if (lost_ && !missing && http_.phase == HttpPhase::idle && sent_ == record_.in_known + 1)
      return go_on(ResumeRung::idle, 0, true);
    if (lost_ || missing) return refuse(lost_ ? heal_reason::lost_bytes : heal_reason::partial_request);
    return go_on(ResumeRung::idle, 0, false);
  }

  // Nothing can follow exchange number `place`: what its successors asked is not known.
  bool ends_behind(std::size_t place) const { return lost_ || record_.out_closed || !input_behind(record_, place); }

  bool sack_above() const {
    return proof_.sack_above && (proof_.sack_full || proof_.sack_edge > c_ || c_ == proof_.cursor);
  }

  // nullptr: the client holds nothing above c.
  const char* above_cursor() const {
    if (sack_above()) return heal_reason::sack_above;
    if (proof_.identical_only) return heal_reason::identical_only;
    if (!record_.facts.sack_ok) return heal_reason::no_sack;
    return nullptr;
  }

  bool last_exchange() const { return last_exchange(http_) || record_.out_closed; }
  static bool last_exchange(const Exchange& e) { return !e.keep_alive; }

  // Below L there is more than the base's request. In phase idle L is the end of a request.
  bool more_input() const {
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
    const bool from_journal = rung == ResumeRung::idle && c_ != proof_.cursor;
    Resumption out = at(from_journal ? ResumeRung::journal : rung, "");
    if (proof_.sack_above) out.sack_edge = proof_.sack_edge;
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
    out.cursor = proof_.cursor;
    out.journal = c_ - proof_.cursor;
    out.received = proof_.received;
    out.client_sent = proof_.client_sent;
    out.close_after = true;
    return out;
  }

  const SessionRecord& record_;
  const HttpState& http_;
  const ProofFacts& proof_;
  std::uint64_t c_ = 0;  // what lies below is with the client, or known byte for byte
  std::uint64_t sent_;   // S, without a FIN that is known
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
            0,
            true,
            0};
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
