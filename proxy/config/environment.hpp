// The configuration from environment variables alone: the simplest case, one port in front of one application
// (docs/configuration.md, "Without a file").
#pragma once

#include <proxy/config/config.hpp>

namespace suture::config {

// `environment`: NAME=VALUE entries, a null pointer at the end (environ). Mistakes name the variable in place of a
// file. Variables that begin with SUTURE_ and are none of ours are mistakes; those that Kubernetes makes of a service
// named suture (SUTURE_SERVICE_*, SUTURE_PORT*) are not. Never throws.
LoadResult load_environment(const char* const* environment);

}  // namespace suture::config
