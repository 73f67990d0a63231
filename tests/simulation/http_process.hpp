// A node's process in the HTTP mode: what proxy/client/worker.cpp is, without a thread and a clock of its own. One
// session at most, and the application of its PoP.
#pragma once

#include <memory>

#include <proxy/client/context.hpp>
#include <proxy/client/http_session.hpp>

#include "tests/simulation/http_application.hpp"
#include "tests/simulation/http_behind.hpp"

namespace suture::sim {

struct HttpProcessOptions {
  WorkerOptions own_options;
};

class HttpProcess final : private HttpProcessOptions, public WorkerContext, private RecordSink {
 public:
  HttpProcess(World& world, Node& node, std::size_t index, NodeId id, Incarnation incarnation);
  ~HttpProcess();
  HttpProcess(const HttpProcess&) = delete;
  HttpProcess& operator=(const HttpProcess&) = delete;

  void accept(int fd, const ConnFacts& facts);
  void adopt(const Adoption& adoption);
  Session* session() const { return session_.get(); }
  // Everything that is ready. `behind`: of the present socket, if there is one.
  void turn(HttpBehind* behind);
  void sweep();  // every Session::kSweepInterval
  void check(Ledger& ledger) const;

 private:
  bool upsert(const SessionRecord& record) override;
  bool erase(const suture_flow_key& key, std::uint64_t session_id) override;
  void session_over(Session& session) override;
  void make(int fd, const ConnFacts& facts);
  TimePoint simulated() const;
  void tick();

  World& world_;
  Node& node_;
  std::unique_ptr<ListenerContext> listener_;
  std::unique_ptr<HttpApplication> application_;
  std::unique_ptr<Session> session_;
  bool turning_ = false, again_ = false;
  bool ticking_ = false;
  std::shared_ptr<int> alive_ = std::make_shared<int>();
};

}  // namespace suture::sim
