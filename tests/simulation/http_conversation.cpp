#include "tests/simulation/http_conversation.hpp"

#include <algorithm>
#include <utility>

#include <proxy/client/replay_rule.hpp>

#include "tests/simulation/client.hpp"
#include "tests/simulation/http_world.hpp"

namespace suture::sim {
namespace {

constexpr std::string_view kNumber = "?n=";

// "GET /a HTTP/1.1" -> "GET /a?n=3 HTTP/1.1".
std::string numbered(const std::string& request, std::size_t number) {
  const auto method_end = request.find(' ');
  std::string out = request;
  out.insert(request.find(' ', method_end + 1), std::string(kNumber) + std::to_string(number));
  return out;
}

test::Asked asked_by(const std::string& request) {
  test::Asked asked;
  const auto end = request.find("\r\n\r\n") + 4;
  asked.head = request.substr(0, end);
  asked.method = request.substr(0, request.find(' '));
  const auto from = asked.method.size() + 1;
  asked.target = request.substr(from, request.find(' ', from) - from);
  if (asked.field("Transfer-Encoding") != "chunked") {
    asked.body = request.substr(end);
    return asked;
  }
  for (auto at = end;;) {
    const std::size_t size = std::stoul(request.substr(at), nullptr, 16);
    if (size == 0) return asked;
    at = request.find("\r\n", at) + 2;
    asked.body += request.substr(at, size);
    at += size + 2;
  }
}

}  // namespace

void Conversation::wrong(const std::string& what) {
  const std::size_t at = std::min(answered_, talks_.size() - 1);
  world_.ledger.violation("answer " + std::to_string(answered_) + " (" + talks_[at].kind->name + "): " + what);
}

// ---- asking

void Conversation::add(const HttpKind& kind, const std::string& request) {
  Talk t;
  t.kind = &kind;
  t.request = numbered(request, talks_.size());
  t.method = request.substr(0, request.find(' '));
  t.may_replay = is_idempotent(t.method);
  t.start = stream_.size();
  stream_ += t.request;
  t.end = stream_.size();
  std::string all;
  bool hangs_up = false;
  for (const std::string& piece : kind.answer(asked_by(t.request))) {
    if (piece == test::kHangUp) hangs_up = true;
    if (piece != test::kHangUp && piece != "\x02") all += piece;
  }
  const auto got = test::responses_in(all, {t.method}, hangs_up);
  if (got.size() != 1 || !got[0].complete) world_.ledger.violation("the corpus has no whole answer for " + kind.name);
  if (!got.empty()) t.expected = got[0];
  talks_.push_back(std::move(t));
}

// A WebSocket instead of anything else that could follow.
void Conversation::add_chat() {
  static const HttpKind kind{"websocket", {}, {}, true, false};
  Talk t;
  t.kind = &kind;
  t.request = Chat::request();
  t.method = "GET";
  t.may_replay = true;
  t.start = stream_.size();
  stream_ += t.request;
  t.end = stream_.size();
  t.expected.status = 101;
  talks_.push_back(std::move(t));
}

void Conversation::begin(Micros over) {
  over_ = over;
  Rng& r = world_.rng;
  const auto& corpus = http_corpus();
  const bool pipelines = r.chance(0.3);
  const double large = r.chance(0.5) ? 0.5 : 0.1;
  const Micros think = ms(r.chance(0.5) ? 2500 : 300);
  const bool chats = r.chance(0.3);
  const std::size_t n = chats ? r.below(3) : 2 + r.below(9);
  half_closes_ = !chats && r.chance(0.1);
  const auto draw = [&](bool last) -> const HttpKind& {
    const bool wants_large = r.chance(large);
    for (;;) {
      const HttpKind& kind = corpus[r.below(corpus.size())];
      if (kind.large == wants_large && (last || !kind.last)) return kind;
    }
  };
  for (std::size_t i = 0; i < n; ++i) {
    const HttpKind& kind = draw(i + 1 == n && !chats);
    add(kind, kind.requests[r.below(kind.requests.size())]);
    Talk& t = talks_.back();
    t.eager = pipelines && r.chance(0.6);
    t.think = r.below(think);
    if (r.chance(0.3)) t.split = 1 + r.below(t.request.size() - 1);
  }
  if (chats) add_chat();
  // When the faults are over, one more each few seconds: is the session served?
  for (int i = 0; i < 3 && !half_closes_ && !chats; ++i) {
    const HttpKind& kind = draw(false);
    add(kind, kind.requests[0]);
    talks_.back().not_before = over + seconds(8 + 4 * i);
  }
  world_.at(ms(20), [this] { send_next(); });
}

void Conversation::send_next() {
  if (waits_ || over() || closed_ || last_answer_ || asked_ == talks_.size()) return;
  const Talk& t = talks_[asked_];
  if (asked_ > answered_ && !t.eager) return;
  waits_ = true;
  world_.at(std::max(world_.now + t.think, t.not_before), [this] {
    waits_ = false;
    if (over() || closed_ || last_answer_) return;
    const Talk& now = talks_[asked_];
    if (asked_ > answered_) ++world_.http->totals.pipelined;
    ++asked_;
    if (now.split == 0) return write(now.end);
    waits_ = true;  // nothing comes between the two parts
    write(now.start + now.split);
    world_.after(world_.rng.below(ms(400)), [this, end = now.end] {
      waits_ = false;
      if (!over() && !closed_) write(end);
    });
  });
}

void Conversation::write(std::uint64_t end) {
  sent_bytes_ = end;
  world_.client->write(end);
  if (half_closes_ && end == stream_.size()) close_soon(0);
  send_next();
}

void Conversation::append(const std::string& bytes) {
  stream_ += bytes;
  sent_bytes_ = stream_.size();
  world_.client->write(sent_bytes_);
}

void Conversation::close_soon(Micros wait) {
  world_.after(wait, [this] {
    if (closed_) return;
    closed_ = true;
    world_.client->close();
  });
}

// ---- reading

void Conversation::received(std::string_view bytes) {
  if (ended_) return;  // behind a FIN: thrown away by any kernel
  if (chat_.open()) return chat_.received(bytes);
  if (last_answer_) return wrong("bytes behind the last answer");
  rest_ += bytes;
  if (rest_.size() >= wanted_) parse(false);
}

// The 101 is there: what follows is the chat's.
bool Conversation::upgraded() {
  if (answered_ >= asked_ || talks_[answered_].expected.status != 101 || !rest_.starts_with("HTTP/1.1 101"))
    return false;
  const auto end = rest_.find("\r\n\r\n");
  if (end == std::string::npos) return false;
  ++answered_;
  chat_.begin(rest_.substr(0, end + 4), over_);
  rest_.erase(0, end + 4);
  chat_.received(rest_);
  rest_.clear();
  return true;
}

void Conversation::parse(bool ended) {
  for (;;) {
    if (upgraded()) return;
    wanted_ = 0;
    const auto got = test::responses_in(rest_, {answered_ < talks_.size() ? talks_[answered_].method : "GET"}, ended);
    if (got.empty()) return;
    const test::Got& g = got.front();
    if (g.status == -1)
      return wrong("broken behind " + std::to_string(g.content.size()) + " bytes of its content"), rest_.clear();
    if (answered_ >= asked_) return wrong("nobody asked for it"), rest_.clear();
    if (!g.complete) {
      const std::string length = g.field("Content-Length");
      if (g.status >= 200 && !length.empty()) wanted_ = rest_.size() - g.content.size() + std::stoul(length);
      return;
    }
    const std::size_t end = g.end;
    if (!take(g)) return;
    rest_.erase(0, end);
    ++answered_;
    if (last_answer_ && !rest_.empty()) return wrong("bytes behind the last answer");
    if (rest_.empty()) break;
  }
  if (answered_ == talks_.size()) {
    end_ = End::complete;
    close_soon(world_.rng.below(ms(500)));
  }
  send_next();
}

// False: it is wrong.
bool Conversation::take(const test::Got& g) {
  const Talk& t = talks_[answered_];
  const test::Got& e = t.expected;
  last_answer_ = g.close;
  if (g.status == 503 && e.status != 503) {
    ++world_.http->totals.refused;
    world_.say(World::kNodes, "client: request " + std::to_string(answered_) + " is refused");
    if (!g.close) wrong("503 that does not end the connection");
    return g.close;
  }
  if (g.status != e.status) return wrong("status " + std::to_string(g.status)), false;
  if (g.content != e.content) return wrong("other content, " + std::to_string(g.content.size()) + " bytes"), false;
  if (g.trailers != e.trailers) return wrong("other trailers"), false;
  for (const char* name : {"ETag", "Content-Type", "Content-Range", "Content-Encoding"})
    if (g.field(name) != e.field(name)) return wrong(std::string("other ") + name), false;
  if (g.field("X-Run").empty() || g.field("X-Run") != g.field("X-Run-End"))
    return wrong("a head of two runs: " + g.head), false;
  if (!t.may_replay && t.executed != 1)
    return wrong(t.method + " was answered and executed " + std::to_string(t.executed) + " times"), false;
  ++world_.http->totals.answered;
  world_.say(World::kNodes, "client: request " + std::to_string(answered_) + " is answered");
  return true;
}

void Conversation::ended() {
  if (end_ == End::reset || std::exchange(ended_, true)) return;
  if (chat_.open()) {
    end_ = chat_.ended() ? End::complete : End::clean;
    return close_soon(ms(1));
  }
  if (!rest_.empty()) parse(true);
  if (!rest_.empty()) wrong("the connection ends inside it");
  if (end_ == End::none) end_ = answered_ == talks_.size() ? End::complete : End::clean;
  world_.say(World::kNodes, "client: the connection was closed");
  close_soon(ms(1));
}

void Conversation::reset() {
  world_.say(World::kNodes, "client: the connection was reset");
  if (end_ == End::none) end_ = End::reset;
}

// ---- executing

std::vector<std::string> Conversation::execute(const test::Asked& asked, std::uint64_t connection) {
  HttpTotals& totals = world_.http->totals;
  if (asked.target == "/chat") return chat_.upgrade(asked, connection);
  const auto at = asked.target.find(kNumber);
  const std::size_t number =
      at == std::string::npos ? talks_.size() : std::stoul(asked.target.substr(at + kNumber.size()));
  if (number >= talks_.size()) {
    world_.ledger.violation("an application got a request that nobody sent: " + asked.head);
    return {};
  }
  Talk& t = talks_[number];
  const test::Asked wanted = asked_by(t.request);
  if (asked.method != wanted.method || asked.target != wanted.target || asked.body != wanted.body)
    world_.ledger.violation("request " + std::to_string(number) + " reached the application changed");
  ++t.executed;
  ++totals.executed;
  if (!t.may_replay && t.executed > 1)
    world_.ledger.violation("request " + std::to_string(number) + " (" + t.method + ") was executed " +
                            std::to_string(t.executed) + " times");
  totals.replays_asked += asked.field("Suture-Replay") == "1";
  totals.range_asked += !asked.field("Range").empty() && asked.field("If-Range") != "";
  totals.events_asked += !asked.field("Last-Event-ID").empty();
  auto pieces = t.kind->answer(asked);
  const std::string run = std::to_string(++runs_);
  for (std::string& piece : pieces) {
    const auto line = piece.find("\r\n"), end = piece.find("\r\n\r\n");
    if (!piece.starts_with("HTTP/1.1 ") || piece[9] == '1' || end == std::string::npos) continue;
    piece.insert(end + 2, "X-Run-End: " + run + "\r\n");
    piece.insert(line + 2, "X-Run: " + run + "\r\n");
  }
  return pieces;
}

// ---- the end

void Conversation::judge() {
  HttpTotals& totals = world_.http->totals;
  ++totals.connections;
  totals.complete += end_ == End::complete;
  totals.ended_clean += end_ == End::clean;
  totals.ended_reset += end_ == End::reset;
  if (end_ != End::none || world_.http->unannounced_death) return;
  world_.ledger.violation("the session is stuck: " + std::to_string(answered_) + " of " +
                          std::to_string(talks_.size()) + " requests answered, " + std::to_string(asked_) + " asked, " +
                          std::to_string(rest_.size()) + " bytes of the next answer are there");
}

}  // namespace suture::sim
