// From YAML to the Config value, section by section: names, types, ranges. Internal to proxy/config.
#pragma once

#include <proxy/config/config.hpp>
#include <proxy/config/reader.hpp>

namespace suture::config {

void read_config(Document& document, const YAML::Node& root, Config& config);

}  // namespace suture::config
