// One node: everything that runs at a PoP, wired together. Wiring only; every decision lives in the part that makes it.
#pragma once

#include "proxy/config/config.hpp"

namespace suture {

// Runs until SIGTERM (drain, then 0) or a second one (stop now, 0), or until something makes it impossible to go on
// (1). Start-up problems are one log line `start_failed` with what would help, and 1.
int run_node(const config::Config& config);

}  // namespace suture
