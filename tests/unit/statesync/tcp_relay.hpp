// A TCP relay between two nodes of a test, on the test's own io_context: the path whose connections can be cut.
#pragma once

#include <array>
#include <memory>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/write.hpp>

namespace suture::statesync::test {

class TcpRelay {
 public:
  using Tcp = boost::asio::ip::tcp;
  TcpRelay(boost::asio::io_context& io, const Tcp::endpoint& listen, Tcp::endpoint target)
      : acceptor_(io, listen), target_(std::move(target)) {
    accept();
  }
  ~TcpRelay() { cut(); }

  Tcp::endpoint address() const { return acceptor_.local_endpoint(); }
  std::size_t accepted() const { return accepted_; }
  // RST to both ends of every connection; new ones fare likewise until mend().
  void cut() {
    open_ = false;
    for (const auto& weak : pairs_) {
      if (const auto pair = weak.lock()) pair->reset();
    }
    pairs_.clear();
  }
  void mend() { open_ = true; }

 private:
  struct Pair : std::enable_shared_from_this<Pair> {
    explicit Pair(Tcp::socket socket) : a(std::move(socket)), b(a.get_executor()) {}
    void pump(Tcp::socket& from, Tcp::socket& to, std::array<char, 16384>& buffer) {
      from.async_read_some(boost::asio::buffer(buffer),
                           [self = shared_from_this(), this, &from, &to, &buffer](auto error, auto size) {
                             if (error) return reset();
                             boost::asio::async_write(to, boost::asio::buffer(buffer, size),
                                                      [self, this, &from, &to, &buffer](auto failed, auto) {
                                                        if (failed) return reset();
                                                        pump(from, to, buffer);
                                                      });
                           });
    }
    void reset() {
      for (auto* socket : {&a, &b}) {
        boost::system::error_code ignored;
        socket->set_option(boost::asio::socket_base::linger(true, 0), ignored);
        socket->close(ignored);
      }
    }
    Tcp::socket a, b;
    std::array<char, 16384> up{}, down{};
  };

  void accept() {
    acceptor_.async_accept([this](auto error, Tcp::socket socket) {
      if (error) return;
      auto pair = std::make_shared<Pair>(std::move(socket));
      if (open_) {
        ++accepted_;
        pairs_.push_back(pair);
        pair->b.async_connect(target_, [pair](auto failed) {
          if (failed) return pair->reset();
          pair->pump(pair->a, pair->b, pair->up);
          pair->pump(pair->b, pair->a, pair->down);
        });
      } else {
        pair->reset();
      }
      accept();
    });
  }

  Tcp::acceptor acceptor_;
  Tcp::endpoint target_;
  std::vector<std::weak_ptr<Pair>> pairs_;
  std::size_t accepted_ = 0;
  bool open_ = true;
};

}  // namespace suture::statesync::test
