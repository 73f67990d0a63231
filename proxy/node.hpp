// One node: everything that runs at a PoP, wired together. Wiring only; every decision lives in the part that makes it.
#pragma once

#include "proxy/config/config.hpp"

namespace suture {

// Runs until SIGTERM (drain, then 0) or a second one (stop now, 0), or until something makes it impossible to go on
// (1). Start-up problems are one log line `start_failed` with what would help, and 1, or what suture/exit_code.hpp has
// for them: 77 without a capability, 78 with a wrong certificate or an id that another node has.
int run_node(const config::Config& config);

}  // namespace suture
