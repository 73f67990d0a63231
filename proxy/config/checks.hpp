// What must hold between values: every section was read before. Internal to proxy/config.
#pragma once

#include <proxy/config/config.hpp>
#include <proxy/config/reader.hpp>

namespace suture::config {

void check_config(Document& document, const Config& config);

}  // namespace suture::config
