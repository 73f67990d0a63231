// A session of which only the amounts are simulated: reads the ledger's requests, executes each once, and answers with
// so many bytes.
#pragma once

#include "tests/simulation/behind.hpp"
#include "tests/simulation/node.hpp"
#include "tests/simulation/world.hpp"

namespace suture::sim {

class ScriptedSession final : public SessionBehind {
 public:
  ScriptedSession(World& world, Node& node) : world_(world), node_(node) {}

  void begin(Socket& socket) override;
  void read(Socket& socket, std::uint64_t from, std::uint64_t until) override;

 private:
  World& world_;
  Node& node_;
  std::size_t next_request_ = 0;
};

}  // namespace suture::sim
