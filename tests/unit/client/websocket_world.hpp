// A WebSocket conversation that can be cut anywhere: an application whose state outlives its instances, a client that
// talks without waiting, and what an owner published and wrote between the two, instant by instant.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include <proxy/client/websocket_relay.hpp>
#include <statesync/record.hpp>

#include "websocket_bytes.hpp"

namespace suture::test {

inline const std::string kUpgrade =
    "GET /chat HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

// What all instances of the application share.
struct SharedState {
  std::vector<std::string> processed;  // messages of the client, first byte of the frame in front
  std::vector<std::string> outbox;     // messages to it: all frames of each
};

class ChatInstance {
 public:
  explicit ChatInstance(SharedState& shared) : shared_(shared) {}

  std::string greet() { return say(from_application(kText, "welcome")); }
  // Of a session that the client knows `delivered` messages of.
  std::string resume(std::uint64_t delivered) {
    if (shared_.outbox.empty()) greet();  // the former instance had not come to it
    std::string out;
    for (std::size_t i = delivered; i < shared_.outbox.size(); ++i) out += shared_.outbox[i];
    return out;
  }
  // One answer a frame that asks for one. Each string is one write.
  std::vector<std::string> read(std::string_view bytes) {
    in_.append(bytes);
    const Reading got = read_frames(in_);
    in_ = got.rest;
    std::vector<std::string> answers;
    for (const ReadFrame& f : got.frames) {
      if (f.opcode() == kPing) answers.push_back(from_application(kPong, f.payload));
      if (f.opcode() == kCloseFrame) answers.push_back(from_application(kCloseFrame, f.payload));
      if (f.opcode() >= 8) continue;
      if (f.opcode() != kMore) message_.assign(1, static_cast<char>(f.first & 0x7fU));
      message_.append(f.payload);
      if ((f.first & 0x80U) == 0) continue;
      shared_.processed.push_back(message_);
      for (auto& answer : answer_to(shared_.processed.size(), message_)) answers.push_back(std::move(answer));
    }
    return answers;
  }

 private:
  std::string say(std::string frames) {
    shared_.outbox.push_back(frames);
    return frames;
  }
  std::vector<std::string> answer_to(std::size_t number, const std::string& message) {
    const std::string text = "answer " + std::to_string(number) + " to " + std::to_string(message.size() - 1);
    if (message.size() > 60000) return {say(from_application(kBinary, std::string(66000, 'L') + text))};
    const std::string a = from_application(kText, text.substr(0, 3), 0),
                      b = from_application(kMore, text.substr(3, 4), 0), c = from_application(kMore, text.substr(7));
    switch (number % 4) {
      case 1:
        shared_.outbox.push_back(a + b + c);
        return {a, from_application(kPing, "app"), b + c};
      case 2:
        return {say(from_application(kBinary, text + std::string(130, 'b')))};
      case 3:
        return {say(from_application(kText, text, 0xc0))};  // as permessage-deflate marks what it compressed
      default: {
        const std::string first = say(from_application(kText, text));
        return {first + say(from_application(kText, ""))};
      }
    }
  }
  SharedState& shared_;
  std::string in_, message_;
};

// What the owner had done when it died. Instants of one event differ in one step only.
struct Instant {
  std::size_t records = 0;        // published
  std::uint64_t in_read = 0;      // `in` offset
  std::uint64_t out_written = 0;  // `out` offset: the client may have everything below
  std::uint64_t out_before = 0;   // ... had before this event
  std::uint64_t acked = 0;        // it has at least this
  std::size_t processed = 0;      // by the application, of the client's messages
  std::size_t outbox = 0;
};

// The whole conversation, uncut.
struct Conversation {
  static constexpr std::uint64_t kIn = 200, kOut = 50;  // where the two 101 heads' streams begin
  std::string in;                                       // what the client sends behind its request
  std::string out;                                      // what it got, the 101 included
  SharedState shared;
  std::vector<SessionRecord> records;
  std::vector<Instant> instants;

  // `step`: bytes that the owner reads at once, of frames up to 1000 bytes; of longer ones 5000.
  Conversation(std::vector<std::string> frames, std::size_t step, bool resumable = true) {
    SessionRecord record;
    record.mode = SessionMode::http;
    record.facts.sack_ok = true;
    HttpState& http = record.http.emplace();
    http.phase = HttpPhase::upgraded;
    http.request_head_end = kIn;
    http.request_head = std::make_shared<const std::string>(kUpgrade);
    http.response_start = kOut;
    out = "HTTP/1.1 101 X\r\n\r\n";
    http.response_head_end = kOut + out.size();
    record.in_known = kIn;
    record.out_sent = record.out_acked = kOut;
    WebSocketState terms;
    if (resumable) terms.session = "session";
    terms.extensions = "permessage-deflate";
    WebSocketRelay relay(terms, kIn, kOut, out);
    ChatInstance application(shared);
    std::vector<std::uint64_t> ends{kOut};
    const auto note = [&](std::uint64_t written, std::uint64_t before) {
      instants.push_back({records.size(), record.in_known, written, before, record.out_acked, shared.processed.size(),
                          shared.outbox.size()});
    };
    const auto publish = [&] {
      relay.describe(http);
      records.push_back(record);
    };
    const auto answer = [&](const std::string& bytes) {
      // The client has acknowledged what was written two writes ago.
      record.out_acked = ends.size() > 2 ? ends[ends.size() - 3] : kOut;
      relay.acknowledged(record.out_acked);
      const auto passed = relay.from_application(bytes);
      if (passed.changed) publish();
      const std::uint64_t before = kOut + out.size();
      note(before, before);
      out += passed.bytes;
      record.out_sent = kOut + out.size();
      ends.push_back(record.out_sent);
      note(record.out_sent, before);
    };
    record.out_sent = kOut + out.size();
    ends.push_back(record.out_sent);
    publish();
    note(record.out_sent, kOut);
    answer(application.greet());
    for (const std::string& frame : frames) {
      in += frame;
      const std::size_t at_once = frame.size() > 1000 ? 5000 : step;
      for (std::size_t at = 0; at < frame.size(); at += at_once) {
        const std::string bytes = frame.substr(at, at_once);
        record.in_known += bytes.size();
        const auto passed = relay.from_client(bytes);
        if (passed.changed) publish();
        note(kOut + out.size(), kOut + out.size());
        const auto answers = application.read(passed.bytes);
        if (!answers.empty()) note(kOut + out.size(), kOut + out.size());
        for (const std::string& one : answers) answer(one);
      }
    }
  }

  SharedState shared_at(const Instant& instant) const {
    SharedState then;
    then.processed.assign(shared.processed.begin(), shared.processed.begin() + static_cast<long>(instant.processed));
    then.outbox.assign(shared.outbox.begin(), shared.outbox.begin() + static_cast<long>(instant.outbox));
    return then;
  }
};

// Everything that RFC 6455 section 5 knows, in frames of a few bytes.
inline std::vector<std::string> small_talk() {
  return {from_client(kText, "x"),
          from_client(kPing, "first"),
          from_client(kText, "fragm", 0),
          from_client(kPing, "between"),
          from_client(kMore, "en", 0),
          from_client(kMore, "ted"),
          from_client(kBinary, std::string(126, 'm')),
          from_client(kText, "compressed?", 0xc0),
          from_client(kPong, "unasked"),
          from_client(kText, ""),
          from_client(kBinary, "late"),
          from_client(kCloseFrame, close_of(1000))};
}
inline std::vector<std::string> large_talk() {
  return {from_client(kText, "before"),
          from_client(kBinary, std::string(65536, 'U')),
          from_client(kText, "between", 0),
          from_client(kMore, std::string(70000, 'V')),
          from_client(kText, "after"),
          from_client(kBinary, std::string(40000, 'W')),
          from_client(kBinary, std::string(40000, 'X')),
          from_client(kText, "end")};
}

}  // namespace suture::test
