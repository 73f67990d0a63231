// Sessions as a healer hands them over. The "rebuilt" socket is the accepted end of an ordinary loopback connection;
// the offsets are the test's: what matters is that nothing below `received` or `cursor` is read or written again.
#pragma once

#include <fcntl.h>
#include <netinet/tcp.h>
#include <proxy/client/heal_reasons.hpp>
#include <proxy/client/replay_rule.hpp>

#include "proxy_fixture.hpp"

namespace suture::test {

struct Outcome {
  suture_flow_key key;
  ResumeRung rung;
  std::string reason;
};

class AdoptionTest : public ProxyTest {
 protected:
  static constexpr std::uint64_t kIn = 1000, kOut = 5000;  // where healed sessions stand in both streams

  AdoptionTest() {
    options.on_adopted = [this](const suture_flow_key& key, ResumeRung rung, const char* reason) {
      const std::lock_guard lock(outcomes_mutex);
      outcomes_.push_back({key, rung, reason});
    };
    listening_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in name{};
    name.sin_family = AF_INET;
    name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ::bind(listening_, reinterpret_cast<sockaddr*>(&name), sizeof name);
    ::listen(listening_, 64);
  }
  ~AdoptionTest() override {
    if (worker) worker->stop();
    ::close(listening_);
  }

  struct Flow {
    Peer client;
    int fd = -1;  // the worker's after adopt()
    suture_flow_key key{};
  };
  Flow flow(int receive_buffer = 0) {
    Flow f;
    sockaddr_in name{};
    socklen_t size = sizeof name;
    ::getsockname(listening_, reinterpret_cast<sockaddr*>(&name), &size);
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (receive_buffer) ::setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
    EXPECT_EQ(::connect(fd, reinterpret_cast<sockaddr*>(&name), size), 0) << strerror(errno);
    f.client = Peer(fd);
    config::TcpEndpoint from;
    socklen_t from_size = static_cast<socklen_t>(from.capacity());
    f.fd = ::accept4(listening_, from.data(), &from_size, SOCK_NONBLOCK | SOCK_CLOEXEC);
    EXPECT_GE(f.fd, 0);
    const int on = 1;
    ::setsockopt(f.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);  // as rebuilt sockets have it
    const auto loopback = boost::asio::ip::make_address("127.0.0.1");
    f.key = make_flow_key(from, {loopback, worker->bound_ports().front()});
    return f;
  }

  // Between exchanges, all acknowledged.
  static Adoption idle_at(const Flow& f) {
    Adoption a;
    a.fd = f.fd;
    a.record.facts.key = f.key;
    a.record.facts.iss = 77;
    a.record.owner = NodeId{7};
    a.record.incarnation = 42;
    a.record.epoch = 3;
    a.record.fenced = true;
    a.record.fence = 1234;
    a.record.mode = SessionMode::http;
    a.record.in_known = kIn;
    a.record.out_sent = a.record.out_acked = kOut;
    HttpState& http = a.record.http.emplace();
    http.exchanges = 4;
    http.request_start = kIn - 100;
    http.request_head_end = kIn;
    http.method = "GET";
    http.response_start = kOut - 100;
    http.response_head_end = kOut - 50;
    http.response_end = kOut;
    a.resume = {ResumeRung::idle, "", kOut, kIn, kIn, 0, false};
    return a;
  }
  // `head` was read, and nothing answered.
  static Adoption waiting_at(const Flow& f, const std::string& head) {
    Adoption a = idle_at(f);
    HttpState& http = *a.record.http;
    http.phase = HttpPhase::waiting;
    http.request_start = kIn - head.size();
    http.request_head = std::make_shared<const std::string>(head);
    http.method = head.substr(0, head.find(' '));
    http.replayable = is_idempotent(http.method);
    http.response_head_end = 0;
    a.resume.rung = ResumeRung::replay;
    return a;
  }
  // Of a body of 10 bytes the client has 4.
  static Adoption response_at(const Flow& f, const std::string& head) {
    Adoption a = waiting_at(f, head);
    HttpState& http = *a.record.http;
    http.phase = HttpPhase::response;
    http.response_start = kOut - 54;
    http.response_head_end = kOut - 4;
    http.response_end = kOut + 6;
    http.status = 200;
    http.response_framing = BodyFraming::length;
    http.response_length = 10;
    http.etag = "\"e\"";
    a.resume.rung = ResumeRung::range;
    return a;
  }
  void adopt(const Adoption& a) { ASSERT_TRUE(worker->adopt(a)); }

  std::vector<Outcome> outcomes() const {
    const std::lock_guard lock(outcomes_mutex);
    return outcomes_;
  }
  // The one outcome so far, waited for.
  Outcome outcome() {
    EXPECT_TRUE(eventually([&] { return !outcomes().empty(); }));
    EXPECT_EQ(outcomes().size(), 1U);
    return outcomes().empty() ? Outcome{} : outcomes().front();
  }
  void expect_outcome(ResumeRung rung, const std::string& reason = "") {
    const Outcome got = outcome();
    EXPECT_EQ(to_label(got.rung), to_label(rung));
    EXPECT_EQ(got.reason, reason);
    EXPECT_EQ(metric("suture_heals_total", "rung=\"" + std::string(to_label(rung)) + '"'), 1);
    if (reason.empty()) return;
    EXPECT_EQ(metric("suture_heal_failures_total", "reason=\"" + reason + '"'), 1);
  }
  // Everything that the control thread asked for before has been done.
  void barrier() {
    std::size_t before = outcomes().size();
    Flow f = flow();
    adopt(idle_at(f));
    ASSERT_TRUE(eventually([&] { return outcomes().size() > before; }));
    barriers.push_back(std::move(f.client));
  }
  // Nothing waits to be read, not even an end.
  static bool silent(const Peer& client) {
    char byte = 0;
    return ::recv(client.fd(), &byte, 1, MSG_DONTWAIT | MSG_PEEK) == -1 && errno == EAGAIN;
  }

  std::vector<Peer> barriers;

 private:
  int listening_ = -1;
  mutable std::mutex outcomes_mutex;
  std::vector<Outcome> outcomes_;
};

}  // namespace suture::test
