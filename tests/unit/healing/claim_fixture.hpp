// A flow whose owner is node 1, seen by node 2: small numbers, so that a row can be checked against PROTOCOL.md by eye.
//
//   out: iss 1000; acked 100 (1101), sent 500 (1501)      in: irs 5000; L = 50 (5051)
//   the owner's clock: 1,000,000 at first, 2,000,000 now
#pragma once

#include <gtest/gtest.h>

#include "proxy/healing/claim.hpp"

namespace suture::healing::test {

inline constexpr std::uint32_t kAcked = 1101, kSent = 1501, kL = 5051;
inline constexpr std::uint32_t kFirst = 1'000'000, kNow = 2'000'000;
inline constexpr NodeId kOwner{1}, kSelf{2}, kThird{3};

inline SessionRecord record() {
  SessionRecord r;
  r.facts.iss = 1000;
  r.facts.irs = 5000;
  r.facts.timestamps = r.facts.hint = r.facts.sack_ok = true;
  r.owner = kOwner;
  r.incarnation = 1;
  r.out_acked = 100;
  r.out_sent = 500;
  r.in_known = 50;
  return r;
}

inline ClaimContext at(int ms) {
  ClaimContext c;
  c.now = TimePoint{Millis{100'000 + ms}};
  c.slot_now_ms = 70'000'000;
  c.random = 12345;
  c.former_clock = kNow + static_cast<std::uint32_t>(ms);
  c.former_first = kFirst;
  c.former_clock_known = true;
  c.majority = true;
  return c;
}

inline Segment segment(std::uint32_t seq, std::uint32_t ack, std::uint32_t echo, std::uint32_t bytes = 0) {
  Segment s;
  s.seq = seq;
  s.ack = ack;
  s.flags = kAck;
  s.payload_bytes = bytes;
  s.timestamps = Timestamps{.value = 77, .echo = echo};
  return s;
}

template <class A>
const A* find(const Outcome& out) {
  for (const Action& a : out.actions) {
    if (const A* wanted = std::get_if<A>(&a)) return wanted;
  }
  return nullptr;
}

inline const Nudge& sent(const Outcome& out) {
  static const Nudge nothing{};
  const auto* send = find<action::Send>(out);
  EXPECT_NE(send, nullptr);
  return send == nullptr ? nothing : send->nudge;
}

}  // namespace suture::healing::test
