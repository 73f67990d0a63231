// What a worker lends to its sessions. One thread: the scratch buffers are anybody's for the duration of one event.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <proxy/client/client_counts.hpp>
#include <proxy/client/client_metrics.hpp>
#include <proxy/client/closing.hpp>
#include <proxy/client/http_head.hpp>
#include <proxy/client/journal.hpp>
#include <proxy/client/route_table.hpp>
#include <proxy/client/worker.hpp>
#include <proxy/upstream/event_loop.hpp>
#include <proxy/upstream/group.hpp>
#include <proxy/upstream/pool.hpp>
#include <suture/limits.hpp>

namespace suture {

class Session;

struct WorkerContext {
  WorkerContext(const WorkerOptions& o, RecordSink& s) : options(o), sink(s), scratch(limits::relay_buffer_bytes) {}

  const WorkerOptions& options;
  RecordSink& sink;
  EventLoop loop;
  ClientMetrics metrics;
  UpstreamMetrics upstream_metrics;
  closing::Marks marks;
  JournalBudget journals{limits::journals_bytes_max};

  std::vector<char> scratch;  // every read goes through it
  std::string head_out;       // heads under construction
  std::string payload;        // content on its way through our own chunk framing
  std::string framed;         // ... of a request, with that framing
  std::string access_line;
  RequestHead request;
  ResponseHead response;

  // Erasures that the full sink did not take. While there are any, no new session is accepted: that bounds them by the
  // number of sessions.
  std::deque<std::pair<suture_flow_key, std::uint64_t>> pending_erasures;

  TimePoint proxy_header_logged_at{};  // session_origin.cpp

  // Sessions whose silent client must speak before it can be reset (Session::reset_client).
  std::vector<Session*> resetting;
  // Sessions whose bytes wait until their record has left (Session::wait_for_record).
  std::vector<Session*> awaiting;

  std::shared_ptr<ClientCounts> client_counts;
  // nullopt: the client has as many connections as it may.
  std::optional<ClientSlot> take_slot(const config::Listener& listener, const config::Address& client) {
    const std::uint32_t max = listener.limits.connections_per_client_max;
    if (max == 0) return ClientSlot();
    const auto key = ClientCounts::key_of(client, listener.port);
    if (client_counts->take(key, max)) return ClientSlot(client_counts, key);
    metrics.rejected_connections_per_client.add();
    return std::nullopt;
  }

  // How a session that was taken over went on, for the metrics and for the control thread.
  void healed(const suture_flow_key& key, ResumeRung rung, const char* reason) {
    metrics.heals[static_cast<std::size_t>(rung)].add();
    if (rung == ResumeRung::refuse || rung == ResumeRung::reset || (rung == ResumeRung::close && *reason != '\0'))
      metrics.heal_failures[heal_reason::index_of(reason)].add();
    if (options.on_adopted) options.on_adopted(key, rung, reason);
  }

  // Defined by the worker: takes the session out of its list and destroys it after the present batch.
  virtual void session_over(Session& session) = 0;

 protected:
  ~WorkerContext() = default;
};

// What all sessions of one listener share.
struct ListenerContext {
  ListenerContext(WorkerContext& worker, const config::Listener& l);

  // `route`: one of listener.routes.
  UpstreamGroup& upstreams_of(const config::Route& route) {
    return groups[static_cast<std::size_t>(&route - listener.routes.data())];
  }

  const config::Listener& listener;
  RouteTable routes;
  std::vector<std::unique_ptr<UpstreamPool>> pools;  // one per upstream, whatever routes name it
  std::vector<UpstreamGroup> groups;                 // as listener.routes
};

}  // namespace suture
