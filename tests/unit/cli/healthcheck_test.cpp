// suture healthcheck against a server of one answer: what an orchestrator gets as exit status and is told.
#include <string>
#include <thread>

#include <gtest/gtest.h>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/write.hpp>

#include <proxy/cli/cli.hpp>

namespace suture::cli {
namespace {

namespace asio = boost::asio;

// Accepts once, remembers the request's first line, says `answer` and closes.
class OneAnswer {
 public:
  explicit OneAnswer(std::string answer)
      : acceptor_(io_, {asio::ip::address_v4::loopback(), 0}),
        thread_([this, text = std::move(answer)] { serve(text); }) {}
  ~OneAnswer() {
    if (thread_.joinable()) thread_.join();
  }
  OneAnswer(const OneAnswer&) = delete;
  OneAnswer& operator=(const OneAnswer&) = delete;

  asio::ip::tcp::endpoint at() const { return acceptor_.local_endpoint(); }
  std::string request() {
    thread_.join();
    return request_;
  }

 private:
  void serve(const std::string& answer) {
    auto socket = acceptor_.accept();
    std::string head;
    asio::read_until(socket, asio::dynamic_buffer(head), "\r\n\r\n");
    request_ = head.substr(0, head.find("\r\n"));
    boost::system::error_code ignored;
    asio::write(socket, asio::buffer(answer), ignored);
  }

  asio::io_context io_;
  asio::ip::tcp::acceptor acceptor_;
  std::string request_;
  std::thread thread_;
};

TEST(HealthCheck, ReadyIs0) {
  OneAnswer server("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nready\n");
  EXPECT_EQ(execute(HealthCheck{server.at()}), 0);
  EXPECT_EQ(server.request(), "GET /readyz HTTP/1.0");
}

TEST(HealthCheck, NotReadyIs1AndSaysWhy) {
  OneAnswer server("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 9\r\n\r\ndraining\n");
  testing::internal::CaptureStderr();
  EXPECT_EQ(execute(HealthCheck{server.at()}), 1);
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "suture: not ready: draining\n");
}

TEST(HealthCheck, WhetherItLivesIsAnotherQuestion) {
  OneAnswer server("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n");
  EXPECT_EQ(execute(HealthCheck{server.at(), true}), 0);
  EXPECT_EQ(server.request(), "GET /healthz HTTP/1.0");
  OneAnswer other("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 6\r\n\r\nstuck\n");
  testing::internal::CaptureStderr();
  EXPECT_EQ(execute(HealthCheck{other.at(), true}), 1);
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "suture: not alive: stuck\n");
}

TEST(HealthCheck, SomethingElseOnThePortIs1) {
  OneAnswer server("+OK 200 POP3 server ready\r\n");
  EXPECT_EQ(execute(HealthCheck{server.at()}), 1);
}

TEST(HealthCheck, NobodyThereIs1) {
  asio::io_context io;
  asio::ip::tcp::endpoint gone;
  {
    const asio::ip::tcp::acceptor acceptor(io, {asio::ip::address_v4::loopback(), 0});
    gone = acceptor.local_endpoint();
  }
  testing::internal::CaptureStderr();
  EXPECT_EQ(execute(HealthCheck{gone}), 1);
  EXPECT_NE(testing::internal::GetCapturedStderr().find("cannot connect"), std::string::npos);
}

}  // namespace
}  // namespace suture::cli
