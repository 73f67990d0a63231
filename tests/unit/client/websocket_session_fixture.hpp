// A WebSocket session of a worker, its client and its application; and one that an heir adopts.
#pragma once

#include <string>
#include <utility>

#include <proxy/client/websocket_handshake.hpp>
#include <proxy/healing/heal_plan.hpp>

#include "adoption_fixture.hpp"
#include "websocket_world.hpp"

namespace suture::test {

inline constexpr std::uint64_t kIn0 = Conversation::kIn, kOut0 = Conversation::kOut;

inline std::string field_of(const std::string& head, const std::string& name) {
  const auto at = head.find("\r\n" + name + ": ");
  if (at == std::string::npos) return {};
  const auto from = at + name.size() + 4;
  return head.substr(from, head.find("\r\n", from) - from);
}

class WebSocketSession : public AdoptionTest {
 protected:
  struct Ends {
    Peer client, app;
    std::string asked, answered;  // heads
  };
  // An upgrade that the application answers with `fields` as well.
  Ends upgraded(const std::string& fields = "Suture-Resume: 1\r\n", const std::string& request = kUpgrade) {
    Ends ends;
    ends.client = connect_and_send(request);
    ends.app = application.accept();
    ends.asked = ends.app.read_head();
    ends.app.send(answer_to(ends.asked, fields));
    ends.answered = ends.client.read_head();
    return ends;
  }
  static std::string answer_to(const std::string& head, const std::string& fields) {
    return "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " +
           websocket_accept_of(field_of(head, "Sec-WebSocket-Key")) + "\r\n" + fields + "\r\n";
  }
  std::uint64_t read_of_clients() const {
    return static_cast<std::uint64_t>(metric("suture_bytes_total", "direction=\"in\""));
  }
  WebSocketState state_published() const {
    const auto record = sink.last();
    return record.http && record.http->websocket ? *record.http->websocket : WebSocketState{};
  }

  // What another node owned, as of `record`; the client stands at `cursor`.
  Adoption adoption_of(const Flow& f, SessionRecord record, std::uint64_t cursor, std::uint64_t client_sent,
                       bool lost = false) const {
    healing::ProofFacts proof;
    proof.cursor = cursor;
    proof.client_sent = client_sent;
    proof.lost_bytes = lost;
    proof.received = lost ? client_sent : record.in_known;
    proof.fenced = true;
    Adoption a;
    a.fd = f.fd;
    record.facts.key = f.key;
    a.resume = healing::plan_healing(record, proof);
    a.record = std::move(record);
    return a;
  }
  // At rest after "small talk" without its Close: everything is acknowledged.
  static const Conversation& talk() {
    static const Conversation made = [] {
      auto frames = small_talk();
      frames.pop_back();
      return Conversation(frames, 100);
    }();
    return made;
  }
  Adoption at_rest(const Flow& f) const {
    SessionRecord record = talk().records.back();
    return adoption_of(f, record, kOut0 + talk().out.size(), record.in_known);
  }
  // Same terms, `received` messages.
  std::string resumed(const std::string& head, std::uint64_t received) const {
    return answer_to(head, "Sec-WebSocket-Extensions: permessage-deflate\r\nSuture-Resume: session; received=" +
                               std::to_string(received) + "\r\n");
  }
  void expect_closed(Flow& f, const std::string& reason) {
    EXPECT_EQ(f.client.read_all(), from_application(kCloseFrame, close_of(1012)));
    EXPECT_EQ(f.client.last_errno(), 0);
    expect_outcome(ResumeRung::close, reason);
  }
};

}  // namespace suture::test
