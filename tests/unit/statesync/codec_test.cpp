#include <statesync/codec.hpp>

#include <cstdlib>
#include <fstream>
#include <map>
#include <random>

#include <proto/statesync.pb.h>

#include "codec_support.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace suture::statesync::test {
namespace {

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
