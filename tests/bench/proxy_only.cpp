// One worker of the proxy alone, without datapath, state sync and privileges: what its own code costs.
//   bench_proxy_only PORT http|tcp UPSTREAM_PORT
#include <csignal>
#include <cstdlib>
#include <iostream>
#include <string>

#include <proxy/client/worker.hpp>

namespace {

class NoSink final : public suture::RecordSink {
 public:
  bool upsert(const suture::SessionRecord& record) override {
    last_ = record;
    return true;
  }
  bool erase(const suture_flow_key&, std::uint64_t) override { return true; }

 private:
  suture::SessionRecord last_;
};

class NoHook final : public suture::AcceptHook {
 public:
  suture::Result<suture::ConnFacts> on_accept(int) override { return suture::Error{"no kernel facts here", 0}; }
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::cerr << "usage: bench_proxy_only PORT http|tcp UPSTREAM_PORT\n";
    return 2;
  }
  suture::log::configure(suture::log::Level::error, suture::log::Format::text, "bench");
  suture::WorkerOptions options;
  const auto loopback = boost::asio::ip::make_address("127.0.0.1");
  options.vips = {loopback};
  suture::config::Listener listener;
  listener.port = static_cast<std::uint16_t>(std::atoi(argv[1]));
  listener.mode = std::string(argv[2]) == "tcp" ? suture::SessionMode::tcp : suture::SessionMode::http;
  listener.default_route().upstreams = {
      suture::config::TcpEndpoint(loopback, static_cast<std::uint16_t>(std::atoi(argv[3])))};
  options.listeners = {listener};
  options.node_name = "bench";
  NoSink sink;
  NoHook hook;
  suture::Worker worker(options, sink, hook);
  if (auto opened = worker.open(); !opened) {
    std::cerr << opened.error().message << '\n';
    return 1;
  }
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  worker.start();
  int received = 0;
  sigwait(&signals, &received);
  worker.stop();
}
