#include <proxy/client/worker.hpp>

#include <algorithm>
#include <future>
#include <mutex>
#include <thread>

#include <pthread.h>
#include <boost/unordered/unordered_flat_map.hpp>
#include <proxy/client/http_session.hpp>
#include <proxy/client/listener.hpp>
#include <proxy/client/tcp_session.hpp>
#include <suture/log.hpp>

namespace suture {
namespace {
constexpr auto kHookLogInterval = std::chrono::seconds(5);
}  // namespace

class Worker::Impl final : public WorkerContext {
 public:
  Impl(WorkerOptions o, RecordSink& s, AcceptHook& hook)
      : WorkerContext(own_options, s), own_options(std::move(o)), accept_hook(hook) {
    client_counts = own_options.client_counts ? own_options.client_counts : std::make_shared<ClientCounts>();
    marks = {own_options.fin_mark, own_options.rst_mark};
    scratch.resize(limits::relay_buffer_bytes);
    loop.set_tick([this] { tick(); });
    sink.set_on_left([this] { loop.post([this] { records_left(); }); });
  }
  ~Impl() {
    sink.set_on_left({});
    refuse_adoptions();
  }

  Result<void> open();
  void run();
  void begin_stop(Millis patience);
  void stop_sessions(StopPatience patience);
  void tick();
  void records_left();
  void accepted(Listener& listener, StreamSocket socket, const config::TcpEndpoint& client);
  ConnFacts read_facts(int fd, const Listener& listener, const config::TcpEndpoint& client);
  bool queue(Adoption adoption);
  void take_adoptions();
  void refuse_adoptions();
  void adopt(const Adoption& adoption);
  Listener* listener_of(const SessionRecord& record) const;
  std::unique_ptr<Session> make_session(ListenerContext& context, StreamSocket socket, const ConnFacts& facts);
  Session& add_session(std::unique_ptr<Session> session, Listener* accepted_by);
  template <class Action>
  void command(const suture_flow_key& key, Action action);
  void session_over(Session& session) override;
  void retry_erasures();

  const WorkerOptions own_options;
  AcceptHook& accept_hook;
  std::vector<std::unique_ptr<ListenerContext>> contexts;
  std::vector<std::unique_ptr<Listener>> listeners;
  struct Entry {
    std::unique_ptr<Session> session;
    Listener* listener;  // that accepted it; nullptr: adopted
  };
  std::vector<Entry> sessions;
  boost::unordered_flat_map<suture_flow_key, Session*, FlowKeyHash> by_key;
  std::mutex inbox_mutex;
  std::vector<Adoption> inbox;  // descriptors that no session has yet
  bool inbox_closed = false;
  std::atomic<std::size_t> active{0};
  std::atomic<bool> accepting{false};
  std::atomic<bool> stopped{false};
  std::optional<TimePoint> stop_at;
  TimePoint next_sweep{};
  TimePoint hook_logged_at{};
  std::thread thread;
};

Result<void> Worker::Impl::open() {
  for (const config::Listener& wanted : own_options.listeners) {
    contexts.push_back(std::make_unique<ListenerContext>(*this, wanted));
    for (const config::Address& vip : own_options.vips) {
      Listener::Options of_listener;
      of_listener.address = {vip, wanted.port};
      of_listener.mss_clamp = vip.is_v6() ? own_options.mss_clamp6 : own_options.mss_clamp4;
      const std::uint64_t workers = std::max(1U, own_options.workers);
      of_listener.connections_max = static_cast<std::size_t>((wanted.limits.connections_max + workers - 1) / workers);
      const auto on_accept = [this](Listener& listener, StreamSocket socket, const config::TcpEndpoint& client) {
        accepted(listener, std::move(socket), client);
      };
      auto listener = std::make_unique<Listener>(*this, *contexts.back(), of_listener, on_accept);
      auto opened = listener->open();
      if (opened) opened = listener->watch();
      if (!opened) {
        listeners.clear();
        contexts.clear();
        return opened.error();
      }
      listeners.push_back(std::move(listener));
    }
  }
  accepting.store(true);
  return {};
}

void Worker::Impl::run() {
  pthread_setname_np(pthread_self(), ("suture-w" + std::to_string(own_options.index)).c_str());
  loop.run();
  stop_sessions(StopPatience::none);
  stopped.store(true);
}

void Worker::Impl::tick() {
  const TimePoint now = loop.now();
  if (!pending_erasures.empty()) retry_erasures();
  // Backwards: a session that ends is replaced by the last one, which has had its turn.
  for (std::size_t i = resetting.size(); i-- > 0;)
    if (i < resetting.size()) resetting[i]->await_client_if_due();
  if (stop_at && ((sessions.empty() && pending_erasures.empty()) || now >= *stop_at)) return loop.stop();
  for (auto& listener : listeners) listener->tick();
  if (accepting.load(std::memory_order_relaxed) &&
      std::none_of(listeners.begin(), listeners.end(), [](const auto& l) { return l->is_open(); }))
    accepting.store(false);
  if (now < next_sweep) return;
  next_sweep = now + Session::kSweepInterval;
  for (std::size_t i = sessions.size(); i-- > 0;)
    if (i < sessions.size()) sessions[i].session->sweep();
  for (auto& context : contexts)
    for (auto& pool : context->pools) pool->expire(now);
}

void Worker::Impl::records_left() {
  for (std::size_t i = awaiting.size(); i-- > 0;)
    if (i < awaiting.size()) awaiting[i]->on_record_left();
  if (awaiting.empty()) sink.rest();
}

std::unique_ptr<Session> Worker::Impl::make_session(ListenerContext& context, StreamSocket socket,
                                                    const ConnFacts& facts) {
  if (context.listener.mode == SessionMode::http)
    return std::make_unique<HttpSession>(*this, context, std::move(socket), facts);
  return std::make_unique<TcpSession>(*this, context, std::move(socket), facts);
}

Session& Worker::Impl::add_session(std::unique_ptr<Session> made, Listener* accepted_by) {
  Session& session = *made;
  (session.mode() == SessionMode::http ? metrics.active_http : metrics.active_tcp).add(1);
  session.worker_slot = sessions.size();
  by_key.insert_or_assign(session.record().facts.key, &session);
  sessions.push_back({std::move(made), accepted_by});
  active.fetch_add(1, std::memory_order_relaxed);
  return session;
}

void Worker::Impl::accepted(Listener& listener, StreamSocket socket, const config::TcpEndpoint& client) {
  // Whom a front balancer passes on is known later.
  const config::Listener& configured = listener.context().listener;
  auto slot = Session::is_front(configured, client.address()) ? std::optional<ClientSlot>(ClientSlot())
                                                              : take_slot(configured, client.address());
  if (!slot) {
    closing::reset(socket, marks);
    return listener.released();
  }
  const int fd = socket.fd();
  const ConnFacts facts = read_facts(fd, listener, client);
  ListenerContext& context = listener.context();
  const bool http = context.listener.mode == SessionMode::http;
  (http ? metrics.accepted_http : metrics.accepted_tcp).add();
  Session& session = add_session(make_session(context, std::move(socket), facts), &listener);
  session.hold(std::move(*slot));
  if (auto added = loop.add(fd, session); !added) {
    log::error("session_not_watched", {{"error", added.error().message}});
    return session.stop(StopAction::reset, StopPatience::none);
  }
  session.start();
}

ConnFacts Worker::Impl::read_facts(int fd, const Listener& listener, const config::TcpEndpoint& client) {
  auto facts = accept_hook.on_accept(fd);
  if (facts) return *facts;
  metrics.accept_hook_errors.add();
  if (loop.now() - hook_logged_at >= kHookLogInterval) {
    hook_logged_at = loop.now();
    log::warn("accept_facts_missing", {{"error", facts.error().message}});
  }
  ConnFacts bare;
  bare.key = make_flow_key(client, listener.address());
  return bare;
}

void Worker::Impl::session_over(Session& session) {
  const std::size_t slot = session.worker_slot;
  Entry entry = std::move(sessions[slot]);
  if (slot + 1 != sessions.size()) {
    sessions[slot] = std::move(sessions.back());
    sessions[slot].session->worker_slot = slot;
  }
  sessions.pop_back();
  const auto known = by_key.find(session.record().facts.key);
  if (known != by_key.end() && known->second == &session) by_key.erase(known);
  (session.mode() == SessionMode::http ? metrics.active_http : metrics.active_tcp).add(-1);
  active.fetch_sub(1, std::memory_order_relaxed);
  if (entry.listener) entry.listener->released();
  loop.dispose(std::move(entry.session));
}

// --- sessions of other nodes -----------------------------------------------------------------------------------------

bool Worker::Impl::queue(Adoption adoption) {
  {
    const std::lock_guard lock(inbox_mutex);
    if (inbox_closed) return false;
    inbox.push_back(std::move(adoption));
  }
  loop.post([this] { take_adoptions(); });
  return true;
}

void Worker::Impl::take_adoptions() {
  std::vector<Adoption> taken;
  {
    const std::lock_guard lock(inbox_mutex);
    taken.swap(inbox);
  }
  for (const Adoption& adoption : taken) adopt(adoption);
}

// From here on adopt() says no. What was queued and never became a session is given up without a segment: its record
// stands at the peers, and another node may heal it.
void Worker::Impl::refuse_adoptions() {
  std::vector<Adoption> left;
  {
    const std::lock_guard lock(inbox_mutex);
    inbox_closed = true;
    left.swap(inbox);
  }
  for (const Adoption& adoption : left) {
    StreamSocket socket(adoption.fd);
    closing::close_silently(socket);
    healed(adoption.record.facts.key, ResumeRung::reset, heal_reason::stopped);
  }
}

Listener* Worker::Impl::listener_of(const SessionRecord& record) const {
  const auto vip = vip_of(record.facts.key);
  for (const auto& listener : listeners)
    if (listener->address() == vip && listener->context().listener.mode == record.mode) return listener.get();
  return nullptr;
}

void Worker::Impl::adopt(const Adoption& adoption) {
  StreamSocket socket(adoption.fd);
  Listener* listener = listener_of(adoption.record);
  const bool complete = adoption.record.mode == SessionMode::tcp || adoption.record.http;
  if (!listener || !complete) {
    closing::reset(socket, marks);
    return healed(adoption.record.facts.key, ResumeRung::reset,
                  listener ? heal_reason::no_state : heal_reason::no_listener);
  }
  const int fd = socket.fd();
  Session& session = add_session(make_session(listener->context(), std::move(socket), adoption.record.facts), nullptr);
  Adoption possible = adoption;
  if (auto added = loop.add(fd, session); !added) {
    log::error("session_not_watched", {{"error", added.error().message}});
    possible.resume.rung = ResumeRung::reset;
    possible.resume.reason = heal_reason::not_watched;
  }
  session.adopt(possible);
}

template <class Action>
void Worker::Impl::command(const suture_flow_key& key, Action action) {
  loop.post([this, key, action] {
    if (const auto found = by_key.find(key); found != by_key.end()) action(*found->second);
  });
}

void Worker::Impl::retry_erasures() {
  while (!pending_erasures.empty() && sink.erase(pending_erasures.front().first, pending_erasures.front().second)) {
    metrics.records_erased.add();
    pending_erasures.pop_front();
  }
}

void Worker::Impl::begin_stop(Millis patience) {
  if (stop_at) return;
  stop_at = loop.now() + patience;
  stop_sessions(StopPatience::waits);
}

void Worker::Impl::stop_sessions(StopPatience patience) {
  refuse_adoptions();
  // An answer that is there goes out before it is asked how its session ends.
  for (std::size_t i = awaiting.size(); i-- > 0;)
    if (i < awaiting.size()) awaiting[i]->await_no_longer();
  for (std::size_t i = sessions.size(); i-- > 0;) {
    Session& session = *sessions[i].session;
    session.stop(own_options.at_stop ? own_options.at_stop(session.record()) : StopAction::silent, patience);
  }
  retry_erasures();
  for (auto& listener : listeners) listener->close();
  accepting.store(false);
}

Worker::Worker(WorkerOptions options, RecordSink& sink, AcceptHook& hook)
    : impl_(std::make_unique<Impl>(std::move(options), sink, hook)) {}

Worker::~Worker() {
  stop();
}

Result<void> Worker::open() {
  return impl_->open();
}

void Worker::start() {
  impl_->thread = std::thread([impl = impl_.get()] { impl->run(); });
}

void Worker::begin_stop(Millis patience) {
  impl_->loop.post([impl = impl_.get(), patience] { impl->begin_stop(patience); });
}

bool Worker::stopped() const {
  return impl_->stopped.load();
}

void Worker::stop() {
  if (!impl_->thread.joinable()) return;
  impl_->loop.stop();
  impl_->thread.join();
}

bool Worker::adopt(Adoption adoption) {
  return impl_->queue(std::move(adoption));
}
void Worker::freeze(const suture_flow_key& key) {
  impl_->command(key, [](Session& s) { s.freeze(); });
}
void Worker::thaw(const suture_flow_key& key, std::optional<Epoch> claimed_again) {
  impl_->command(key, [claimed_again](Session& s) { s.thaw(claimed_again); });
}
void Worker::release(const suture_flow_key& key, bool erase_record) {
  impl_->command(key, [erase_record](Session& s) { s.release(erase_record); });
}
void Worker::abort(const suture_flow_key& key) {
  impl_->command(key, [](Session& s) { s.abort(); });
}
void Worker::give_up_fence(const suture_flow_key& key) {
  impl_->command(key, [](Session& s) { s.give_up_fence(); });
}

std::size_t Worker::active() const {
  return impl_->active.load(std::memory_order_relaxed);
}
std::uint64_t Worker::ticks() const {
  return impl_->loop.ticks();
}
bool Worker::accepting() const {
  return impl_->accepting.load();
}

std::vector<std::uint16_t> Worker::bound_ports() const {
  std::vector<std::uint16_t> ports;
  for (const auto& listener : impl_->listeners) ports.push_back(listener->address().port());
  return ports;
}

void Worker::register_metrics(MetricsRegistry& registry) {
  impl_->metrics.register_metrics(registry);
  impl_->upstream_metrics.register_metrics(registry);
  registry.gauge("suture_journal_bytes", "Bytes of answers and WebSocket frames that records hold.", "",
                 impl_->journals.used());
  registry.counter("suture_journals_refused_total", "Answers not journaled because all journals were full.", "",
                   impl_->journals.refused());
}

}  // namespace suture
