#include "tests/simulation/http_process.hpp"

#include "tests/simulation/node.hpp"

namespace suture::sim {

HttpProcess::HttpProcess(World& world, Node& node, std::size_t index, NodeId id, Incarnation incarnation)
    : HttpProcessOptions{world.http->worker_options()}, WorkerContext(own_options, *this), world_(world), node_(node) {
  // Names of different lengths: heads of two nodes do not fit into each other.
  own_options.node_name = std::string(index + 1, 'p') + std::to_string(incarnation);
  own_options.node = id;
  own_options.incarnation = incarnation;
  own_options.on_adopted = [this](const suture_flow_key&, ResumeRung rung, const char* reason) {
    HttpTotals& totals = world_.http->totals;
    ++totals.rungs[std::string(to_label(rung))];
    if (*reason != '\0') ++totals.reasons[std::string(to_label(rung)) + ": " + reason];
    node_.said("goes on: " + std::string(to_label(rung)) + ' ' + reason);
  };
  config::Timeouts& timeouts = own_options.timeouts;  // none is the subject here: longer than a run
  timeouts.request_head_ms = timeouts.request_body_ms = timeouts.response_ms = timeouts.keep_alive_ms = 300'000;
  client_counts = std::make_shared<ClientCounts>();
  journals = JournalBudget(world.http->journals_bytes_max());
  loop.poll(simulated());
  application_ = std::make_unique<HttpApplication>(world, loop, [this] { node_.turn(); });
  own_options.listeners[0].default_route().upstreams = {config::UnixPath{application_->path()}};
  listener_ = std::make_unique<ListenerContext>(*this, own_options.listeners[0]);
}

// Killed: no segment leaves, and nobody is told anything.
HttpProcess::~HttpProcess() {
  session_.reset();
}

TimePoint HttpProcess::simulated() const {
  return time_point(world_.now + seconds(1000));
}

void HttpProcess::make(int fd, const ConnFacts& facts) {
  loop.poll(simulated());
  session_ = std::make_unique<HttpSession>(*this, *listener_, StreamSocket(fd), facts);
  if (const auto added = loop.add(fd, *session_); !added) throw_error(added.error());
}

void HttpProcess::accept(int fd, const ConnFacts& facts) {
  make(fd, facts);
  session_->start();
}

void HttpProcess::adopt(const Adoption& adoption) {
  make(adoption.fd, adoption.record.facts);
  session_->adopt(adoption);
}

void HttpProcess::session_over(Session& session) {
  if (session_.get() == &session) loop.dispose(std::move(session_));
}

void HttpProcess::turn(HttpBehind* behind) {
  if (turning_) {
    again_ = true;
    return;
  }
  turning_ = true;
  int rounds = 0;
  for (bool moved = true; moved || again_;) {
    again_ = false;
    moved = loop.poll(simulated());
    if (behind && behind->move()) moved = true;
    if (++rounds > 100'000) {
      world_.ledger.violation("a process never comes to rest");
      break;
    }
  }
  turning_ = false;
  tick();
}

// Sessions whose silent client must speak before it is reset are looked after more often than others (worker.cpp).
void HttpProcess::tick() {
  if (ticking_ || resetting.empty()) return;
  ticking_ = true;
  world_.after(ms(EventLoop::kTickMs), [this, weak = std::weak_ptr<int>(alive_)] {
    if (weak.expired()) return;
    ticking_ = false;
    if (node_.responsive() && !resetting.empty()) {
      loop.poll(simulated());
      resetting.front()->await_client_if_due();
      node_.turn();
    } else {
      tick();
    }
  });
}

void HttpProcess::sweep() {
  loop.poll(simulated());
  if (!pending_erasures.empty() && erase(pending_erasures.front().first, pending_erasures.front().second))
    pending_erasures.pop_front();
  if (session_) session_->sweep();
  node_.turn();
}

bool HttpProcess::upsert(const SessionRecord& record) {
  if (world_.rng.chance(world_.http->sink_full())) {
    ++world_.http->totals.records_refused;
    return false;
  }
  ++world_.http->totals.records;
  node_.on_upsert(record);
  return true;
}

bool HttpProcess::erase(const suture_flow_key&, std::uint64_t session_id) {
  if (world_.rng.chance(world_.http->sink_full())) {
    ++world_.http->totals.records_refused;
    return false;
  }
  ++world_.http->totals.erased;
  node_.on_erase(session_id);
  return true;
}

void HttpProcess::check(Ledger& ledger) const {
  world_.http->totals.journals_refused += journals.refused().value();
  if (static_cast<std::uint64_t>(journals.used().value()) > world_.http->journals_bytes_max())
    ledger.violation("journals beyond their budget");
}

}  // namespace suture::sim
