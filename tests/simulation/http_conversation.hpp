// The client's application: a list of requests drawn by the seed, sent one after the other or pipelined, and what it
// makes of the answers. It also stands for what all applications share: how often each request was executed.
#pragma once

#include <string>
#include <vector>

#include "tests/simulation/http_chat.hpp"
#include "tests/simulation/http_corpus.hpp"
#include "tests/simulation/wire.hpp"
#include "tests/unit/cut/client_view.hpp"

namespace suture::sim {

class World;

class Conversation {
 public:
  explicit Conversation(World& world) : world_(world), chat_(world) {}

  // Draws the requests and begins to send. From `over` on there are no faults any more.
  void begin(Micros over);
  const std::string& stream() const { return stream_; }  // all that it has sent, and HTTP requests that it will
  void append(const std::string& bytes);                 // to what it sends: behind an upgrade
  bool closes_at(std::uint64_t offset) const { return closed_ && offset > sent_bytes_; }

  // ---- from the connection
  void received(std::string_view bytes);
  void ended();
  void reset();

  // ---- at an application: complete requests, on a connection whose number is unique over all. The pieces of the
  // answer.
  std::vector<std::string> execute(const test::Asked& asked, std::uint64_t connection);
  Chat& chat() { return chat_; }

  void judge();  // at the end of the run
  bool over() const { return end_ != End::none; }

 private:
  enum class End : std::uint8_t { none, complete, clean, reset };
  struct Talk {
    const HttpKind* kind = nullptr;
    std::string request, method;
    std::uint64_t start = 0, end = 0;  // in stream_
    std::size_t split = 0;             // so many bytes first, the rest later; 0: at once
    bool eager = false;                // does not wait for the answers before it
    Micros think = 0, not_before = 0;
    test::Got expected;
    int executed = 0;
    bool may_replay = false;
  };
  void add(const HttpKind& kind, const std::string& request);
  void add_chat();
  bool upgraded();
  void send_next();
  void write(std::uint64_t end);
  void parse(bool ended);
  bool take(const test::Got& got);
  void close_soon(Micros wait);
  void wrong(const std::string& what);

  World& world_;
  Chat chat_;
  Micros over_ = 0;
  std::vector<Talk> talks_;
  std::string stream_;
  std::size_t asked_ = 0, answered_ = 0;  // of talks_
  bool waits_ = false;                    // a timer for the next request runs
  bool half_closes_ = false;              // with the last request
  bool closed_ = false;
  bool ended_ = false;  // the server's FIN has come
  std::uint64_t sent_bytes_ = 0;
  std::string rest_;  // of the answer under way
  std::size_t wanted_ = 0;
  bool last_answer_ = false;  // it said Connection: close
  std::uint64_t runs_ = 0;
  End end_ = End::none;
};

}  // namespace suture::sim
