// State sync over real gRPC with mutual TLS on loopback: nodes on 127.0.0.<id>, ports chosen by the kernel.
#include <memory>
#include <string>

#include <boost/asio/connect.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/write.hpp>

#include <statesync/grpc_link.hpp>
#include <statesync/service.hpp>

#include "support.hpp"
#include "tcp_relay.hpp"
#include "test_pki.hpp"

namespace suture::statesync::test {
namespace {

using boost::asio::ip::tcp;

boost::asio::ip::address loopback(unsigned id) {
  return boost::asio::ip::make_address("127.0.0." + std::to_string(id));
}

std::uint16_t free_port() {
  boost::asio::io_context io;
  const tcp::acceptor probe(io, tcp::endpoint(loopback(1), 0));
  return probe.local_endpoint().port();
}

// The two ends of a test: plain transports, so that each message is seen.
class GrpcLink : public ::testing::Test {
 protected:
  boost::asio::io_context io;
  TempDir dir;
  KeyPair ca = make_ca("test CA");
  std::string ca_file = dir.write("ca.pem", ca.cert);
  tcp::endpoint server_address{loopback(1), free_port()};

  GrpcOptions options(unsigned id, const KeyPair& pair, const std::string& ca_path) {
    static int n = 0;
    const auto base = std::to_string(++n);
    return {NodeId{static_cast<std::uint8_t>(id)}, tcp::endpoint(loopback(id), id == 1 ? server_address.port() : 0),
            dir.write(base + ".pem", pair.cert), dir.write(base + ".key", pair.key), ca_path};
  }
  KeyPair certificate(unsigned id) {
    const auto number = std::to_string(id);
    return make_certificate(
        ca, {.name = "n" + number, .uri = "suture://node/" + number, .more_names = ",DNS:suture-node-" + number});
  }

  struct Server {
    std::unique_ptr<PeerTransport> transport;
    std::vector<std::unique_ptr<InboundStream>> streams;
    std::vector<ToReceiver> received;
    std::vector<LinkError> refused, closed;
    ~Server() {
      streams.clear();
      if (transport) transport->stop();
    }
  };
  Result<void> serve(Server& server, const GrpcOptions& opts) {
    server.transport = make_grpc_transport(opts, io);
    PeerTransport::Events events;
    events.on_inbound = [&server](std::unique_ptr<InboundStream> stream) {
      stream->set_handler({[&server](ToReceiver&& m) { server.received.push_back(std::move(m)); },
                           [&server](const LinkError& e) { server.closed.push_back(e); }});
      server.streams.push_back(std::move(stream));
    };
    events.on_refused = [&server](const std::string&, const LinkError& e) { server.refused.push_back(e); };
    return server.transport->start(std::move(events));
  }
  struct Client {
    std::unique_ptr<PeerTransport> transport;
    std::unique_ptr<OutboundStream> stream;
    std::vector<ToSender> received;
    std::vector<LinkError> closed;
    ~Client() {
      stream.reset();
      if (transport) transport->stop();
    }
  };
  void dial(
      Client& client, const GrpcOptions& opts, NodeId peer = kA, std::function<void()> on_written = [] {}) {
    client.transport = make_grpc_transport(opts, io);
    client.stream =
        client.transport->dial(peer, server_address,
                               {[&client](ToSender&& m) { client.received.push_back(std::move(m)); },
                                [&client](const LinkError& e) { client.closed.push_back(e); }, std::move(on_written)});
    client.stream->send(
        Hello{.node = kB, .name = "b", .incarnation = 7, .liveness_key = {1}, .liveness_endpoint = "x"});
  }
};

TEST_F(GrpcLink, carries_messages_both_ways_with_the_proven_identity) {
  Server server;
  ASSERT_TRUE(serve(server, options(1, certificate(1), ca_file)));
  Client client;
  dial(client, options(2, certificate(2), ca_file));
  ASSERT_TRUE(run_until(io, [&] { return !server.received.empty(); }));
  EXPECT_EQ(server.streams[0]->identity(), kB);
  EXPECT_EQ(std::get<Hello>(server.received[0]).incarnation, 7u);
  server.streams[0]->send(HelloAck{.node = kA, .name = "a", .incarnation = 9, .liveness_key = {2}, .resume_from = 5});
  Batch batch{1, {}};
  for (std::uint16_t port = 1; port <= 200; ++port) batch.changes.emplace_back(record(port, kB));
  client.stream->send(batch);
  ASSERT_TRUE(run_until(io, [&] { return server.received.size() == 2 && client.received.size() == 1; }));
  EXPECT_EQ(std::get<HelloAck>(client.received[0]).resume_from, 5u);
  EXPECT_EQ(std::get<Batch>(server.received[1]).changes.size(), 200u);
  EXPECT_TRUE(client.closed.empty());
}

TEST_F(GrpcLink, tells_when_nothing_waits_to_be_written) {
  Server server;
  ASSERT_TRUE(serve(server, options(1, certificate(1), ca_file)));
  int written = 0;
  Client client;
  dial(client, options(2, certificate(2), ca_file), kA, [&written] { ++written; });
  ASSERT_TRUE(run_until(io, [&] { return server.received.size() == 1; }));
  constexpr std::size_t kBatches = 50;
  Batch batch{0, {}};
  for (std::uint16_t port = 1; port <= 200; ++port) batch.changes.emplace_back(record(port, kB));
  bool waited = false;
  for (batch.seq = 1; batch.seq <= kBatches; ++batch.seq) {
    client.stream->send(batch);
    waited = waited || !client.stream->all_written();
  }
  EXPECT_TRUE(waited) << "the second at the latest waits for the first";
  ASSERT_TRUE(run_until(io, [&] { return client.stream->all_written(); }));
  ASSERT_TRUE(run_until(io, [&] { return server.received.size() == 1 + kBatches; }));
  EXPECT_GE(written, 1);
}

TEST_F(GrpcLink, refusal_reaches_the_dialer_before_the_stream_closes) {
  Server server;
  ASSERT_TRUE(serve(server, options(1, certificate(1), ca_file)));
  Client client;
  dial(client, options(2, certificate(2), ca_file));
  ASSERT_TRUE(run_until(io, [&] { return !server.streams.empty(); }));
  server.streams[0]->refuse(Refusal::duplicate_id, "two of you");
  server.streams.clear();
  ASSERT_TRUE(run_until(io, [&] { return !client.closed.empty(); }));
  ASSERT_EQ(client.received.size(), 1u);
  EXPECT_EQ(std::get<Refused>(client.received[0]).reason, Refusal::duplicate_id);
  EXPECT_EQ(std::get<Refused>(client.received[0]).text, "two of you");
}

TEST_F(GrpcLink, wrong_ca_is_told_on_both_sides) {
  Server server;
  ASSERT_TRUE(serve(server, options(1, certificate(1), ca_file)));
  const auto other = make_ca("other CA");
  const auto pair = make_certificate(other, {.name = "evil", .uri = "suture://node/2"});
  Client client;
  dial(client, options(2, pair, dir.write("other.pem", other.cert)));
  ASSERT_TRUE(run_until(io, [&] { return !client.closed.empty(); }));
  EXPECT_EQ(client.closed[0].reason, Refusal::wrong_ca) << client.closed[0].text;
  // With the right CA on its own side it gets as far as the server's check.
  Client trusting;
  dial(trusting, options(2, pair, ca_file));
  ASSERT_TRUE(run_until(io, [&] { return !server.refused.empty() && !trusting.closed.empty(); }));
  EXPECT_EQ(server.refused.back().reason, Refusal::wrong_ca);
  EXPECT_EQ(trusting.closed[0].reason, Refusal::connect);
  EXPECT_TRUE(trusting.closed[0].answered) << "there is somebody, whatever gRPC's words are";
  EXPECT_TRUE(server.streams.empty());
}

TEST_F(GrpcLink, expired_certificate_is_refused_with_its_reason) {
  Server server;
  ASSERT_TRUE(serve(server, options(1, certificate(1), ca_file)));
  Client client;
  dial(client,
       options(2, make_certificate(ca, {.name = "old", .uri = "suture://node/2", .not_after_s = -60}), ca_file));
  ASSERT_TRUE(run_until(io, [&] { return !server.refused.empty() && !client.closed.empty(); }));
  EXPECT_EQ(server.refused[0].reason, Refusal::expired);
  EXPECT_NE(server.refused[0].text.find("old"), std::string::npos) << server.refused[0].text;
  EXPECT_TRUE(server.streams.empty());
}

TEST_F(GrpcLink, server_of_another_id_is_not_accepted) {
  Server server;
  ASSERT_TRUE(serve(server, options(1, certificate(1), ca_file)));
  Client client;
  dial(client, options(2, certificate(2), ca_file), kC);  // we want node 3 there
  ASSERT_TRUE(run_until(io, [&] { return !client.closed.empty(); }));
  EXPECT_EQ(client.closed[0].reason, Refusal::wrong_certificate) << client.closed[0].text;
  EXPECT_TRUE(server.received.empty());
}

TEST_F(GrpcLink, own_certificate_is_checked_at_start) {
  const auto error_of = [&](const KeyPair& pair) {
    Server server;
    const auto started = serve(server, options(1, pair, ca_file));
    return started ? std::string("started") : started.error().message;
  };
  EXPECT_NE(error_of(certificate(2)).find("certificate of node 2, this is node 1"), std::string::npos);
  EXPECT_NE(error_of(make_certificate(ca, {.uri = "suture://node/1", .not_after_s = -1})).find("expired"),
            std::string::npos);
  Server taken, second;
  ASSERT_TRUE(serve(taken, options(1, certificate(1), ca_file)));
  EXPECT_NE(serve(second, options(1, certificate(1), ca_file)).error().message.find("port in use"), std::string::npos);
  auto missing = options(1, certificate(1), ca_file);
  missing.key_file += ".gone";
  Server none;
  EXPECT_NE(serve(none, missing).error().message.find(".gone"), std::string::npos);
}

TEST_F(GrpcLink, garbage_on_the_port_hurts_nobody) {
  Server server;
  ASSERT_TRUE(serve(server, options(1, certificate(1), ca_file)));
  boost::asio::io_context other;
  for (const std::string& junk : {std::string("GET / HTTP/1.1\r\n\r\n"), std::string(20000, '\xff'),
                                  std::string("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11)}) {
    tcp::socket socket(other);
    socket.connect(server_address);
    boost::system::error_code ignored;
    boost::asio::write(socket, boost::asio::buffer(junk), ignored);
  }
  Client client;
  dial(client, options(2, certificate(2), ca_file));
  EXPECT_TRUE(run_until(io, [&] { return !server.received.empty(); }));
}

TEST_F(GrpcLink, nobody_there_is_a_clean_error) {
  Client client;
  dial(client, options(2, certificate(2), ca_file));
  ASSERT_TRUE(run_until(io, [&] { return !client.closed.empty(); }));
  EXPECT_EQ(client.closed[0].reason, Refusal::connect);
  EXPECT_FALSE(client.closed[0].answered);
}

// Two whole services
// ---------------------------------------------------------------------------------------------------

class GrpcCluster : public GrpcLink {
 protected:
  struct Node {
    FakeOwnerMap map;
    SlotClock clock;
    std::unique_ptr<StateSync> sync;
  };
  std::uint16_t sync_port = free_port();
  std::uint16_t udp_port = free_port();

  // `through`: the way to the peer's statesync port, if not the direct one.
  std::unique_ptr<Node> start(unsigned id, Incarnation incarnation, std::optional<tcp::endpoint> through = {}) {
    auto node = std::make_unique<Node>();
    Options opts;
    opts.id = NodeId{static_cast<std::uint8_t>(id)};
    opts.name = "n" + std::to_string(id);
    opts.incarnation = incarnation;
    opts.underlay4 = loopback(id);
    opts.liveness_port = udp_port;
    opts.liveness_multiplier = 20;  // sanitizers are slow
    const unsigned other = 3 - id;
    opts.peers.push_back({NodeId{static_cast<std::uint8_t>(other)}, "n" + std::to_string(other), loopback(other),
                          through.value_or(tcp::endpoint(loopback(other), sync_port))});
    GrpcOptions grpc = options(id, certificate(id), ca_file);
    grpc.listen = {loopback(id), sync_port};
    node->sync = std::make_unique<StateSync>(opts, make_grpc_transport(grpc, io), node->map, node->clock, io);
    const auto started = node->sync->start();
    EXPECT_TRUE(started) << started.error().message;
    return node;
  }
  static double metric(const Node& node, const std::string& name, const std::string& labels) {
    MetricsRegistry registry;
    node.sync->register_metrics(registry);
    for (const auto& family : registry.collect()) {
      if (family.name != name) continue;
      for (const auto& sample : family.samples) {
        if (sample.labels == labels) return sample.value;
      }
    }
    return -1;
  }
};

TEST_F(GrpcCluster, records_reach_the_peer_also_after_it_was_away) {
  auto a = start(1, 10);
  auto b = start(2, 10);
  ASSERT_TRUE(run_until(io, [&] { return a->sync->synchronised() && b->sync->synchronised(); }));
  ASSERT_TRUE(a->sync->sink(0).upsert(record(5, kA)));
  ASSERT_TRUE(run_until(io, [&] { return b->map.at(5).has_value(); }));
  EXPECT_EQ(*b->map.at(5), std::pair(1u, 10u));

  b.reset();  // stops
  ASSERT_TRUE(run_until(io, [&] { return !a->sync->peer(kB)->alive && !a->sync->peer(kB)->sending; }));
  ASSERT_TRUE(a->sync->sink(0).upsert(record(6, kA)));
  ASSERT_TRUE(a->sync->sink(0).erase(key(5), 1));
  b = start(2, 11);
  ASSERT_TRUE(run_until(io, [&] { return b->map.at(6).has_value() && a->sync->peer(kB)->alive; }));
  EXPECT_FALSE(b->map.at(5));
  ASSERT_TRUE(run_until(io, [&] { return b->sync->synchronised() && a->sync->may_reset(); }));
}

TEST_F(GrpcCluster, a_cut_tcp_connection_resumes_without_a_snapshot) {
  TcpRelay relay(io, {loopback(1), 0}, {loopback(2), sync_port});
  auto a = start(1, 10, relay.address());
  auto b = start(2, 10);
  ASSERT_TRUE(run_until(io, [&] { return a->sync->synchronised() && b->sync->synchronised(); }));
  ASSERT_TRUE(a->sync->sink(0).upsert(record(5, kA)));
  ASSERT_TRUE(a->sync->sink(0).upsert(record(6, kA)));
  ASSERT_TRUE(run_until(io, [&] { return b->map.at(5) && b->map.at(6); }));
  const std::string of_b = "peer=\"2\"";
  const double snapshots = metric(*a, "suture_replication_snapshots_total", of_b);
  ASSERT_GE(snapshots, 1);
  ASSERT_EQ(relay.accepted(), 1u) << "one connection, through the relay";

  relay.cut();
  ASSERT_TRUE(run_until(io, [&] { return !a->sync->peer(kB)->sending && !b->sync->peer(kA)->receiving; }));
  EXPECT_TRUE(b->sync->peer(kA)->alive) << "a stream is not a life";
  ASSERT_TRUE(a->sync->sink(0).upsert(record(7, kA)));
  ASSERT_TRUE(a->sync->sink(0).erase(key(5), 1));
  ASSERT_TRUE(run_until(io, [&] { return a->sync->peer(kB)->queue == 2; }));
  EXPECT_FALSE(a->sync->flushed());
  EXPECT_FALSE(b->map.at(7));
  EXPECT_TRUE(b->map.at(5)) << "the records stay";
  relay.mend();
  ASSERT_TRUE(run_until(io, [&] { return a->sync->flushed(); }));
  EXPECT_TRUE(b->map.at(7) && b->map.at(6));
  EXPECT_FALSE(b->map.at(5));
  EXPECT_EQ(metric(*a, "suture_replication_snapshots_total", of_b), snapshots);
  EXPECT_EQ(metric(*a, "suture_replication_resumes_total", of_b), 1);
}

}  // namespace
}  // namespace suture::statesync::test
