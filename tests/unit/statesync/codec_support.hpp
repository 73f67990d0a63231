// Records with every field that the codec knows, and their comparison field by field: for its own test and for what
// another build wrote (tests/upgrade/wire).
#pragma once

#include <memory>
#include <random>
#include <string>
#include <tuple>
#include <vector>

#include "support.hpp"

namespace suture::statesync::test {

using Random = std::mt19937_64;

inline std::shared_ptr<const std::string> some_bytes(Random& random, int log2_size) {
  if (random() & 1) return nullptr;
  return std::make_shared<const std::string>(1 + (random() >> (64 - log2_size)), static_cast<char>(random()));
}

inline BodyTrack random_track(Random& random) {
  const auto bits = [&](int n) { return random() >> (64 - n); };
  BodyTrack t;
  t.fields = random();
  t.chunks_wire = bits(50);
  t.chunks_content = bits(50);
  for (auto n = bits(4); n > 0; --n) t.chunks.push_back(1 + static_cast<std::uint32_t>(bits(20)));
  std::uint64_t wire = bits(30), content = bits(20);
  for (auto n = bits(3); n > 0; --n) {
    const auto more = bits(16);
    BodyMark& mark = t.marks.emplace_back();
    mark.wire = wire += more + bits(4), mark.content = content += more;
    mark.from = bits(1) ? mark.content / 2 : 0;
    for (auto& byte : mark.digest) byte = static_cast<std::uint8_t>(bits(8));
  }
  t.tail = bits(1) ? "0\r\n\r\n" : "";
  t.events = bits(1);
  t.identified = bits(1);
  t.last_event_id = std::string(bits(4), 'i');
  t.partial_event = std::string(bits(4), 'e');
  return t;
}

inline WebSocketState random_websocket(Random& random) {
  const auto bits = [&](int n) { return random() >> (64 - n); };
  WebSocketState w;
  w.session = std::string(bits(4), 's');
  w.subprotocol = std::string(bits(2), 'p');
  w.extensions = std::string(bits(2), 'x');
  w.received = 64 + bits(20);
  w.delivered = bits(20);
  w.in_frame = bits(40);
  w.out_frame = bits(40);
  w.out_frame_end = w.out_frame + bits(10);
  w.in_fragmented = bits(1);
  w.out_fragmented = bits(1);
  w.in_close = bits(1);
  w.out_close = bits(1);
  w.ping = std::string(bits(2), 'p');
  for (auto n = bits(3); n > 0; --n) w.messages.push_back(std::make_shared<const std::string>(1 + bits(6), 'm'));
  return w;
}

inline auto fields_of(const WebSocketState& w) {
  std::vector<std::string> messages;
  for (const auto& message : w.messages) messages.push_back(*message);
  return std::tuple(w.session, w.subprotocol, w.extensions, w.received, w.delivered, w.in_frame, w.out_frame,
                    w.out_frame_end, w.in_fragmented, w.out_fragmented, w.in_close, w.out_close, messages, w.ping);
}

inline void randomize(Exchange& e, Random& random, std::uint64_t from) {
  const auto bits = [&](int n) { return random() >> (64 - n); };
  e.request_start = bits(40);
  e.request_head_end = e.request_start + bits(10);
  e.request_framing = static_cast<BodyFraming>(bits(2));
  e.request_length = bits(40);
  if (bits(1)) e.request_head = std::make_shared<const std::string>(1 + bits(10), static_cast<char>(bits(8)));
  e.method = bits(1) ? "GET" : "\xff\x01";
  e.replayable = bits(1);
  e.response_start = from + bits(40);
  e.response_head_end = e.response_start + bits(10);
  e.response_end = 1 + e.response_head_end + bits(10);
  e.status = static_cast<std::uint16_t>(bits(8) + 100);
  e.response_framing = static_cast<BodyFraming>(bits(2));
  e.response_length = bits(40);
  if (bits(1)) e.range_start = bits(40), e.range_total = e.range_start + e.response_length + 1 + bits(10);
  e.etag = bits(1) ? "\"x\"" : "";
  if (!e.etag.empty() && bits(1)) e.content_coding = "gzip";
  e.keep_alive = bits(1);
  e.request_body = some_bytes(random, 10);
  e.journal = some_bytes(random, 10);
  if (e.journal) e.journal_start = bits(40);
  if (bits(1)) e.body = std::make_shared<const BodyTrack>(random_track(random));
}

inline SessionRecord random_record(Random& random) {
  const auto bits = [&](int n) { return random() >> (64 - n); };
  SessionRecord r = record(static_cast<std::uint16_t>(1 + bits(15)), NodeId{static_cast<std::uint8_t>(1 + bits(7))});
  if (bits(1)) r.facts.key.client = to_addr(boost::asio::ip::make_address("2001:db8::" + std::to_string(bits(8))));
  r.facts.iss = static_cast<std::uint32_t>(bits(32));
  r.facts.irs = static_cast<std::uint32_t>(bits(32));
  r.facts.mss = static_cast<std::uint16_t>(bits(16));
  r.facts.snd_wscale = static_cast<std::uint8_t>(bits(3));
  r.facts.rcv_wscale = static_cast<std::uint8_t>(bits(3));
  r.facts.wscale_ok = bits(1);
  r.facts.sack_ok = bits(1);
  r.facts.timestamps = bits(1);
  r.facts.hint = bits(1);
  r.facts.ts_offset = static_cast<std::uint32_t>(bits(32));
  r.facts.flow_label = static_cast<std::uint32_t>(bits(20));
  r.incarnation = static_cast<std::uint32_t>(1 + bits(31));
  r.epoch = static_cast<std::uint32_t>(bits(8));
  r.session_id = bits(60);
  r.mode = bits(1) ? SessionMode::http : SessionMode::tcp;
  r.ts_advance = static_cast<std::uint32_t>(bits(31));
  r.fenced = r.facts.timestamps && bits(1);
  if (r.fenced) r.fence = static_cast<std::uint32_t>(bits(32));
  r.in_known = bits(50);
  r.out_acked = bits(50);
  r.out_sent = r.out_acked + bits(20);
  r.in_closed = bits(1);
  r.out_closed = bits(1);
  if (bits(1)) {
    r.proxied = r.facts.key;
    r.proxied->client_port = static_cast<std::uint16_t>(bits(16));
    if (bits(1)) r.proxied->vip_port = 0;
    if (bits(1)) r.proxied->vip = to_addr(boost::asio::ip::make_address("2001:db8::2"));
  }
  if (bits(1)) {
    HttpState& h = r.http.emplace();
    h.phase = static_cast<HttpPhase>(bits(8) % 6);
    h.exchanges = bits(20);
    h.pipelined = static_cast<std::uint32_t>(bits(4));
    h.pending = some_bytes(random, 10);
    if (bits(1)) h.websocket = std::make_shared<const WebSocketState>(random_websocket(random));
    randomize(h, random, 0);
    for (auto n = bits(8) % (HttpState::kAnsweredMax + 1); n > 0; --n) {
      const auto from = h.answered.empty() ? 0 : h.answered.back().response_end;
      randomize(h.answered.emplace_back(), random, from);
    }
  }
  return r;
}

inline void expect_same_exchange(const Exchange& a, const Exchange& b) {
  const auto all = [](const Exchange& e) {
    return std::tuple(e.request_start, e.request_head_end, e.request_framing, e.request_length,
                      e.request_head ? *e.request_head : "", e.method, e.replayable, e.response_start,
                      e.response_head_end, e.response_end, e.status, e.response_framing, e.response_length,
                      e.range_start, e.range_total, e.etag, e.content_coding, e.keep_alive,
                      e.request_body ? *e.request_body : "", e.journal_start, e.journal ? *e.journal : "");
  };
  EXPECT_EQ(all(a), all(b));
  ASSERT_EQ(a.body != nullptr, b.body != nullptr);
  if (a.body) {
    EXPECT_EQ(*a.body, *b.body);
  }
}

inline void expect_same(const SessionRecord& a, const SessionRecord& b) {
  EXPECT_EQ(a.facts.key, b.facts.key);
  const auto facts = [](const ConnFacts& f) {
    return std::tuple(f.iss, f.irs, f.mss, f.snd_wscale, f.rcv_wscale, f.wscale_ok, f.sack_ok, f.timestamps, f.hint,
                      f.ts_offset, f.flow_label);
  };
  EXPECT_EQ(facts(a.facts), facts(b.facts));
  const auto rest = [](const SessionRecord& r) {
    return std::tuple(r.owner, r.incarnation, r.epoch, r.session_id, r.mode, r.fenced, r.fence, r.ts_advance,
                      r.in_known, r.out_sent, r.out_acked, r.in_closed, r.out_closed, r.proxied, r.http.has_value());
  };
  EXPECT_EQ(rest(a), rest(b));
  if (!a.http || !b.http) return;
  EXPECT_EQ(std::tuple(a.http->phase, a.http->exchanges, a.http->pipelined),
            std::tuple(b.http->phase, b.http->exchanges, b.http->pipelined));
  EXPECT_EQ(a.http->pending ? *a.http->pending : "", b.http->pending ? *b.http->pending : "");
  ASSERT_EQ(a.http->websocket != nullptr, b.http->websocket != nullptr);
  if (a.http->websocket) {
    EXPECT_EQ(fields_of(*a.http->websocket), fields_of(*b.http->websocket));
  }
  expect_same_exchange(*a.http, *b.http);
  ASSERT_EQ(a.http->answered.size(), b.http->answered.size());
  for (std::size_t i = 0; i < a.http->answered.size(); ++i) {
    expect_same_exchange(a.http->answered[i], b.http->answered[i]);
  }
}

}  // namespace suture::statesync::test
