// What is behind an owner's socket, in its process: reads the client's stream, and says what goes to the client. Hands
// a record to the node before it acts (PROTOCOL.md: a record may lag, but it is made first).
#pragma once

#include <cstdint>

namespace suture::sim {

class Socket;

class SessionBehind {
 public:
  virtual ~SessionBehind() = default;
  virtual void begin(Socket&) {}  // once, before anything else
  // The process has its turn: [from, until) of the client's stream has come (offsets; the client's FIN counts as one).
  virtual void read(Socket& socket, std::uint64_t from, std::uint64_t until) = 0;
  // The kernel's part: the client has taken more, there is room in the socket.
  virtual void acknowledged(Socket&) {}
  // It makes records of its own; the node asks for none.
  virtual bool keeps_record() const { return false; }
};

}  // namespace suture::sim
