// Numbers that name nodes and ownerships; apart from ids.hpp so that files close to the kernel need no Asio.
#pragma once

#include <cstdint>

namespace suture {

// A node's configured id, 1..255. It is in the owner's TCP timestamps (PROTOCOL.md, slot) and in its certificate.
enum class NodeId : std::uint8_t {};
constexpr unsigned to_int(NodeId id) {
  return static_cast<unsigned>(id);
}

// Grows with every start of a node's process (proxy/options.cpp); never 0 for a live process.
// A second incarnation of an id is refused while the first answers: two nodes must not share an id
// (PROTOCOL.md, "Slot").
using Incarnation = std::uint32_t;

// How often the ownership of a session changed hands. 0 at accept.
using Epoch = std::uint32_t;

}  // namespace suture
