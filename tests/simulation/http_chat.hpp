// A WebSocket at the end of a conversation: the client that talks, and what the application's instances share
// (docs/websocket.md, "What the application must do"). The application is the one of tests/unit/client.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tests/simulation/wire.hpp"
#include "tests/unit/client/websocket_world.hpp"
#include "tests/unit/cut/scripted_application.hpp"

namespace suture::sim {

class World;

class Chat {
 public:
  explicit Chat(World& world) : world_(world) {}

  static std::string request();

  // ---- the client
  void begin(const std::string& head, Micros over);  // the 101 has come
  void received(std::string_view bytes);
  bool ended();  // by FIN. True: after a whole conversation; false: after Close 1012
  bool open() const { return open_; }

  // ---- the application: `connection` is unique over all nodes
  std::vector<std::string> upgrade(const test::Asked& asked, std::uint64_t connection);
  // What to write; test::kHangUp: and close.
  std::vector<std::string> read(std::uint64_t connection, std::string_view bytes);

 private:
  struct Room;
  static std::string extensions(const Room& room);
  void say_next(std::size_t left, Micros over);
  Micros say(const std::string& message);
  void send(const std::string& frames);
  void close();
  void take(const test::ReadFrame& frame);
  std::vector<std::string> all_messages() const;  // to the client
  void wrong(const std::string& what);

  World& world_;
  // The client's.
  bool open_ = false, closed_ = false;
  std::string rest_, message_;
  std::vector<std::string> said_, heard_, pings_;
  std::string close_payload_;
  bool close_heard_ = false;
  // The application's: one session for each upgrade that it was asked for. The client's is the one whose 101 it got.
  struct Room {
    test::SharedState shared;
    std::string name;  // Suture-Session
    bool opts_in = true, breaks_rules = false;
    std::uint64_t serving = 0;  // the one instance that may process: others are fenced off
  };
  struct Instance {
    Room* room = nullptr;
    test::ChatInstance chat;
  };
  std::vector<std::unique_ptr<Room>> rooms_;
  std::map<std::uint64_t, Instance> instances_;
  Room* room_ = nullptr;  // the client's
};

}  // namespace suture::sim
