// What the admin server and its connections share. Internal to proxy/admin.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <set>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/tcp_stream.hpp>

#include <proxy/admin/admin_server.hpp>

namespace suture::admin {

enum class Refusal : std::uint8_t { connections, malformed, too_large, timeout, origin, count };

struct AdminServer::State : std::enable_shared_from_this<State> {
  using Stream = boost::beast::tcp_stream;

  State(boost::asio::io_context& context, const MetricsRegistry& registry, Options o)
      : io(context), metrics(registry), options(o), acceptor(context), pause(context) {}

  boost::asio::io_context& io;
  const MetricsRegistry& metrics;
  Options options;
  Router router;
  std::function<std::vector<std::string>()> blockers;
  boost::asio::ip::tcp::acceptor acceptor;
  boost::asio::steady_timer pause;  // of accept after an error such as EMFILE
  std::set<Stream*> streams;        // open connections, each owned by its coroutine
  bool stopped = false;

  Counter requests_2xx, requests_4xx, requests_5xx;
  Gauge active;
  std::array<Counter, static_cast<std::size_t>(Refusal::count)> refused;

  void refuse(Refusal why) { refused[static_cast<std::size_t>(why)].add(); }
  void count(unsigned status) { (status < 400 ? requests_2xx : status < 500 ? requests_4xx : requests_5xx).add(); }

  static boost::asio::awaitable<void> accept_loop(std::shared_ptr<State> state);
  static boost::asio::awaitable<void> serve(std::shared_ptr<State> state, boost::asio::ip::tcp::socket socket);
};

}  // namespace suture::admin
