#include <statesync/codec.hpp>

#include <cstdlib>
#include <fstream>
#include <map>
#include <random>

#include <proto/statesync.pb.h>

#include "support.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace suture::statesync::test {
namespace {

using Random = std::mt19937_64;

std::shared_ptr<const std::string> some_bytes(Random& random, int log2_size) {
  if (random() & 1) return nullptr;
  return std::make_shared<const std::string>(1 + (random() >> (64 - log2_size)), static_cast<char>(random()));
}

BodyTrack random_track(Random& random) {
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

WebSocketState random_websocket(Random& random) {
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

auto fields_of(const WebSocketState& w) {
  std::vector<std::string> messages;
  for (const auto& message : w.messages) messages.push_back(*message);
  return std::tuple(w.session, w.subprotocol, w.extensions, w.received, w.delivered, w.in_frame, w.out_frame,
                    w.out_frame_end, w.in_fragmented, w.out_fragmented, w.in_close, w.out_close, messages, w.ping);
}

void randomize(Exchange& e, Random& random, std::uint64_t from) {
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

SessionRecord random_record(Random& random) {
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

void expect_same_exchange(const Exchange& a, const Exchange& b) {
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

void expect_same(const SessionRecord& a, const SessionRecord& b) {
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

TEST(Codec, records_survive_the_round_trip_field_by_field) {
  Random random(1);
  for (int i = 0; i < 2000; ++i) {
    const auto before = random_record(random);
    v1::Record proto;
    encode(before, proto);
    const auto after = decode(proto);
    ASSERT_TRUE(after) << after.error().message;
    expect_same(before, *after);
  }
}

// Writes tests/fuzz/corpus/codec, when asked to: in the folder SUTURE_FUZZ_CORPUS.
TEST(Codec, DISABLED_makes_the_corpus_of_its_fuzzer) {
  const char* folder = std::getenv("SUTURE_FUZZ_CORPUS");
  ASSERT_NE(folder, nullptr);
  const auto write = [&](const std::string& name, const auto& message) {
    std::ofstream(std::string(folder) + '/' + name, std::ios::binary) << message.SerializeAsString();
  };
  constexpr std::size_t kBytesMax = 1000;  // the fuzzer's inputs are not longer
  Random random(7);
  std::map<std::string, int> made;
  for (int i = 0; i < 20000; ++i) {
    const SessionRecord one = random_record(random);
    const std::string kind = !one.http                ? "tcp"
                             : one.http->websocket    ? "websocket"
                             : !one.http->body        ? "http"
                             : one.http->body->events ? "events"
                                                      : "body";
    const std::string name = kind + (one.http && !one.http->answered.empty() ? "_answered" : "");
    v1::ToReceiver proto;
    encode(ToReceiver(Batch{static_cast<std::uint64_t>(i), {one, Erase{one.facts.key}}}), proto);
    if (proto.ByteSizeLong() > kBytesMax || made[name]++ > 0) continue;
    write(name, proto);
  }
  Hello hello;
  hello.node = kB;
  hello.name = "pop2";
  hello.incarnation = 3;
  v1::ToReceiver first;
  encode(ToReceiver(hello), first);
  write("hello", first);
  HelloAck ack;
  ack.node = kA;
  ack.incarnation = 4;
  ack.resume_from = 0;
  v1::ToSender answer;
  encode(ToSender(ack), answer);
  write("hello_ack", answer);
  encode(ToSender(Refused{Refusal::version, "no"}), answer);
  write("refused", answer);
}

TEST(Codec, messages_survive_the_round_trip) {
  LivenessKey key{};
  key[31] = 7;
  v1::ToReceiver to;
  Hello sent;
  sent.node = kB;
  sent.incarnation = 3;
  sent.liveness_key = key;
  sent.capabilities = 9;
  encode(ToReceiver(sent), to);
  const auto hello = std::get<Hello>(*decode(to));
  EXPECT_EQ(hello.liveness_key, key);
  EXPECT_EQ(hello.capabilities, 9u);
  v1::ToSender back;
  HelloAck ack;
  ack.node = kA;
  ack.incarnation = 4;
  ack.resume_from = 0;
  encode(ToSender(ack), back);
  EXPECT_EQ(std::get<HelloAck>(*decode(back)).resume_from, 0u) << "0 is not the same as absent";
  encode(ToSender(Refused{Refusal::version, "no"}), back);
  EXPECT_EQ(std::get<Refused>(*decode(back)).reason, Refusal::version);
  back.mutable_refused()->set_reason(4711);
  EXPECT_TRUE(decode(back)) << "a reason of a newer peer";
}

// Answered exchanges whose responses begin and end at these offsets.
v1::BodyTrack& track(v1::Record& record) {
  return *record.mutable_http()->mutable_body();
}

void mark(v1::Record& record, std::uint64_t wire, std::uint64_t content) {
  auto& to = *track(record).add_marks();
  to.set_wire(wire), to.set_content(content), to.set_digest(std::string(16, 'd'));
}

v1::WebSocket& websocket(v1::Record& record) {
  return *record.mutable_http()->mutable_websocket();
}

v1::Proxied& proxied(v1::Record& record) {
  auto& out = *record.mutable_proxied();
  out.set_source(std::string(4, 's')), out.set_destination(std::string(16, 'd'));
  return out;
}

void answer(v1::Record& record, std::initializer_list<std::uint64_t> ends) {
  for (const auto end : ends) {
    auto& answered = *record.mutable_http()->add_answered();
    answered.set_response_start(end);
    answered.set_response_end(end);
  }
}

TEST(Codec, impossible_values_are_errors) {
  struct Row {
    const char* text;
    std::function<void(v1::Record&)> spoil;
  };
  const Row rows[] = {
      {"without a key", [](auto& r) { r.clear_key(); }},
      {"address", [](auto& r) { r.mutable_key()->set_client("12345"); }},
      {"address", [](auto& r) { r.mutable_key()->set_vip(""); }},
      {"port", [](auto& r) { r.mutable_key()->set_client_port(0); }},
      {"port", [](auto& r) { r.mutable_key()->set_vip_port(65536); }},
      {"proxied address", [](auto& r) { r.mutable_proxied(); }},
      {"proxied address", [](auto& r) { proxied(r).set_source(std::string(5, 'x')); }},
      {"proxied address", [](auto& r) { proxied(r).set_destination(std::string(15, 'x')); }},
      {"proxied port", [](auto& r) { proxied(r).set_source_port(65536); }},
      {"proxied port", [](auto& r) { proxied(r).set_destination_port(65536); }},
      {"owner", [](auto& r) { r.set_owner(0); }},
      {"owner", [](auto& r) { r.set_owner(256); }},
      {"incarnation", [](auto& r) { r.set_incarnation(0); }},
      {"mode", [](auto& r) { r.set_mode(3); }},
      {"MSS", [](auto& r) { r.set_mss(70000); }},
      {"window scale", [](auto& r) { r.set_snd_wscale(15); }},
      {"flow label", [](auto& r) { r.set_flow_label(1 << 20); }},
      {"acknowledged", [](auto& r) { r.set_out_acked(r.out_sent() + 1); }},
      {"without timestamps", [](auto& r) { r.set_timestamps(false), r.set_fenced(true), r.set_fence(2); }},
      {"without a fence", [](auto& r) { r.set_fence(2); }},
      {"out of order",
       [](auto& r) {
         answer(r, {10, 9});
       }},
      {"no end", [](auto& r) { answer(r, {0}); }},
      {"status", [](auto& r) { answer(r, {1}), r.mutable_http()->mutable_answered(0)->set_status(1000); }},
      {"phase", [](auto& r) { r.mutable_http()->set_phase(6); }},
      {"framing", [](auto& r) { r.mutable_http()->set_request_framing(4); }},
      {"head", [](auto& r) { r.mutable_http()->set_request_head(std::string(kHeadBytesMax + 1, 'x')); }},
      {"method", [](auto& r) { r.mutable_http()->set_method(std::string(300, 'x')); }},
      {"tag", [](auto& r) { r.mutable_http()->set_etag(std::string(2000, 'x')); }},
      {"coding", [](auto& r) { r.mutable_http()->set_content_coding(std::string(2000, 'x')); }},
      {"range", [](auto& r) { r.mutable_http()->set_range_start(1); }},
      {"range", [](auto& r) { r.mutable_http()->set_range_total(9), r.mutable_http()->set_response_length(10); }},
      {"status", [](auto& r) { r.mutable_http()->set_status(1000); }},
      {"ends", [](auto& r) { r.mutable_http()->set_request_start(9), r.mutable_http()->set_request_head_end(8); }},
      {"ends", [](auto& r) { r.mutable_http()->set_response_start(9), r.mutable_http()->set_response_end(8); }},
      {"content", [](auto& r) { r.mutable_http()->set_journal(std::string(kContentBytesMax + 1, 'x')); }},
      {"content", [](auto& r) { r.mutable_http()->set_pending(std::string(kContentBytesMax + 1, 'x')); }},
      {"content", [](auto& r) { track(r).set_partial_event(std::string(kContentBytesMax + 1, 'x')); }},
      {"journal", [](auto& r) { r.mutable_http()->set_journal("x"), r.mutable_http()->set_journal_start(~0ULL); }},
      {"digest", [](auto& r) { track(r).add_marks()->set_digest("short"); }},
      {"digest", [](auto& r) { mark(r, 9, 9), track(r).mutable_marks(0)->set_from(10); }},
      {"marks", [](auto& r) { mark(r, 9, 9), mark(r, 8, 9); }},
      {"marks", [](auto& r) { mark(r, 9, 9), mark(r, 10, 11); }},
      {"marks",
       [](auto& r) {
         for (unsigned i = 0; i <= BodyTrack::kMarksMax; ++i) mark(r, i, i);
       }},
      {"chunks", [](auto& r) { track(r).add_chunks(0); }},
      {"chunks",
       [](auto& r) {
         for (unsigned i = 0; i <= BodyTrack::kChunksMax; ++i) track(r).add_chunks(1);
       }},
      {"body", [](auto& r) { track(r).set_tail(std::string(kTailBytesMax + 1, 'x')); }},
      {"WebSocket", [](auto& r) { websocket(r).set_out_frame(9); }},
      {"WebSocket", [](auto& r) { websocket(r).add_messages("more messages than were received"); }},
      {"WebSocket", [](auto& r) { websocket(r).set_received(1), websocket(r).add_messages(""); }},
      {"WebSocket", [](auto& r) { websocket(r).set_ping(std::string(kNameBytesMax + 1, 'x')); }},
      {"messages",
       [](auto& r) {
         for (unsigned i = 0; i <= WebSocketState::kMessagesMax; ++i) websocket(r).add_messages("x");
       }},
  };
  for (const auto& row : rows) {
    v1::Record proto;
    encode(record(1, kB), proto);
    row.spoil(proto);
    const auto outcome = decode(proto);
    ASSERT_FALSE(outcome) << row.text;
    EXPECT_NE(outcome.error().message.find(row.text), std::string::npos) << outcome.error().message;
  }
}

TEST(Codec, of_more_answered_exchanges_than_we_keep_the_newest_count) {
  v1::Record proto;
  encode(record(1, kB), proto);
  for (std::uint64_t i = 1; i <= HttpState::kAnsweredMax + 8; ++i) answer(proto, {i});
  const auto decoded = decode(proto);
  ASSERT_TRUE(decoded) << decoded.error().message;
  ASSERT_EQ(decoded->http->answered.size(), HttpState::kAnsweredMax);
  EXPECT_EQ(decoded->http->answered.front().response_start, 9u);
}

TEST(Codec, one_bad_change_refuses_the_whole_batch) {
  Batch batch{1, {record(1, kB), Erase{key(2)}}};
  v1::ToReceiver proto;
  encode(ToReceiver(batch), proto);
  ASSERT_TRUE(decode(proto));
  proto.mutable_batch()->add_changes();
  EXPECT_FALSE(decode(proto));
  EXPECT_FALSE(decode(v1::ToReceiver()));
  EXPECT_FALSE(decode(v1::ToSender()));
}

TEST(Codec, a_head_beyond_the_limit_is_left_out) {
  auto r = record(1, kB);
  r.http.emplace().request_head = std::make_shared<const std::string>(kHeadBytesMax + 1, 'x');
  v1::Record proto;
  encode(r, proto);
  const auto after = decode(proto);
  ASSERT_TRUE(after);
  EXPECT_FALSE(after->http->request_head);
}

TEST(Codec, content_beyond_the_limit_is_left_out_and_the_rest_goes) {
  auto r = record(1, kB);
  HttpState& http = r.http.emplace();
  http.journal = std::make_shared<const std::string>(kContentBytesMax - 10, 'x');
  http.request_body = std::make_shared<const std::string>(11, 'x');
  http.pending = std::make_shared<const std::string>(10, 'x');
  v1::Record proto;
  encode(r, proto);
  const auto after = decode(proto);
  ASSERT_TRUE(after);
  EXPECT_TRUE(after->http->journal);
  EXPECT_FALSE(after->http->request_body);
  EXPECT_TRUE(after->http->pending);
}

// An owner whose record contradicts itself loses that session's heal, never the stream of all its records.
TEST(Codec, whatever_an_owner_holds_is_taken_by_its_peers) {
  const auto sent = [](const SessionRecord& r) {
    v1::Record proto;
    encode(r, proto);
    const auto after = decode(proto);
    EXPECT_TRUE(after) << after.error().message;
    return after ? *after : SessionRecord();
  };
  auto r = record(1, kB);
  r.out_acked = 100, r.out_sent = 90;
  EXPECT_EQ(sent(r).out_sent, 100u) << "what was acknowledged has been sent";
  EXPECT_EQ(sent(r).out_acked, 100u);
  r.fenced = true, r.fence = 8;
  EXPECT_FALSE(sent(r).fenced) << "without timestamps there is no fence";
  r.http.emplace().response_start = 9;
  r.http->response_end = 8;
  EXPECT_FALSE(sent(r).http);
  r.http->response_end = 0;
  for (std::uint64_t i = 1; i <= HttpState::kAnsweredMax + 2; ++i) {
    Exchange& e = r.http->answered.emplace_back();
    e.response_start = 10 * i;
    e.response_end = 10 * i + 10;
  }
  ASSERT_EQ(sent(r).http->answered.size(), HttpState::kAnsweredMax);
  EXPECT_EQ(sent(r).http->answered.front().response_start, 30u) << "the oldest are left out";
  r.http->answered[7].response_end = 0;
  EXPECT_EQ(sent(r).http->answered.size(), HttpState::kAnsweredMax - 6) << "what lies before a gap cannot be finished";
  r.http->answered.back().response_start = 0;
  EXPECT_EQ(sent(r).http->answered.size(), 1u);
}

TEST(Codec, mutated_messages_never_crash) {
  Random random(7);
  for (int i = 0; i < 20000; ++i) {
    v1::ToReceiver proto;
    Batch batch{random() % 5, {}};
    for (std::uint64_t n = random() % 3; n > 0; --n) batch.changes.emplace_back(random_record(random));
    encode(ToReceiver(batch), proto);
    std::string bytes = proto.SerializeAsString();
    for (std::uint64_t n = 1 + random() % 4; n > 0 && !bytes.empty(); --n) {
      const auto where = random() % bytes.size();
      if (random() % 8 == 0) {
        bytes.resize(where);
      } else {
        bytes[where] = static_cast<char>(random());
      }
    }
    LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
  }
}

}  // namespace
}  // namespace suture::statesync::test
