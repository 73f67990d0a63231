// The server on loopback in a thread of its own; clients are plain blocking sockets that send exactly what a row says.
#include <proxy/admin/admin_server.hpp>

#include <future>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>

#include <proxy/cli/cli.hpp>

namespace suture::admin {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

class Client {
 public:
  explicit Client(const boost::asio::ip::tcp::endpoint& server)
      : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    const timeval limit{10, 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    ::setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    EXPECT_EQ(::connect(fd_, server.data(), static_cast<socklen_t>(server.size())), 0);
  }
  ~Client() { ::close(fd_); }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  void send(const std::string& text) {
    for (std::size_t done = 0; done < text.size();) {
      const ssize_t n = ::send(fd_, text.data() + done, text.size() - done, MSG_NOSIGNAL);
      if (n <= 0) return;  // the server has closed: what it said is read below
      done += static_cast<std::size_t>(n);
    }
  }
  // Until the server closes (or ten seconds without a byte: "(timeout)" is appended).
  std::string rest() {
    return read_until([](const std::string&) { return false; });
  }
  std::string until(const std::string& end) {
    return read_until([&](const std::string& got) { return got.ends_with(end); });
  }

 private:
  template <class Done>
  std::string read_until(Done done) {
    std::string got;
    char c = 0;
    while (!done(got)) {
      const ssize_t n = ::recv(fd_, &c, 1, 0);
      if (n == 0) break;
      if (n < 0) return got + (errno == EAGAIN ? "(timeout)" : "(reset)");
      got += c;
    }
    return got;
  }
  int fd_;
};

class AdminServerTest : public ::testing::Test {
 protected:
  void start(Options options = {}) {
    server_ = std::make_unique<AdminServer>(io_, metrics_, options);
    server_->register_metrics(metrics_);
    server_->handle("GET", "/sessions", [](const Request& r) {
      return json(200, "{\"limit\":\"" + r.parameter("limit").value_or("none") + "\"}");
    });
    server_->handle("POST", "/drain", [this](const Request&) {
      ++drains_;
      return text(200, "draining");
    });
    const auto listening = server_->listen({boost::asio::ip::address_v4::loopback(), 0});
    ASSERT_TRUE(listening) << listening.error().message;
    endpoint_ = server_->local_endpoint();
    thread_ = std::thread([this] { io_.run(); });
  }
  void on_server(const std::function<void()>& action) {
    std::promise<void> done;
    boost::asio::post(io_, [&] {
      action();
      done.set_value();
    });
    done.get_future().wait();
  }
  void TearDown() override {
    if (!server_) return;
    on_server([this] { server_->stop(); });
    work_.reset();
    thread_.join();  // ends only if every connection's coroutine has ended
  }
  std::string ask(const std::string& request) const {
    Client client(endpoint_);
    client.send(request);
    return client.rest();
  }
  std::string get(const std::string& target) const { return ask("GET " + target + " HTTP/1.0\r\n\r\n"); }
  double metric(const std::string& name, const std::string& labels) const {
    for (const auto& family : metrics_.collect()) {
      for (const auto& sample : family.samples) {
        if (sample.name == name && sample.labels == labels) return sample.value;
      }
    }
    return -1;
  }
  double refused(const std::string& reason) const {
    return metric("suture_admin_refused_total", "reason=\"" + reason + '"');
  }

  boost::asio::io_context io_{1};
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_ = boost::asio::make_work_guard(io_);
  MetricsRegistry metrics_;
  std::unique_ptr<AdminServer> server_;
  boost::asio::ip::tcp::endpoint endpoint_;
  std::thread thread_;
  int drains_ = 0;
};

TEST_F(AdminServerTest, BuiltIns) {
  start();
  EXPECT_THAT(get("/metrics"), HasSubstr("Content-Type: text/plain; version=0.0.4"));
  EXPECT_THAT(get("/metrics"), HasSubstr("\nsuture_admin_requests_total{code=\"2xx\"} 1\n"));
  EXPECT_THAT(get("/healthz"), EndsWith("\r\n\r\nok\n"));
  EXPECT_THAT(get("/"), HasSubstr("\nPOST /drain\n"));
  EXPECT_THAT(get("/sessions?limit=7"), EndsWith("{\"limit\":\"7\"}"));
}

TEST_F(AdminServerTest, Readiness) {
  start();
  const cli::HealthCheck healthcheck{endpoint_};
  EXPECT_THAT(get("/readyz"), StartsWith("HTTP/1.1 503"));
  EXPECT_EQ(cli::execute(healthcheck), 1);
  on_server([this] {
    server_->set_readiness([] { return std::vector<std::string>{"draining", "application down"}; });
  });
  EXPECT_THAT(get("/readyz"), EndsWith("\r\n\r\ndraining\napplication down\n"));
  on_server([this] { server_->set_readiness([] { return std::vector<std::string>{}; }); });
  EXPECT_THAT(get("/readyz"), StartsWith("HTTP/1.1 200"));
  EXPECT_EQ(cli::execute(healthcheck), 0);
}

TEST_F(AdminServerTest, MethodsAndPaths) {
  start();
  EXPECT_THAT(get("/nothing"), StartsWith("HTTP/1.1 404"));
  const auto wrong = get("/drain");
  EXPECT_THAT(wrong, StartsWith("HTTP/1.1 405"));
  EXPECT_THAT(wrong, HasSubstr("\r\nAllow: POST\r\n"));
  EXPECT_EQ(drains_, 0);
  EXPECT_THAT(ask("POST /metrics HTTP/1.0\r\nContent-Length: 0\r\n\r\n"), HasSubstr("\r\nAllow: GET, HEAD\r\n"));
  EXPECT_THAT(ask("BREW /metrics HTTP/1.0\r\n\r\n"), StartsWith("HTTP/1.1 405"));
  EXPECT_THAT(ask("POST /drain HTTP/1.0\r\nContent-Length: 0\r\n\r\n"), StartsWith("HTTP/1.1 200"));
  EXPECT_EQ(drains_, 1);
  const auto head = ask("HEAD /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  EXPECT_THAT(head, HasSubstr("\r\nContent-Length: 3\r\n"));
  EXPECT_THAT(head, EndsWith("\r\n\r\n"));
}

TEST_F(AdminServerTest, WebPagesChangeNothing) {
  start();
  EXPECT_THAT(ask("POST /drain HTTP/1.0\r\nOrigin: http://evil.example\r\nContent-Length: 0\r\n\r\n"),
              StartsWith("HTTP/1.1 403"));
  EXPECT_EQ(drains_, 0);
  EXPECT_EQ(refused("origin"), 1);
}

TEST_F(AdminServerTest, LogLevel) {
  start();
  EXPECT_THAT(ask("POST /loglevel?level=warn HTTP/1.0\r\nContent-Length: 0\r\n\r\n"), EndsWith("log level warn\n"));
  EXPECT_THAT(ask("POST /loglevel HTTP/1.0\r\nContent-Length: 5\r\n\r\ninfo\n"), EndsWith("log level info\n"));
  EXPECT_THAT(ask("POST /loglevel HTTP/1.0\r\nContent-Length: 4\r\n\r\nloud"), StartsWith("HTTP/1.1 400"));
}

TEST_F(AdminServerTest, KeepAliveAndPipelining) {
  start();
  Client client(endpoint_);
  const std::string request = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
  client.send(request);
  EXPECT_THAT(client.until("ok\n"), StartsWith("HTTP/1.1 200"));
  client.send(request + request);
  EXPECT_THAT(client.until("ok\n"), StartsWith("HTTP/1.1 200"));
  EXPECT_THAT(client.until("ok\n"), StartsWith("HTTP/1.1 200"));
  // HEAD leaves no body behind that the next response would be mistaken for.
  client.send("HEAD /healthz HTTP/1.1\r\nHost: x\r\n\r\n" + request);
  EXPECT_THAT(client.until("\r\n\r\n"), HasSubstr("Content-Length: 3"));
  EXPECT_THAT(client.until("ok\n"), StartsWith("HTTP/1.1 200"));
}

TEST_F(AdminServerTest, Garbage) {
  start();
  const std::vector<std::string> rows = {
      {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11},
      "hello\r\n\r\n",
      "GET / HTTP/9.9\r\n\r\n",
      "GET  / HTTP/1.1\r\n\r\n",
      "GET / HTTP/1.1\r\nbad header\r\n\r\n",
      "POST /drain HTTP/1.1\r\nContent-Length: x\r\n\r\n",
      "GET http://x/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
      "GET /%zz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
  };
  for (const auto& junk : rows) {
    SCOPED_TRACE(junk);
    const auto before = refused("malformed");
    EXPECT_THAT(ask(junk), StartsWith("HTTP/1.1 400"));
    EXPECT_EQ(refused("malformed"), before + 1);
  }
  EXPECT_EQ(drains_, 0);
  EXPECT_THAT(get("/healthz"), StartsWith("HTTP/1.1 200"));
}

TEST_F(AdminServerTest, Oversized) {
  start();
  EXPECT_THAT(ask("GET / HTTP/1.1\r\nX: " + std::string(200'000, 'x')), StartsWith("HTTP/1.1 431"));
  EXPECT_THAT(ask("GET /" + std::string(200'000, 'x')), StartsWith("HTTP/1.1 431"));
  EXPECT_THAT(ask("POST /loglevel HTTP/1.1\r\nContent-Length: 100000\r\n\r\n" + std::string(100'000, 'x')),
              StartsWith("HTTP/1.1 413"));
  std::string chunked = "POST /loglevel HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
  for (int i = 0; i < 100; ++i) chunked += "64\r\n" + std::string(100, 'x') + "\r\n";
  EXPECT_THAT(ask(chunked), StartsWith("HTTP/1.1 413"));
  EXPECT_EQ(refused("too_large"), 4);
  EXPECT_THAT(get("/healthz"), StartsWith("HTTP/1.1 200"));
}

TEST_F(AdminServerTest, ASlowClientIsCutOff) {
  Options options;
  options.request_timeout = Millis(50);
  start(options);
  EXPECT_EQ(ask("GET /healthz HT"), "");  // closed, and not by our ten seconds
  // The counter moves a moment after the socket is closed.
  const auto deadline = Clock::now() + std::chrono::seconds(10);
  while (refused("timeout") != 1 && Clock::now() < deadline) std::this_thread::yield();
  EXPECT_EQ(refused("timeout"), 1);
}

TEST_F(AdminServerTest, AnIdleClientIsClosedSilently) {
  Options options;
  options.idle_timeout = Millis(50);
  start(options);
  EXPECT_EQ(Client(endpoint_).rest(), "");
}

TEST_F(AdminServerTest, ConnectionsAreBounded) {
  Options options;
  options.connections_max = 2;
  start(options);
  Client one(endpoint_), two(endpoint_);
  for (auto* client : {&one, &two}) {
    client->send("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
    client->until("ok\n");
  }
  EXPECT_THAT(Client(endpoint_).rest(), StartsWith("HTTP/1.1 503"));
  EXPECT_EQ(refused("connections"), 1);
  one.send("GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  EXPECT_THAT(one.until("ok\n"), StartsWith("HTTP/1.1 200"));  // the two are still served
}

TEST_F(AdminServerTest, PortInUse) {
  start();
  AdminServer second(io_, metrics_);
  const auto listening = second.listen(endpoint_);
  ASSERT_FALSE(listening);
  EXPECT_THAT(listening.error().message, HasSubstr("cannot listen on admin.listen 127.0.0.1:"));
  EXPECT_THAT(listening.error().message, HasSubstr("another process holds the port"));
}

TEST_F(AdminServerTest, StopClosesConnections) {
  start();
  Client client(endpoint_);
  client.send("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
  client.until("ok\n");
  on_server([this] { server_->stop(); });
  EXPECT_THAT(client.rest(), Not(HasSubstr("(timeout)")));
  EXPECT_EQ(cli::execute(cli::HealthCheck{endpoint_}), 1);  // nobody listens any more
}

}  // namespace
}  // namespace suture::admin
