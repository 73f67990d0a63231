// suture_build_info and the process_* family that every Prometheus client library exports, read from /proc/self at
// scrape time.
#pragma once

#include <suture/metrics.hpp>

namespace suture::admin {

// suture_build_info{version="...",revision="..."} 1, process_cpu_seconds_total, process_resident_memory_bytes,
// process_virtual_memory_bytes, process_open_fds, process_max_fds, process_threads, process_start_time_seconds
void register_process_metrics(MetricsRegistry& registry);

}  // namespace suture::admin
