// The fixed set of messages whose bytes are kept, as the previous build wrote them, in NAME/*.bin: every message of the
// protocol, and in the batches a record of every kind. make.cpp writes them with the previous build's codec, and
// wire_test.cpp reads them with today's: this file is compiled against both. What a version adds to records belongs in
// here once it is the previous version.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <boost/asio/ip/address.hpp>

#include <statesync/liveness_wire.hpp>
#include <statesync/messages.hpp>

namespace suture::statesync::upgrade {

inline std::shared_ptr<const std::string> bytes(std::string text) {
  return std::make_shared<const std::string>(std::move(text));
}

inline suture_flow_key key(const char* client, std::uint16_t port, const char* vip, std::uint16_t vip_port) {
  return make_flow_key({boost::asio::ip::make_address(client), port}, {boost::asio::ip::make_address(vip), vip_port});
}

// IPv4, mode tcp, nothing that is not needed: most fields are absent on the wire.
inline SessionRecord plain_record(std::uint16_t port) {
  SessionRecord r;
  r.facts.key = key("203.0.113.9", port, "198.51.100.1", 80);
  r.owner = NodeId{1};
  r.incarnation = 100;
  r.session_id = port;
  return r;
}

// IPv6, and every field outside the HTTP state has a value of its own.
inline SessionRecord full_record(std::uint16_t port) {
  SessionRecord r = plain_record(port);
  r.facts.key = key("2001:db8::9", port, "2001:db8:113::10", 443);
  r.facts.iss = 0xfffffff0;
  r.facts.irs = 0x80000001;
  r.facts.mss = 1370;
  r.facts.snd_wscale = 7;
  r.facts.rcv_wscale = 14;
  r.facts.wscale_ok = r.facts.sack_ok = r.facts.timestamps = r.facts.hint = true;
  r.facts.ts_offset = 0xfedcba98;
  r.facts.flow_label = 0xfffff;
  r.owner = NodeId{255};
  r.incarnation = 0xffffffff;
  r.epoch = 3;
  r.session_id = (1ULL << 60) + port;
  r.mode = SessionMode::http;
  r.fenced = true;
  r.fence = 0xfffffffe;
  r.ts_advance = 250000;
  r.in_known = 1ULL << 40;
  r.out_sent = (1ULL << 41) + 5;
  r.out_acked = 1ULL << 41;
  r.in_closed = r.out_closed = true;
  r.proxied = key("192.0.2.7", 0, "2001:db8::2", 8443);
  return r;
}

inline BodyTrack chunked_track() {
  BodyTrack t;
  t.fields = 0x0123456789abcdef;
  t.chunks_wire = 5000;
  t.chunks_content = 4900;
  t.chunks = {1, 1448, 65536};
  for (std::uint8_t i = 1; i <= 3; ++i) {
    BodyMark& mark = t.marks.emplace_back();
    mark.content = i * 1000U;
    mark.wire = mark.content + i * 10U;
    mark.from = i == 3 ? 500 : 0;
    mark.digest.fill(static_cast<std::uint8_t>(0xf0 + i));
  }
  t.tail = "0\r\nX-Sum: 1\r\n\r\n";
  return t;
}

inline BodyTrack event_track() {
  BodyTrack t;
  t.events = t.identified = true;
  t.last_event_id = "41";
  t.partial_event = "id: 42\ndata: nu";
  return t;
}

// A current exchange that is all there is of an exchange: a range of a download with a strong tag and a journal.
inline void range_exchange(Exchange& e) {
  e.request_start = 100;
  e.request_head_end = 180;
  e.request_framing = BodyFraming::length;
  e.request_length = 9;
  e.request_head = bytes("GET /file HTTP/1.1\r\nHost: vip\r\nRange: bytes=10-\r\n\r\n");
  e.method = "GET";
  e.replayable = true;
  e.request_body = bytes(std::string("nine\0\xff\r\n!", 9));
  e.response_start = 7000;
  e.response_head_end = 7200;
  e.response_end = 7300;
  e.status = 206;
  e.response_framing = BodyFraming::length;
  e.response_length = 100;
  e.range_start = 10;
  e.range_total = 110;
  e.etag = "\"v1\"";
  e.content_coding = "gzip";
  e.journal_start = 7000;
  e.journal = bytes("HTTP/1.1 206 Partial Content\r\n\r\n");
  e.body = std::make_shared<const BodyTrack>(chunked_track());
  e.keep_alive = false;
}

inline SessionRecord http_record(std::uint16_t port, HttpPhase phase) {
  SessionRecord r = full_record(port);
  r.fenced = false;
  r.fence = 0;
  r.proxied.reset();
  r.http.emplace().phase = phase;
  return r;
}

// One of every phase, and what only some sessions have.
inline std::vector<SessionRecord> http_records() {
  std::vector<SessionRecord> records;
  for (const auto phase :
       {HttpPhase::idle, HttpPhase::head, HttpPhase::body, HttpPhase::waiting, HttpPhase::response}) {
    SessionRecord& r = records.emplace_back(http_record(static_cast<std::uint16_t>(2000 + records.size()), phase));
    r.http->exchanges = 17;
    r.http->pipelined = 2;
    r.http->pending = bytes("GET /next HTTP/1.1\r\n");
    if (phase != HttpPhase::idle) range_exchange(*r.http);
    r.http->response_framing = phase == HttpPhase::body ? BodyFraming::until_close : BodyFraming::chunked;
  }
  SessionRecord& events = records.emplace_back(http_record(2010, HttpPhase::response));
  events.http->status = 200;
  events.http->response_framing = BodyFraming::chunked;
  events.http->journal = bytes("");  // an empty one is not the same as none
  events.http->body = std::make_shared<const BodyTrack>(event_track());

  SessionRecord& answered = records.emplace_back(http_record(2011, HttpPhase::idle));
  for (std::uint64_t i = 0; i < 8; ++i) {
    Exchange& e = answered.http->answered.emplace_back();
    range_exchange(e);
    e.response_start = 10000 * i;
    e.response_head_end = e.response_start + 1;
    e.response_end = e.response_start + 5000;
  }

  SessionRecord& chat = records.emplace_back(http_record(2012, HttpPhase::upgraded));
  WebSocketState w;
  w.session = "s-1";
  w.subprotocol = "chat";
  w.extensions = "permessage-deflate";
  w.received = 1000;
  w.delivered = 2000;
  w.in_frame = 30000;
  w.out_frame = 40000;
  w.out_frame_end = 50000;
  w.in_fragmented = w.out_fragmented = w.in_close = w.out_close = true;
  w.messages = {bytes(std::string("\x81\x82\0\0\0\0hi", 8)), bytes(std::string(300, 'm'))};
  w.ping = std::string("\x89\x80\1\2\3\4", 6);
  chat.http->websocket = std::make_shared<const WebSocketState>(std::move(w));
  return records;
}

inline LivenessKey liveness_key(std::uint8_t first) {
  LivenessKey key{};
  for (std::size_t i = 0; i < key.size(); ++i) key[i] = static_cast<std::uint8_t>(first + i);
  return key;
}

// What a dialer says, by the name of its file.
inline std::vector<std::pair<std::string, ToReceiver>> to_receiver() {
  Hello hello;
  hello.version_min = 1;
  hello.version_max = 1;
  hello.node = NodeId{7};
  hello.name = "pop7";
  hello.incarnation = 0x80000000;
  hello.liveness_key = liveness_key(0xf0);
  hello.liveness_endpoint = "198.18.0.7:7101";
  hello.capabilities = 0x8000000000000001;
  Batch http{6, {}};
  for (const SessionRecord& r : http_records()) http.changes.emplace_back(r);
  return {
      {"hello", hello},
      {"snapshot_begin", SnapshotBegin{}},
      {"snapshot_end", SnapshotEnd{}},
      {"batch_empty", Batch{4, {}}},
      {"batch_tcp", Batch{5,
                          {plain_record(1000), full_record(1001), Erase{key("203.0.113.9", 1002, "198.51.100.1", 22)},
                           Erase{key("2001:db8::9", 65535, "2001:db8:113::10", 65535)}}}},
      {"batch_http", http},
      {"heartbeat", Heartbeat{1ULL << 63}}};
}

// What a listener answers.
inline std::vector<std::pair<std::string, ToSender>> to_sender() {
  HelloAck resume;
  resume.version = 1;
  resume.node = NodeId{8};
  resume.name = "pop8";
  resume.incarnation = 9;
  resume.liveness_key = liveness_key(1);
  resume.resume_from = 0;
  resume.capabilities = 6;
  HelloAck snapshot = resume;
  snapshot.resume_from.reset();
  return {{"hello_ack_resume", resume},
          {"hello_ack_snapshot", snapshot},
          {"ack", Ack{12345678901}},
          {"refused", Refused{Refusal::version, "no common version"}}};
}

// The liveness datagrams, and the key of the two that speak: derived anew by each build.
inline LivenessKey pair_key() {
  const NodeId a{7}, b{8};
  return derive_key(a, 0x80000000, hello_key(liveness_key(1), b), b, 9, hello_key(liveness_key(0x40), a));
}

inline std::vector<std::pair<std::string, Datagram>> datagrams() {
  Datagram d;
  d.sender = NodeId{7};
  d.receiver = NodeId{8};
  d.incarnation = 0x80000000;
  d.seq = 0x0102030405060708;
  d.echo = 0x1112131415161718;
  d.slot_ms = 0x2122232425262728;
  d.monotonic_ms = 0x3132333435363738;
  d.flags = kFlagSynced | kFlagClockSettled;
  d.delivered_ms = 0x4142434445464748;
  d.hears.set(1).set(8).set(255);
  std::vector<std::pair<std::string, Datagram>> all{{"beat", d}};
  d.key = key("2001:db8::9", 40000, "2001:db8:113::10", 443);
  for (const auto& [name, type] : {std::pair{"not_mine", DatagramType::not_mine},
                                   {"mine", DatagramType::mine},
                                   {"unknown", DatagramType::unknown}}) {
    d.type = type;
    all.emplace_back(name, d);
  }
  return all;
}

}  // namespace suture::statesync::upgrade
