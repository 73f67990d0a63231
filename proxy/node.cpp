#include "proxy/node.hpp"

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>

#include <statesync/grpc_link.hpp>
#include <statesync/service.hpp>
#include <suture/exit_code.hpp>

#include "proxy/admin/admin_server.hpp"
#include "proxy/admin/process_metrics.hpp"
#include "proxy/client/access_file.hpp"
#include "proxy/client/worker.hpp"
#include "proxy/drain.hpp"
#include "proxy/heal_io.hpp"
#include "proxy/healing/healer.hpp"
#include "proxy/healing/prober.hpp"
#include "proxy/healing/raw_socket.hpp"
#include "proxy/healing/stray_handler.hpp"
#include "proxy/healing/tcp_repair.hpp"
#include "proxy/health/announcer.hpp"
#include "proxy/health/checks.hpp"
#include "proxy/heartbeat.hpp"
#include "proxy/kernel_path.hpp"
#include "proxy/options.hpp"
#include "proxy/pages.hpp"
#include "proxy/pki/pki.hpp"
#include "proxy/privileges.hpp"
#include "proxy/stray_io.hpp"
#include "proxy/ticker.hpp"

namespace suture {
namespace {

namespace asio = boost::asio;

// At the end: for sessions that must hear from their client before they can be reset, and for the last records.
constexpr Millis kStopPatience{2500};
constexpr Millis kFlushPatience{1500};
constexpr Millis kGrpcPatience{3000};

class Node {
 public:
  explicit Node(const config::Config& config)
      : config_(config), incarnation_(incarnation_at(std::chrono::system_clock::now())), io_(1), signals_(io_) {
    // From the beginning: a signal that comes while we start is kept until the loop runs.
    for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGUSR1}) signals_.add(signal);
  }

  Result<void> start(const pki::CertificateInfo& certificate);
  int run();

 private:
  Result<void> start_datapath();
  Result<void> start_workers();
  void start_statesync();
  void start_healing();
  void start_strays();
  Result<void> start_admin();
  void on_peer_change(const statesync::PeerState& peer);
  void probe_tick(TimePoint now);
  void on_datapath_event(const suture_event& event);
  void on_answer(NodeId peer, const suture_flow_key& key, statesync::Answer answer);
  void await_signal();
  void drain_tick(TimePoint now);
  void begin_drain(bool terminate);
  std::size_t active_sessions() const;
  pages::NodeView view() const;
  void run_until(const std::function<bool()>& done, Millis patience);
  void finish();

  const config::Config& config_;
  const Incarnation incarnation_;
  asio::io_context io_;
  asio::signal_set signals_;
  MetricsRegistry metrics_;
  SlotClock slot_clock_;

  std::unique_ptr<KernelPath> kernel_;
  std::unique_ptr<statesync::StateSync> sync_;
  std::unique_ptr<AccessFile> access_log_;
  std::unique_ptr<healing::SlotAcceptHook> accept_hook_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::unique_ptr<healing::RawSocket> raw_;
  std::unique_ptr<NodeHealWorld> heal_world_;
  std::unique_ptr<healing::Healer> healer_;
  std::unique_ptr<DirectoryProbeSource> probe_source_;
  std::unique_ptr<healing::Prober> prober_;
  std::unique_ptr<DirectoryKnowledge> knowledge_;
  std::unique_ptr<TunnelOutlet> outlet_;
  std::unique_ptr<healing::StrayHandler> strays_;
  std::unique_ptr<Announcer> announcer_;
  std::unique_ptr<HealthChecker> health_;
  std::unique_ptr<admin::AdminServer> admin_;
  std::unique_ptr<Heartbeat> heartbeat_;
  std::unique_ptr<Drain> drain_;
  std::vector<std::unique_ptr<Ticker>> tickers_;
  int exit_code_ = 0;
  std::string exit_reason_;  // why it is not 0
  bool finishing_ = false;
};

Result<void> Node::start(const pki::CertificateInfo& certificate) {
  pki::register_expiry_metric(metrics_, certificate.not_after);
  admin::register_process_metrics(metrics_);

  // Order matters: the datapath first, without a heartbeat, so that nothing of a former process leaves any more; then
  // its sockets go; then ours listen; the first beat opens the gate; the route comes last, by the announcer's rule.
  if (auto ok = start_datapath(); !ok) return ok;
  sync_ = std::make_unique<statesync::StateSync>(statesync_options(config_, incarnation_),
                                                 statesync::make_grpc_transport(grpc_options(config_), io_),
                                                 kernel_->owner_map(), slot_clock_, io_);
  if (config_.log.access.format != config::AccessLog::Format::off) {
    auto file = AccessFile::open(config_.log.access.file);
    if (!file) return file.error();
    access_log_ = std::move(*file);
    access_log_->register_metrics(metrics_);
  }
  if (auto ok = start_workers(); !ok) return ok;
  announcer_ = std::make_unique<Announcer>(io_, kernel_->routes(),
                                           Announcer::Options{config_.vips, config_.announce.enabled, Millis{1000}});
  announcer_->register_metrics(metrics_);
  start_statesync();
  if (auto raw = healing::RawSocket::open(config_.datapath.rst_mark); raw) {
    raw_ = std::make_unique<healing::RawSocket>(std::move(*raw));
  } else {
    return raw.error();
  }
  start_healing();
  if (auto ok = sync_->start(); !ok) return ok;
  start_strays();
  health_ = std::make_unique<HealthChecker>(io_, config_.health);
  health_->register_metrics(metrics_);
  if (auto ok = start_admin(); !ok) return ok;

  drain_ = std::make_unique<Drain>(Millis{config_.timeouts.drain_grace_ms}, Millis{config_.timeouts.drain_ms});
  tickers_.push_back(std::make_unique<Ticker>(io_, Millis{20}, [this](TimePoint now) { drain_tick(now); }));
  for (auto& worker : workers_) worker->start();
  health_->start([this](HealthState state, const std::string& reason) { announcer_->set_health(state, reason); });
  await_signal();
  log::info("started", {{"version", SUTURE_VERSION},
                        {"id", to_int(config_.node.id)},
                        {"incarnation", incarnation_},
                        {"workers", workers_.size()}});
  return {};
}

Result<void> Node::start_datapath() {
  auto kernel = KernelPath::open(kernel_path_options(config_, incarnation_));
  if (!kernel) return kernel.error();
  kernel_ = std::move(*kernel);
  kernel_->register_metrics(metrics_);
  return {};
}

Result<void> Node::start_workers() {
  accept_hook_ = std::make_unique<healing::SlotAcceptHook>(config_.node.id, slot_clock_);
  std::vector<std::function<std::uint64_t()>> ticks;
  const unsigned count = worker_count(config_);
  const auto client_counts = std::make_shared<ClientCounts>();
  for (unsigned i = 0; i < count; ++i) {
    auto options = worker_options(config_, incarnation_, i, count);
    options.client_counts = client_counts;
    options.access_log = access_log_.get();
    options.beats = [this] { return kernel_->beats(); };
    options.on_adopted = [this](const suture_flow_key& key, ResumeRung rung, const char* reason) {
      asio::post(io_, [this, key, rung, reason] {
        if (healer_) healer_->on_adopted(key, rung, reason, Clock::now());
      });
    };
    workers_.push_back(std::make_unique<Worker>(std::move(options), sync_->sink(i), *accept_hook_));
    auto* worker = workers_.back().get();
    worker->register_metrics(metrics_);
    if (auto ok = worker->open(); !ok) return ok;
    // One that has ended in order does not keep the others' last segments from leaving.
    ticks.emplace_back(
        [worker, after = std::uint64_t{0}]() mutable { return worker->ticks() + (worker->stopped() ? ++after : 0); });
  }
  heartbeat_ = std::make_unique<Heartbeat>(
      std::move(ticks), [this] { return sync_->caught_up_all_alive(); },
      Heartbeat::Options{.limit = Millis{config_.datapath.heartbeat_limit_ms}});
  heartbeat_->register_metrics(metrics_);
  tickers_.push_back(std::make_unique<Ticker>(io_, heartbeat_->interval(), [this](TimePoint now) {
    if (!heartbeat_->due(now)) return;
    kernel_->set_slot_offset(slot_clock_.offset_ms());
    kernel_->beat(now);
  }));
  return {};
}

void Node::start_statesync() {
  sync_->register_metrics(metrics_);
  sync_->set_on_peer_change([this](const statesync::PeerState& peer) { on_peer_change(peer); });
  sync_->set_on_answer(
      [this](NodeId peer, const suture_flow_key& key, statesync::Answer answer) { on_answer(peer, key, answer); });
  sync_->set_on_synchronised([this] {
    announcer_->set_synchronised(true);
    for (const auto& [owner, incarnation] : sync_->directory().dead_owners()) prober_->start(owner, incarnation);
  });
  sync_->set_on_orphan([this](const SessionRecord& record, TimePoint updated) {
    prober_->add(record.owner, record.incarnation, record.facts.key, updated);
  });
  sync_->set_on_stall([](Millis stalled) { log::warn("control_loop_stalled", {{"ms", stalled.count()}}); });
  sync_->set_on_claimed([this](const SessionRecord& theirs) { healer_->on_claimed(theirs, Clock::now()); });
  sync_->set_on_owner_changed([this](const suture_flow_key& key, const SessionRecord* standing) {
    if (standing != nullptr)
      prober_->owner_changed(key);
    else
      prober_->erased(key);
  });
  sync_->set_on_id_refused([this](const std::string& reason) {
    log::error("id_refused", {{"reason", reason}});
    exit_code_ = exit_code::config;
    exit_reason_ = reason + "; give each node a node.id (and a certificate) of its own";
    io_.stop();
  });
}

void Node::start_healing() {
  heal_world_ = std::make_unique<NodeHealWorld>(*sync_, slot_clock_, *kernel_, *raw_, workers_);
  healer_ = std::make_unique<healing::Healer>(healer_options(config_, incarnation_), *heal_world_);
  probe_source_ = std::make_unique<DirectoryProbeSource>(*sync_);
  prober_ = std::make_unique<healing::Prober>(prober_options(config_), *probe_source_);
  heal_world_->register_metrics(metrics_);
  healer_->metrics().register_metrics(metrics_);
  prober_->register_metrics(metrics_);
  tickers_.push_back(std::make_unique<Ticker>(io_, Millis{10}, [this](TimePoint now) {
    healer_->on_tick(now);
    heal_world_->sweep(now);
    probe_tick(now);
    kernel_->set_cut_off(sync_->cut_off());
  }));
}

void Node::probe_tick(TimePoint now) {
  for (const auto& key : prober_->next(now)) {
    const auto probed = healer_->probe(key, now);
    if (probed.what == healing::Healer::Probed::over) prober_->erased(key);
    if (probed.what == healing::Healer::Probed::too_soon) prober_->put_off(key, probed.again);
  }
}

void Node::start_strays() {
  knowledge_ = std::make_unique<DirectoryKnowledge>(*sync_, *healer_);
  outlet_ = std::make_unique<TunnelOutlet>(*kernel_, *raw_, *healer_, *prober_);
  strays_ = std::make_unique<healing::StrayHandler>(*knowledge_, *outlet_, Millis{config_.healing.end_grace_ms});
  outlet_->register_metrics(metrics_);
  strays_->register_metrics(metrics_);
  kernel_->on_interfaces([this](bool any_attached, const std::vector<std::string>& missing) {
    announcer_->set_interfaces(any_attached, missing);
  });
  kernel_->start(
      io_, [this](std::span<const std::uint8_t> packet) { strays_->on_packet(packet, Clock::now()); },
      [this](const suture_event& event) { on_datapath_event(event); });
  tickers_.push_back(std::make_unique<Ticker>(io_, healing::StrayHandler::question_timeout / 4,
                                              [this](TimePoint now) { strays_->on_tick(now); }));
}

Result<void> Node::start_admin() {
  admin_ = std::make_unique<admin::AdminServer>(io_, metrics_);
  admin_->register_metrics(metrics_);
  admin_->set_readiness([this] { return announcer_->blockers(); });
  admin_->handle("GET", "/stats", [this](const admin::Request&) { return admin::json(200, pages::stats(view())); });
  admin_->handle("GET", "/peers", [this](const admin::Request&) { return admin::json(200, pages::peers(view())); });
  admin_->handle("GET", "/config", [this](const admin::Request&) { return admin::json(200, pages::config(view())); });
  admin_->handle("GET", "/sessions", [this](const admin::Request& request) {
    const auto limit = parse_limit(request.parameter("limit"));
    if (!limit) return admin::text(400, "limit: a number from 1 to " + std::to_string(kSessionsShownMax));
    return admin::json(200, pages::sessions(view(), *limit));
  });
  admin_->handle("POST", "/drain", [this](const admin::Request&) {
    begin_drain(false);
    return admin::text(200, "draining");
  });
  admin_->handle("POST", "/undrain", [this](const admin::Request&) {
    if (!drain_->undrain()) return admin::text(409, "the process is ending");
    announcer_->set_draining(false);
    sync_->set_draining(false);
    kernel_->set_draining(false);
    log::info("undrained");
    return admin::text(200, "serving");
  });
  return admin_->listen(config_.admin.listen);
}

void Node::on_peer_change(const statesync::PeerState& peer) {
  const TimePoint now = Clock::now();
  kernel_->set_peer(peer.id, peer.alive, peer.hint_ok, peer.incarnation);
  heal_world_->set_living(peer.id, peer.alive);
  std::vector<NodeId> members{config_.node.id};
  for (const auto& one : sync_->peers()) {
    if (one.alive) members.push_back(one.id);
  }
  prober_->set_members(std::move(members));
  if (peer.alive) {
    prober_->stop(peer.id, peer.incarnation);
    healer_->on_owner_living(peer.id, now);
  } else if (peer.incarnation != 0) {
    prober_->start(peer.id, peer.incarnation);
  }
}

void Node::on_datapath_event(const suture_event& event) {
  const NodeId peer{static_cast<std::uint8_t>(event.peer)};
  switch (event.kind) {
    case SUTURE_EVENT_NOT_MINE:
      sync_->send_answer(peer, event.key, statesync::Answer::not_mine);
      break;
    case SUTURE_EVENT_ASK_MINE:
      sync_->send_answer(peer, event.key, statesync::Answer::mine);
      break;
    case SUTURE_EVENT_ASK_NOT_MINE:
      sync_->send_answer(peer, event.key, statesync::Answer::unknown);
      break;
    case SUTURE_EVENT_REPLACED:
      healer_->on_replaced(event.key, event.echo, Clock::now());
      break;
    case SUTURE_EVENT_REWRITTEN:
      heal_world_->give_up_fence(event.key);
      break;
    case SUTURE_EVENT_GATED:
      healer_->on_gated(event.key, Clock::now());
      break;
    default:
      break;
  }
}

void Node::on_answer(NodeId peer, const suture_flow_key& key, statesync::Answer answer) {
  switch (answer) {
    case statesync::Answer::mine:
      strays_->on_mine(peer, key, Clock::now());
      break;
    case statesync::Answer::not_mine:
      kernel_->mark_not_mine(key, peer);
      strays_->on_not_mine(peer, key);
      break;
    case statesync::Answer::unknown:
      strays_->on_unknown(peer, key);
      break;
  }
}

void Node::await_signal() {
  signals_.async_wait([this](const boost::system::error_code& error, int signal) {
    if (error) return;
    if (signal == SIGHUP && access_log_) {
      access_log_->reopen_and_log();
      return await_signal();
    }
    if (signal == SIGHUP || signal == SIGUSR1) {
      log::warn("signal_ignored", {{"signal", signal}, {"reason", "reload is not supported: restart by a drain"}});
      await_signal();
      return;
    }
    log::info("signal", {{"signal", signal}});
    if (drain_->terminating()) {
      io_.stop();
      return;
    }
    begin_drain(true);
    await_signal();
  });
}

void Node::begin_drain(bool terminate) {
  log::info("drain", {{"sessions", active_sessions()}, {"then", terminate ? "exit" : "wait"}});
  drain_->begin(Clock::now(), terminate);
  announcer_->set_draining(true);
  sync_->set_draining(true);
}

void Node::drain_tick(TimePoint now) {
  switch (drain_->tick(now, active_sessions())) {
    case Drain::State::refusing:
      kernel_->set_draining(true);
      break;
    case Drain::State::done:
      if (finishing_) break;
      log::info("drained", {{"sessions_left", active_sessions()}});
      io_.stop();
      break;
    case Drain::State::serving:
    case Drain::State::withdrawn:
      break;
  }
}

std::size_t Node::active_sessions() const {
  std::size_t sum = 0;
  for (const auto& worker : workers_) sum += worker->active();
  return sum;
}

pages::NodeView Node::view() const {
  return {config_,
          *sync_,
          incarnation_,
          announcer_->announced(),
          announcer_->draining(),
          active_sessions(),
          metrics_json(metrics_)};
}

int Node::run() {
  prefer_this_thread();
  io_.run();
  finish();
  return exit_code_;
}

void Node::run_until(const std::function<bool()>& done, Millis patience) {
  const TimePoint deadline = Clock::now() + patience;
  while (!done() && Clock::now() < deadline) {
    io_.restart();
    io_.run_for(Millis{5});
  }
}

// What is left of the sessions ends on purpose (worker_options: at_stop), while the programs are still attached; then
// everything that we put into the kernel is taken out again.
void Node::finish() {
  finishing_ = true;
  io_.restart();
  for (auto& worker : workers_) worker->begin_stop(kStopPatience);
  // The heart goes on beating meanwhile: without it no segment leaves.
  run_until(
      [this] { return std::all_of(workers_.begin(), workers_.end(), [](const auto& w) { return w->stopped(); }); },
      kStopPatience + Millis{500});
  for (auto& worker : workers_) worker->stop();
  // The ends of these sessions must reach the peers, or they would try to heal them.
  run_until([this] { return sync_->flushed(); }, kFlushPatience);
  if (health_) health_->stop();
  if (admin_) admin_->stop();
  sync_->stop();
  kernel_->close();
  if (exit_code_ == 0) return log::info("stopped", {{"exit", exit_code_}});
  log::error("stopped",
             {{"exit", exit_code_}, {"reason", exit_reason_}});  // the last line: what Docker's users look at
}

}  // namespace

int run_node(const config::Config& config) {
  log::configure(config.log.level, config.log.format, config.node.name);
  std::signal(SIGPIPE, SIG_IGN);
  const auto fail = [](const std::string& reason, int status) {
    log::error("start_failed", {{"reason", reason}});
    return status;
  };
  const auto certificate = pki::check_node_certificate(config.statesync.cert_file, config.statesync.key_file,
                                                       config.statesync.ca_file, config.node.id);
  if (!certificate) return fail(certificate.error().message, exit_code::config);
  raise_capabilities();
  if (auto ok = check_capabilities(has_privileged_port(config)); !ok) {
    return fail(ok.error().message, exit_code::no_permission);
  }
  for (const auto& note : set_limits()) log::warn("limits", {{"note", note}});
  const int status = [&] {
    Node node(config);
    if (auto ok = node.start(*certificate); !ok) return fail(ok.error().message, exit_code::failed);
    return node.run();
  }();
  if (!statesync::grpc_ended(kGrpcPatience)) {
    log::warn("grpc_shutdown_slow", {{"then", "exit without cleanup"}});
    std::fflush(nullptr);
    std::quick_exit(status);
  }
  return status;
}

}  // namespace suture
