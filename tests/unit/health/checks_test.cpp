// The checker against a scripted server in the same io_context: real sockets, bounded waits on conditions.
#include <proxy/health/checks.hpp>

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <optional>
#include <vector>

#include <gtest/gtest.h>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/streambuf.hpp>
#include <boost/asio/write.hpp>

namespace suture {
namespace {

namespace asio = boost::asio;
using namespace std::chrono_literals;

// Answers the nth connection with the nth script line (the last one again and again). "hang" accepts and says nothing,
// "close" closes after the request.
template <class Protocol>
class ScriptedServer {
 public:
  ScriptedServer(asio::io_context& io, typename Protocol::endpoint endpoint, std::vector<std::string> script)
      : acceptor_(io, endpoint), script_(std::move(script)) {
    accept();
  }
  auto endpoint() const { return acceptor_.local_endpoint(); }
  const std::vector<std::string>& requests() const { return requests_; }

 private:
  struct Connection {
    explicit Connection(typename Protocol::socket s) : socket(std::move(s)) {}
    typename Protocol::socket socket;
    asio::streambuf input;
    std::string answer;
  };

  void accept() {
    acceptor_.async_accept([this](boost::system::error_code error, typename Protocol::socket socket) {
      if (error) return;
      auto connection = std::make_shared<Connection>(std::move(socket));
      connection->answer = script_[std::min(accepted_++, script_.size() - 1)];
      connections_.push_back(connection);
      asio::async_read_until(
          connection->socket, connection->input, "\r\n\r\n",
          [this, connection](boost::system::error_code e, std::size_t n) { answer(connection, e, n); });
      accept();
    });
  }
  void answer(const std::shared_ptr<Connection>& connection, boost::system::error_code error, std::size_t n) {
    if (error) return;
    requests_.emplace_back(asio::buffers_begin(connection->input.data()),
                           asio::buffers_begin(connection->input.data()) + static_cast<std::ptrdiff_t>(n));
    if (connection->answer == "hang") return;
    if (connection->answer == "close") return connection->socket.close();
    asio::async_write(connection->socket, asio::buffer(connection->answer),
                      [connection](boost::system::error_code, std::size_t) { connection->socket.close(); });
  }

  typename Protocol::acceptor acceptor_;
  std::vector<std::string> script_;
  std::size_t accepted_ = 0;
  std::vector<std::shared_ptr<Connection>> connections_;  // "hang" keeps them open
  std::vector<std::string> requests_;
};
using TcpServer = ScriptedServer<asio::ip::tcp>;
using UnixServer = ScriptedServer<asio::local::stream_protocol>;

class ChecksTest : public ::testing::Test {
 protected:
  static asio::ip::tcp::endpoint loopback(std::uint16_t port = 0) { return {asio::ip::address_v4::loopback(), port}; }

  config::HealthCheck check(config::HealthCheck::Type type, config::UpstreamAddress target) {
    config::HealthCheck c;
    c.type = type;
    c.target = std::move(target);
    c.path = "/healthz";
    c.host = "pop1";
    c.interval_ms = 1;
    c.timeout_ms = 5000;
    c.rise = 2;
    c.fall = 3;
    return c;
  }
  struct Change {
    HealthState state;
    std::string reason;
  };
  // Runs until `changes` have come, at most ten seconds.
  void run(HealthChecker& checker, std::size_t changes) {
    checker.register_metrics(*metrics_);
    checker.start([this](HealthState state, const std::string& reason) { changes_.push_back({state, reason}); });
    const auto deadline = std::chrono::steady_clock::now() + 10s;
    while (changes_.size() < changes && std::chrono::steady_clock::now() < deadline) io_.run_one_for(100ms);
    ASSERT_GE(changes_.size(), changes) << "last: " << checker.reason();
  }
  double results(const std::string& result) const {
    for (const auto& family : metrics_->collect()) {
      for (const auto& sample : family.samples) {
        if (sample.labels == "result=\"" + result + '"') return sample.value;
      }
    }
    return -1;
  }

  asio::io_context io_;
  std::optional<MetricsRegistry> metrics_{std::in_place};  // anew for each checker of a test
  std::vector<Change> changes_;
};

constexpr const char* ok = "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n";
constexpr const char* broken = "HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n";

TEST_F(ChecksTest, HttpUpDownUp) {
  TcpServer server(io_, loopback(), {ok, broken, broken, ok, broken, broken, broken, ok, ok});
  HealthChecker checker(io_, check(config::HealthCheck::Type::http, server.endpoint()));
  run(checker, 3);
  EXPECT_EQ(changes_[0].state, HealthState::up);
  EXPECT_EQ(changes_[0].reason, "status 200");
  EXPECT_EQ(changes_[1].state, HealthState::down);
  EXPECT_EQ(changes_[1].reason, "status 500");
  EXPECT_EQ(changes_[2].state, HealthState::up);
  EXPECT_EQ(results("success"), 4);
  EXPECT_EQ(results("status"), 5);
  EXPECT_EQ(server.requests().at(0).rfind("GET /healthz HTTP/1.1\r\nHost: pop1\r\n", 0), 0U) << server.requests()[0];
}

TEST_F(ChecksTest, AnApplicationThatWantsAProxyHeader) {
  for (const auto& [version, begins] : {std::pair{config::ProxyProtocol::v1, "PROXY UNKNOWN\r\nGET /healthz "},
                                        {config::ProxyProtocol::v2, "\r\n\r\n"}}) {
    changes_.clear();
    metrics_.emplace();
    TcpServer server(io_, loopback(), {ok});
    auto with_header = check(config::HealthCheck::Type::http, server.endpoint());
    with_header.proxy_protocol = version;
    HealthChecker checker(io_, with_header);
    run(checker, 1);
    EXPECT_TRUE(server.requests().at(0).starts_with(begins)) << server.requests()[0];
  }
}

TEST_F(ChecksTest, WhatCountsAsAnAnswer) {
  const struct {
    const char* answer;
    HealthState state;
    const char* result;
  } rows[] = {
      {"HTTP/1.1 204 No Content\r\n\r\n", HealthState::up, "success"},
      {"HTTP/1.1 302 Found\r\nLocation: /x\r\n\r\n", HealthState::up, "success"},
      {"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", HealthState::up, "success"},
      {"HTTP/1.1 404 Not Found\r\n\r\n", HealthState::down, "status"},
      {"SSH-2.0-OpenSSH_9.2\r\n", HealthState::down, "error"},
      {"HTTP/1.1 200 OK\r\nX: ", HealthState::down, "error"},
      {"close", HealthState::down, "error"},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.answer);
    changes_.clear();
    metrics_.emplace();
    TcpServer server(io_, loopback(), {row.answer});
    HealthChecker checker(io_, check(config::HealthCheck::Type::http, server.endpoint()));
    run(checker, 1);
    EXPECT_EQ(changes_[0].state, row.state) << changes_[0].reason;
    EXPECT_GE(results(row.result), 1) << changes_[0].reason;
  }
}

TEST_F(ChecksTest, AHugeHeadIsAnError) {
  TcpServer server(io_, loopback(), {"HTTP/1.1 200 OK\r\nX: " + std::string(64 * 1024, 'x') + "\r\n\r\n"});
  HealthChecker checker(io_, check(config::HealthCheck::Type::http, server.endpoint()));
  run(checker, 1);
  EXPECT_EQ(changes_[0].state, HealthState::down);
}

TEST_F(ChecksTest, Refused) {
  std::uint16_t port = 0;
  {
    asio::ip::tcp::acceptor gone(io_, loopback());
    port = gone.local_endpoint().port();
  }
  for (const auto type : {config::HealthCheck::Type::http, config::HealthCheck::Type::tcp}) {
    changes_.clear();
    HealthChecker checker(io_, check(type, loopback(port)));
    run(checker, 1);
    EXPECT_EQ(changes_[0].state, HealthState::down);
    EXPECT_EQ(changes_[0].reason, "connection refused");
    checker.stop();
    metrics_.emplace();
  }
}

TEST_F(ChecksTest, Timeout) {
  TcpServer server(io_, loopback(), {"hang"});
  auto slow = check(config::HealthCheck::Type::http, server.endpoint());
  slow.timeout_ms = 20;
  HealthChecker checker(io_, slow);
  run(checker, 1);
  EXPECT_EQ(changes_[0].state, HealthState::down);
  EXPECT_EQ(changes_[0].reason, "no answer within 20 ms");
  EXPECT_GE(results("timeout"), 1);
}

TEST_F(ChecksTest, TcpConnectIsEnoughForTypeTcp) {
  TcpServer server(io_, loopback(), {"hang"});
  HealthChecker checker(io_, check(config::HealthCheck::Type::tcp, server.endpoint()));
  run(checker, 1);
  EXPECT_EQ(changes_[0].state, HealthState::up);
}

TEST_F(ChecksTest, UnixSocket) {
  char name[] = "/tmp/suture-health-XXXXXX";
  const std::string dir = ::mkdtemp(name);
  const config::UnixPath path{dir + "/app.sock"};
  {
    HealthChecker checker(io_, check(config::HealthCheck::Type::http, path));
    run(checker, 1);
    EXPECT_EQ(changes_[0].state, HealthState::down);
    EXPECT_EQ(changes_[0].reason, "no such socket");
  }
  metrics_.emplace();
  changes_.clear();
  UnixServer server(io_, {path.path}, {ok});
  HealthChecker checker(io_, check(config::HealthCheck::Type::http, path));
  run(checker, 1);
  EXPECT_EQ(changes_[0].state, HealthState::up);
  std::filesystem::remove_all(dir);
}

TEST_F(ChecksTest, NoneIsUpAtOnce) {
  HealthChecker checker(io_, config::HealthCheck{});
  run(checker, 1);
  EXPECT_EQ(changes_[0].state, HealthState::up);
  EXPECT_EQ(io_.run(), 0U);  // nothing is ever scheduled
}

TEST_F(ChecksTest, StopEndsEverything) {
  TcpServer server(io_, loopback(), {"hang"});
  auto checker = std::make_unique<HealthChecker>(io_, check(config::HealthCheck::Type::http, server.endpoint()));
  checker->start([this](HealthState state, const std::string& reason) { changes_.push_back({state, reason}); });
  const auto deadline = std::chrono::steady_clock::now() + 10s;
  while (server.requests().empty() && std::chrono::steady_clock::now() < deadline) io_.run_one_for(100ms);
  ASSERT_EQ(server.requests().size(), 1U);
  checker.reset();  // with a check under way
  const auto again = std::chrono::steady_clock::now() + 200ms;
  while (std::chrono::steady_clock::now() < again && io_.poll_one() != 0) {
  }
  EXPECT_TRUE(changes_.empty());
}

TEST_F(ChecksTest, TheCallbackMayStop) {
  TcpServer server(io_, loopback(), {ok});
  HealthChecker checker(io_, check(config::HealthCheck::Type::http, server.endpoint()));
  int calls = 0;
  checker.start([&](HealthState, const std::string&) {
    checker.stop();
    ++calls;  // the function is still alive
  });
  const auto deadline = std::chrono::steady_clock::now() + 10s;
  while (calls == 0 && std::chrono::steady_clock::now() < deadline) io_.run_one_for(100ms);
  EXPECT_EQ(calls, 1);
}

}  // namespace
}  // namespace suture
