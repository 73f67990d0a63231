// A real HttpSession behind a simulated socket. The two are connected by a socket pair, and nobody looks at how far it
// is filled: what the session writes goes on as soon as the simulated send buffer has room.
//
//   client's stream ──Socket──> read() ──pair──> HttpSession ──pair──> drain() ──> stream of its content ──Socket──>
#pragma once

#include <string>

#include "tests/simulation/behind.hpp"
#include "tests/simulation/http_kernel.hpp"
#include "tests/simulation/http_world.hpp"

namespace suture::sim {

class Node;

class HttpBehind final : public SessionBehind, public KernelSide {
 public:
  HttpBehind(World& world, Node& node, Content content);
  ~HttpBehind() override;
  HttpBehind(const HttpBehind&) = delete;
  HttpBehind& operator=(const HttpBehind&) = delete;

  int session_fd() const { return session_fd_; }  // the session's from the first call on that gives it away
  // True: bytes have moved.
  bool move();

  // How the session ended; the socket goes on by itself (fin), or is gone (reset, silent).
  enum class End : std::uint8_t { none, fin, reset, silent };
  End end() const { return end_; }

  // ---- the socket's
  void begin(Socket& socket) override { socket_ = &socket; }
  void read(Socket& socket, std::uint64_t from, std::uint64_t until) override;
  void acknowledged(Socket& socket) override;
  bool keeps_record() const override { return true; }

  // ---- the session's
  void half_closes() override { fin_ = true; }
  void closes() override;
  void resets() override { end_ = End::reset; }
  void closes_silently() override { end_ = End::silent; }
  std::uint64_t unacknowledged() const override;
  Millis silence() const override;
  void ask_client() override;
  bool put_sent(std::string_view bytes) override;

 private:
  bool feed();
  bool drain();
  std::size_t waiting() const;  // written by the session, and not yet in the socket

  World& world_;
  Node& node_;
  Content content_;
  Socket* socket_ = nullptr;
  int session_fd_ = -1, wire_ = -1;
  std::string to_session_;
  bool client_fin_ = false, told_fin_ = false;
  bool fin_ = false;  // the session has half-closed, or closed
  bool fin_sent_ = false;
  End end_ = End::none;
};

}  // namespace suture::sim
