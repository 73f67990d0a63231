// What a seed does to the world, and the judgement when it is over.
#pragma once

#include "tests/simulation/world.hpp"

namespace suture::sim {

// Puts requests, faults and forgeries into the queue. Returns when the run is over: the last part is free of faults,
// and long enough for every state's timeout.
Micros write_scenario(World& world);
// The network keeps some of the client's real packets, to deliver them again when they are old.
void remember(World& world, const Packet& packet);
// Invariants that only the end shows. Others go into the ledger when they happen.
void judge_end(World& world);

}  // namespace suture::sim
