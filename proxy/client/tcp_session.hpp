// Mode tcp: the client's bytes to the application and back, with half-close, until both have closed.
#pragma once

#include <proxy/client/session.hpp>

namespace suture {

class TcpSession final : public Session {
 public:
  TcpSession(WorkerContext& worker, ListenerContext& listener, StreamSocket client, const ConnFacts& facts)
      : Session(worker, listener, std::move(client), facts, SessionMode::tcp) {}

  void start() override;

 private:
  void on_ready() override;
  void on_proxy_header() override;
  void on_upstream_connected() override;
  void on_connect_failed(int error) override;
  void on_deadline() override;
  void resume(const Resumption& resumption) override;
};

}  // namespace suture
