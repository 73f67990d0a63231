#include <proxy/client/context.hpp>

#include <map>

namespace suture {

ListenerContext::ListenerContext(WorkerContext& worker, const config::Listener& l) : listener(l), routes(l.routes) {
  std::map<std::string, UpstreamPool*> known;
  for (const config::Route& route : l.routes) {
    std::vector<UpstreamPool*> members;
    for (const config::UpstreamAddress& address : route.upstreams) {
      UpstreamPool*& pool = known[config::to_string(address)];
      if (!pool) {
        pools.push_back(std::make_unique<UpstreamPool>(worker.loop, address, l.limits.upstream_idle_max,
                                                       Millis(worker.options.timeouts.upstream_keep_alive_ms),
                                                       worker.upstream_metrics));
        pool = pools.back().get();
      }
      members.push_back(pool);
    }
    groups.emplace_back(std::move(members));
  }
}

}  // namespace suture
