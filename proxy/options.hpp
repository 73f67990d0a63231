// From the configuration to each part's own options. Pure.
#pragma once

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>

#include <statesync/grpc_link.hpp>
#include <statesync/service.hpp>

#include "proxy/client/worker.hpp"
#include "proxy/config/config.hpp"
#include "proxy/healing/healer.hpp"
#include "proxy/healing/prober.hpp"
#include "proxy/kernel_path.hpp"

namespace suture {

// Tenths of a second since 2026: grows with every start without a file to remember it, also when a process is started
// again within a second; 32 bits last until 2039.
Incarnation incarnation_at(std::chrono::system_clock::time_point now);

statesync::Options statesync_options(const config::Config& config, Incarnation incarnation);
statesync::GrpcOptions grpc_options(const config::Config& config);
KernelPath::Options kernel_path_options(const config::Config& config, Incarnation incarnation);
WorkerOptions worker_options(const config::Config& config, Incarnation incarnation, unsigned index, unsigned count);
healing::Healer::Options healer_options(const config::Config& config, Incarnation incarnation);
healing::Prober::Options prober_options(const config::Config& config);
unsigned worker_count(const config::Config& config);  // node.workers, or one a core
bool has_privileged_port(const config::Config& config);

// {"name{labels}": value}: the registry for /stats.
std::string metrics_json(const MetricsRegistry& metrics);
// How many sessions /sessions shows: the control loop does nothing else meanwhile, and peers wait for its beats.
inline constexpr std::size_t kSessionsShownMax = 2000;
// Absent: 100. Nothing: not a number from 1 to kSessionsShownMax.
std::optional<std::size_t> parse_limit(const std::optional<std::string>& text);

}  // namespace suture
