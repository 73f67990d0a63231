// What the HTTP mode adds to the world: bytes. A packet still names only positions and a content; here is what they
// are.
//
//   client's stream    the conversation's requests, the same for everybody
//   server's streams   one content for each ownership: what its session has written, from its first byte on
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include <proxy/client/worker.hpp>

#include "tests/simulation/http_conversation.hpp"
#include "tests/simulation/http_totals.hpp"
#include "tests/simulation/world.hpp"

namespace suture::sim {

class HttpWorld {
 public:
  explicit HttpWorld(World& world);

  struct Stream {
    std::uint64_t base = 0;  // `out` offset of its first byte
    std::string bytes;
    std::optional<std::uint64_t> fin;  // offset; the place behind the bytes
  };
  Content begin_stream(std::uint64_t base);
  Stream& stream(Content content) { return streams_[content]; }
  // The client's application gets [from, until) of what the owner of `content` wrote.
  void accepted(std::uint64_t from, std::uint64_t until, Content content);

  // What all nodes' workers have in common.
  const WorkerOptions& worker_options() const { return options_; }
  std::size_t journals_bytes_max() const { return journals_bytes_max_; }
  std::uint32_t send_buffer() const { return send_buffer_; }
  double sink_full() const { return sink_full_; }

  Conversation& conversation() { return conversation_; }
  HttpTotals totals;
  std::uint64_t connections_made = 0;  // to applications

  // Which ownerships a peer has heard of: the owner's incarnation and epoch.
  std::set<std::pair<Incarnation, Epoch>> announced;
  // An heir of a flow without fence that served the client, and died before any peer had heard of it: nothing in the
  // client's packets says so either. PROTOCOL.md promises such flows no more than lease and majority can.
  bool unannounced_death = false;

 private:
  World& world_;
  std::map<Content, Stream> streams_;
  WorkerOptions options_;
  std::size_t journals_bytes_max_ = 0;
  std::uint32_t send_buffer_ = 0;  // bytes that a socket takes before the client has acknowledged any
  double sink_full_ = 0;           // chance that the queue to the control thread takes no record just now
  Conversation conversation_;
};

}  // namespace suture::sim
