// A worker in its own thread, a client and an application both played by the test, with blocking sockets that give up
// after five seconds: the test's order of calls is the scenario.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>
#include <proxy/client/worker.hpp>

namespace suture::test {

class Peer {
 public:
  explicit Peer(int fd = -1) : fd_(fd) {
    if (fd_ < 0) return;
    const timeval limit{5, 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    ::setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  }
  Peer(Peer&& other) noexcept : fd_(std::exchange(other.fd_, -1)), pending_(std::move(other.pending_)) {}
  Peer& operator=(Peer&& other) noexcept {
    std::swap(fd_, other.fd_);
    std::swap(pending_, other.pending_);
    return *this;
  }
  ~Peer() { close(); }

  int fd() const { return fd_; }
  void close() {
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
  }
  void reset() {
    const linger abort{1, 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &abort, sizeof abort);
    close();
  }
  void half_close() const { ::shutdown(fd_, SHUT_WR); }
  void send(std::string_view data) const {
    while (!data.empty()) {
      const ssize_t n = ::send(fd_, data.data(), data.size(), MSG_NOSIGNAL);
      ASSERT_GT(n, 0) << strerror(errno);
      data.remove_prefix(static_cast<std::size_t>(n));
    }
  }
  // Up to and including `mark`; what is behind it stays for the next call.
  std::string read_until(std::string_view mark) {
    for (;;) {
      if (const auto at = pending_.find(mark); at != std::string::npos) return take(at + mark.size());
      if (fill() <= 0) {
        ADD_FAILURE() << "no \"" << mark << "\" in \"" << pending_ << '"';
        return {};
      }
    }
  }
  std::string read_bytes(std::size_t n) {
    while (pending_.size() < n)
      if (fill() <= 0) {
        ADD_FAILURE() << "only " << pending_.size() << " of " << n << " bytes";
        return {};
      }
    return take(n);
  }
  std::string read_head() { return read_until("\r\n\r\n"); }
  // Until FIN; a reset or time-out shows in last_errno().
  std::string read_all() {
    while (fill() > 0) {
    }
    return take(pending_.size());
  }
  bool at_eof() { return pending_.empty() && fill() == 0; }
  int last_errno() const { return errno_; }
  std::uint16_t local_port() const {
    sockaddr_in name{};
    socklen_t size = sizeof name;
    ::getsockname(fd_, reinterpret_cast<sockaddr*>(&name), &size);
    return ntohs(name.sin_port);
  }

 private:
  ssize_t fill() {
    char buffer[16384];
    errno_ = 0;
    const ssize_t n = ::recv(fd_, buffer, sizeof buffer, 0);
    if (n < 0) errno_ = errno;
    if (n > 0) pending_.append(buffer, static_cast<std::size_t>(n));
    return n;
  }
  std::string take(std::size_t n) {
    std::string out = pending_.substr(0, n);
    pending_.erase(0, n);
    return out;
  }
  int fd_ = -1;
  int errno_ = 0;
  std::string pending_;
};

class Application {
 public:
  Application() : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in name{};
    name.sin_family = AF_INET;
    name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    listen(reinterpret_cast<sockaddr*>(&name), sizeof name);
    socklen_t size = sizeof name;
    ::getsockname(fd_, reinterpret_cast<sockaddr*>(&name), &size);
    port_ = ntohs(name.sin_port);
  }
  explicit Application(const std::string& unix_path) : fd_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un name{};
    name.sun_family = AF_UNIX;
    unix_path.copy(name.sun_path, sizeof name.sun_path - 1);
    listen(reinterpret_cast<sockaddr*>(&name), sizeof name);
  }
  ~Application() { stop_listening(); }
  void stop_listening() {
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
  }
  std::uint16_t port() const { return port_; }
  int fd() const { return fd_; }
  Peer accept() const {
    const int fd = ::accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC);
    EXPECT_GE(fd, 0) << "the proxy did not connect";
    return Peer(fd);
  }

 private:
  void listen(const sockaddr* name, socklen_t size) const {
    EXPECT_EQ(::bind(fd_, name, size), 0) << strerror(errno);
    ::listen(fd_, 64);
    const timeval limit{5, 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  }
  int fd_ = -1;
  std::uint16_t port_ = 0;
};

class CapturingSink final : public RecordSink {
 public:
  bool upsert(const SessionRecord& record) override {
    const std::lock_guard lock(mutex_);
    if (refuse_ > 0 && refuse_--) return false;
    records_.push_back(record);
    if (on_upsert_) on_upsert_(record);
    return true;
  }
  // On the worker's thread, at the moment when the record is handed over.
  void on_upsert(std::function<void(const SessionRecord&)> call) {
    const std::lock_guard lock(mutex_);
    on_upsert_ = std::move(call);
  }
  bool erase(const suture_flow_key&, std::uint64_t) override {
    const std::lock_guard lock(mutex_);
    if (refuse_ > 0 && refuse_--) return false;
    ++erased_;
    return true;
  }
  std::vector<SessionRecord> records() const {
    const std::lock_guard lock(mutex_);
    return records_;
  }
  SessionRecord last() const {
    const std::lock_guard lock(mutex_);
    return records_.empty() ? SessionRecord{} : records_.back();
  }
  std::size_t erased() const {
    const std::lock_guard lock(mutex_);
    return erased_;
  }
  void refuse_next(int n) {
    const std::lock_guard lock(mutex_);
    refuse_ = n;
  }

 private:
  mutable std::mutex mutex_;
  std::vector<SessionRecord> records_;
  std::function<void(const SessionRecord&)> on_upsert_;
  std::size_t erased_ = 0;
  int refuse_ = 0;
};

class BareHook final : public AcceptHook {
 public:
  Result<ConnFacts> on_accept(int fd) override {
    const std::lock_guard lock(mutex_);
    fds_.push_back(fd);
    return Error{"a test's hook", 0};
  }
  std::vector<int> fds() const {
    const std::lock_guard lock(mutex_);
    return fds_;
  }

 private:
  mutable std::mutex mutex_;
  std::vector<int> fds_;
};

class ProxyTest : public ::testing::Test {
 protected:
  ProxyTest() {
    options.vips = {boost::asio::ip::make_address("127.0.0.1")};
    options.listeners.resize(1);
    options.listeners[0].mode = SessionMode::http;
    options.node = NodeId{7};
    options.node_name = "pop7";
    options.incarnation = 42;
  }
  ~ProxyTest() override {
    if (worker) worker->stop();
  }
  void start() {
    start_with([] {});
  }
  // `change`: the last word about the options.
  template <class Change>
  void start_with(Change change) {
    const auto loopback = boost::asio::ip::make_address("127.0.0.1");
    options.listeners[0].default_route().upstreams = {
        upstream.value_or(config::TcpEndpoint(loopback, application.port()))};
    change();
    worker = std::make_unique<Worker>(options, sink, hook);
    worker->register_metrics(registry);
    const auto opened = worker->open();
    ASSERT_TRUE(opened) << opened.error().message;
    worker->start();
  }
  Peer connect(int receive_buffer = 0) {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (receive_buffer) ::setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
    sockaddr_in name{};
    name.sin_family = AF_INET;
    name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    name.sin_port = htons(worker->bound_ports().front());
    EXPECT_EQ(::connect(fd, reinterpret_cast<sockaddr*>(&name), sizeof name), 0) << strerror(errno);
    return Peer(fd);
  }
  // A connected client that has sent `request`.
  Peer connect_and_send(std::string_view request) {
    Peer peer = connect();
    peer.send(request);
    return peer;
  }
  double metric(std::string_view name, std::string_view labels = {}) const {
    for (const auto& family : registry.collect())
      if (family.name == name)
        for (const auto& sample : family.samples)
          if (labels.empty() || sample.labels == labels) return sample.value;
    return -1;
  }
  // Waits, bounded, for something that another thread brings about.
  template <class Condition>
  static bool eventually(Condition condition) {
    for (int i = 0; i < 5000; ++i) {
      if (condition()) return true;
      ::usleep(1000);
    }
    return false;
  }

  Application application;
  std::optional<config::UpstreamAddress> upstream;  // instead of `application`
  CapturingSink sink;
  BareHook hook;
  MetricsRegistry registry;
  WorkerOptions options;
  std::unique_ptr<Worker> worker;
};

}  // namespace suture::test
