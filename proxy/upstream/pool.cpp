#include <proxy/upstream/pool.hpp>

#include <algorithm>
#include <cerrno>
#include <iterator>

#include <sys/epoll.h>
#include <sys/socket.h>
#include <proxy/upstream/connect.hpp>

namespace suture {

void UpstreamConnection::reset() {
  if (!socket_.is_open()) return;
  const linger abort{1, 0};
  ::setsockopt(socket_.fd(), SOL_SOCKET, SO_LINGER, &abort, sizeof abort);
  close();
}

void dispose(std::unique_ptr<UpstreamConnection> connection) {
  if (!connection) return;
  connection->set_user(nullptr);
  connection->close();
  EventLoop& loop = connection->loop();
  loop.dispose(std::move(connection));
}

void UpstreamMetrics::register_metrics(MetricsRegistry& registry) {
  registry.counter("suture_upstream_connects_total", "Connections opened to the application.", "", connects);
  registry.counter("suture_upstream_reuses_total", "Exchanges on a kept connection to the application.", "", reuses);
  registry.counter("suture_upstream_retries_total", "Requests sent again because a kept connection was stale.", "",
                   retries);
  registry.counter("suture_upstream_failovers_total",
                   "Upstreams that could not be connected to, where a route's next one was tried instead.", "",
                   failovers);
  registry.counter("suture_upstream_idle_closed_total", "Idle connections to the application closed.", "", idle_closed);
  registry.gauge("suture_upstream_idle", "Idle connections to the application.", "", idle);
  const char* help = "Failed connections to or exchanges with the application.";
  const auto error = [&](const char* reason, const Counter& c) {
    registry.counter("suture_upstream_errors_total", help, std::string("reason=\"") + reason + '"', c);
  };
  error("refused", error_refused);
  error("reset", error_reset);
  error("timeout", error_timeout);
  error("malformed", error_malformed);
  error("head_too_large", error_head_too_large);
  error("descriptors", error_descriptors);
  error("closed", error_closed);
  error("other", error_other);
}

Counter& UpstreamMetrics::of_errno(int error) {
  switch (error) {
    case ECONNREFUSED:
    case ENOENT:
      return error_refused;
    case ECONNRESET:
    case EPIPE:
      return error_reset;
    case ETIMEDOUT:
      return error_timeout;
    case EMFILE:
    case ENFILE:
      return error_descriptors;
    default:
      return error_other;
  }
}

UpstreamPool::~UpstreamPool() {
  while (!idle_.empty()) drop(idle_.size() - 1);
}

std::unique_ptr<UpstreamConnection> UpstreamPool::take_idle(UpstreamUser& user, std::uint64_t owner) {
  const auto last = std::find_if(idle_.rbegin(), idle_.rend(), [&](const auto& c) { return c->owner_ == owner; });
  if (last == idle_.rend()) return nullptr;
  auto connection = std::move(*last);
  idle_.erase(std::next(last).base());
  metrics_.idle.add(-1);
  metrics_.reuses.add();
  connection->reused_ = true;
  connection->set_user(&user);
  return connection;
}

Result<std::unique_ptr<UpstreamConnection>> UpstreamPool::connect(UpstreamUser& user) {
  metrics_.connects.add();
  auto started = start_connect(address_);
  if (!started) return started.error();
  auto connection = std::make_unique<UpstreamConnection>(loop_, std::move(started->socket), started->connected);
  connection->set_user(&user);
  if (auto added = loop_.add(connection->socket().fd(), *connection); !added) return added.error();
  return connection;
}

int UpstreamPool::finish_connect(UpstreamConnection& connection) {
  if (connection.connected()) return 0;
  if (const int error = connect_result(connection.socket().fd())) return error;
  // No error yet: connected if and only if the peer has a name.
  sockaddr_storage peer{};
  socklen_t size = sizeof peer;
  if (::getpeername(connection.socket().fd(), reinterpret_cast<sockaddr*>(&peer), &size) != 0) return EINPROGRESS;
  connection.set_connected();
  return 0;
}

void UpstreamPool::give_back(std::unique_ptr<UpstreamConnection> connection, std::uint64_t owner) {
  if (!connection) return;
  if (idle_max_ == 0 || connection->socket().hung_up()) {
    metrics_.idle_closed.add();
    dispose(std::move(connection));
    return;
  }
  if (idle_.size() >= idle_max_) drop(0);
  connection->set_user(this);
  connection->idle_since_ = loop_.now();
  connection->owner_ = owner;
  idle_.push_back(std::move(connection));
  metrics_.idle.add(1);
  // What arrived together with the last response's end has had its edge already.
  if (idle_.back()->socket().readable()) on_upstream_events(*idle_.back());
}

void UpstreamPool::on_upstream_events(UpstreamConnection& connection) {
  if (!connection.socket().readable()) return;
  char byte = 0;
  const auto got = connection.socket().read({&byte, 1});
  if (got.status == IoResult::Status::again) return;
  // Closed, or bytes that belong to no request: either way not to be used again.
  for (std::size_t i = 0; i < idle_.size(); ++i)
    if (idle_[i].get() == &connection) return drop(i);
}

void UpstreamPool::drop_owned(std::uint64_t owner) {
  for (std::size_t i = idle_.size(); i-- > 0;)
    if (idle_[i]->owner_ == owner) drop(i);
}

void UpstreamPool::expire(TimePoint now) {
  while (!idle_.empty() && now - idle_.front()->idle_since_ > idle_age_max_) drop(0);
}

void UpstreamPool::drop(std::size_t index) {
  auto connection = std::move(idle_[index]);
  idle_.erase(idle_.begin() + static_cast<std::ptrdiff_t>(index));
  metrics_.idle.add(-1);
  metrics_.idle_closed.add();
  dispose(std::move(connection));
}

}  // namespace suture
