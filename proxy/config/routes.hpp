// listeners[].routes: read, and checked against each other. Internal to proxy/config.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include <proxy/config/config.hpp>
#include <proxy/config/reader.hpp>

namespace suture::config {

// One upstream or a list of them. Something wrong leaves `out` as it is.
void read_upstreams(Document& document, Section& section, const std::string& key, std::vector<UpstreamAddress>& out);

// After the listener's own mode and upstream: these become the last route.
void read_routes(Document& document, Section& listener, Listener& out);

// `path` of the listener: "listeners[0]". `loops`: a connection there would come back to ourselves.
void check_routes(Document& document, const Listener& listener, const std::string& path,
                  const std::function<bool(const UpstreamAddress&)>& loops);

}  // namespace suture::config
