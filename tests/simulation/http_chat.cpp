#include "tests/simulation/http_chat.hpp"

#include <algorithm>

#include <proxy/client/websocket_handshake.hpp>

#include "tests/simulation/http_world.hpp"

namespace suture::sim {
namespace {

constexpr std::string_view kKey = "dGhlIHNhbXBsZSBub25jZQ==";

}  // namespace

std::string Chat::request() {
  return "GET /chat HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
         "Sec-WebSocket-Key: " +
         std::string(kKey) + "\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n";
}

void Chat::wrong(const std::string& what) {
  world_.ledger.violation("websocket: " + what);
}

// ---- the client

void Chat::begin(const std::string& head, Micros over) {
  ++world_.http->totals.websockets;
  if (head.find("\r\nSec-WebSocket-Accept: " + websocket_accept_of(kKey) + "\r\n") == std::string::npos)
    wrong("not the answer to our key: " + head);
  if (head.find("\r\nSuture-") != std::string::npos) wrong("a header that is not the client's: " + head);
  const auto room = head.find("\r\nX-Room: ");
  if (room == std::string::npos) return wrong("not an answer of the application's: " + head);
  room_ = rooms_.at(std::stoul(head.substr(room + 10))).get();
  open_ = true;
  say_next(3 + world_.rng.below(10), over);
}

void Chat::say_next(std::size_t left, Micros over) {
  Rng& r = world_.rng;
  const Micros gap = r.chance(0.3) ? ms(20) : ms(1200);
  // The last two when there are no faults any more.
  const Micros at = left > 2 ? world_.now + r.below(gap) : std::max(world_.now, over + seconds(left == 2 ? 8 : 12));
  world_.at(at, [this, left, over] {
    if (!open_) return;
    if (left == 0) return close();
    Rng& rng = world_.rng;
    const std::size_t size = rng.chance(0.8) ? rng.below(300) : rng.chance(0.9) ? rng.below(20'000) : 70'000;
    const std::string number = std::to_string(said_.size() + 1) + ':';
    const Micros takes = say(number + std::string(size, static_cast<char>('a' + said_.size() % 26)));
    world_.after(takes, [this, left, over] { say_next(left - 1, over); });
  });
}

// How long that takes.
Micros Chat::say(const std::string& message) {
  Rng& r = world_.rng;
  said_.push_back(std::string(1, static_cast<char>(test::kText)) + message);
  if (!r.chance(0.3)) {
    send(test::from_client(test::kText, message));
    return 0;
  }
  // In two frames, with something between.
  const std::size_t half = r.below(message.size());
  send(test::from_client(test::kText, std::string_view(message).substr(0, half), 0));
  if (r.chance(0.5)) {
    pings_.push_back("ping " + std::to_string(pings_.size()));
    send(test::from_client(test::kPing, pings_.back()));
  }
  const Micros takes = r.chance(0.5) ? 0 : r.below(ms(15));
  world_.after(takes, [this, rest = message.substr(half)] {
    if (open_) send(test::from_client(test::kMore, rest));
  });
  return takes;
}

void Chat::send(const std::string& frames) {
  if (!closed_) world_.http->conversation().append(frames);
}

void Chat::close() {
  send(test::from_client(test::kCloseFrame, test::close_of(1000)));
  closed_ = true;
}

void Chat::received(std::string_view bytes) {
  rest_ += bytes;
  auto got = test::read_frames(rest_);
  rest_ = got.rest;
  for (const test::ReadFrame& frame : got.frames) take(frame);
}

void Chat::take(const test::ReadFrame& frame) {
  if (close_heard_) return wrong("a frame behind the Close");
  switch (frame.opcode()) {
    case test::kPing:
      return send(test::from_client(test::kPong, frame.payload));
    case test::kPong:
      if (std::find(pings_.begin(), pings_.end(), frame.payload) == pings_.end()) wrong("a Pong that nobody asked for");
      return;
    case test::kCloseFrame:
      close_heard_ = true;
      close_payload_ = frame.payload;
      return;
    default:
      break;
  }
  if (frame.opcode() != test::kMore) {
    if (!message_.empty()) wrong("a message inside another");
    message_.assign(1, static_cast<char>(frame.first & 0x7fU));
  } else if (message_.empty()) {
    wrong("a frame of no message");
  }
  message_ += frame.payload;
  if ((frame.first & 0x80U) == 0) return;
  heard_.push_back(std::move(message_));
  message_.clear();
  // What the application said, in order, each once.
  const auto whole = all_messages();
  if (heard_.size() > whole.size() || heard_.back() != whole[heard_.size() - 1])
    wrong("message " + std::to_string(heard_.size()) + " is not what the application said");
}

std::vector<std::string> Chat::all_messages() const {
  std::string all;
  for (const std::string& frames : room_->shared.outbox) all += frames;
  return test::read_frames(all).messages;
}

bool Chat::ended() {
  open_ = false;
  if (!rest_.empty()) wrong("the connection ends inside a frame");
  if (!close_heard_) wrong("the connection ends without a Close");
  if (close_payload_ == test::close_of(1012)) return false;
  if (close_payload_ != test::close_of(1000)) wrong("Close " + close_payload_);
  if (room_->shared.processed != said_) wrong("closed, and not every message was processed");
  if (heard_ != all_messages()) wrong("closed, and not every message has come");
  return true;
}

// ---- the application

// It marks messages as compressed (RSV1): against the rules (RFC 6455 section 5.2) where nobody has agreed on that.
std::string Chat::extensions(const Room& room) {
  return room.breaks_rules ? "" : "Sec-WebSocket-Extensions: permessage-deflate\r\n";
}

std::vector<std::string> Chat::upgrade(const test::Asked& asked, std::uint64_t connection) {
  const std::string resume = asked.field("Suture-Resume");
  const std::string head =
      "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
      "Sec-WebSocket-Accept: " +
      websocket_accept_of(asked.field("Sec-WebSocket-Key")) + "\r\n";
  if (resume.empty()) {
    auto room = std::make_unique<Room>();
    room->name = asked.field("Suture-Session");
    room->opts_in = world_.rng.chance(0.8);
    room->breaks_rules = world_.rng.chance(0.15);
    room->serving = connection;
    auto& chat =
        instances_.emplace(connection, Instance{room.get(), test::ChatInstance(room->shared)}).first->second.chat;
    const std::string number = std::to_string(rooms_.size());
    const std::string terms = (room->opts_in ? "Suture-Resume: 1\r\n" : "") + extensions(*room);
    rooms_.push_back(std::move(room));
    return {head + terms + "X-Room: " + number + "\r\n\r\n", chat.greet()};
  }
  const std::string name = resume.substr(0, resume.find(';'));
  const auto found = std::find_if(rooms_.begin(), rooms_.end(), [&](const auto& room) { return room->name == name; });
  if (found == rooms_.end() || !(*found)->opts_in) {
    wrong("asked to go on with a session that is not ours: " + resume);
    return {"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"};
  }
  ++world_.http->totals.reattach_asked;
  Room& room = **found;
  room.serving = connection;
  auto& chat = instances_.emplace(connection, Instance{&room, test::ChatInstance(room.shared)}).first->second.chat;
  const auto delivered = std::stoul(resume.substr(resume.find("delivered=") + 10));
  return {head + "Suture-Resume: " + name + "; received=" + std::to_string(room.shared.processed.size()) + "\r\n" +
              extensions(room) + "\r\n",
          chat.resume(delivered)};
}

std::vector<std::string> Chat::read(std::uint64_t connection, std::string_view bytes) {
  Instance& instance = instances_.at(connection);
  Room& room = *instance.room;
  if (connection != room.serving) return {test::kHangUp};  // fenced off
  const std::size_t before = room.shared.processed.size();
  auto answers = instance.chat.read(bytes);
  const auto& processed = room.shared.processed;
  for (std::size_t i = before; i < processed.size(); ++i)
    if (room_ != &room || i >= said_.size() || processed[i] != said_[i])
      wrong("message " + std::to_string(i + 1) + " was processed as another");
  const bool closes = !answers.empty() && !answers.back().empty() &&
                      (static_cast<unsigned char>(answers.back()[0]) & 15U) == test::kCloseFrame;
  if (closes) answers.push_back(test::kHangUp);
  return answers;
}

}  // namespace suture::sim
