// What right values become.
#include <proxy/config/values.hpp>

#include "fixture.hpp"

namespace suture::config {
namespace {

class ValuesTest : public ConfigTest {};

TEST(Values, Endpoints) {
  const struct {
    const char* text;
    const char* wanted;  // null: refused
  } rows[] = {
      {"127.0.0.1:80", "127.0.0.1:80"}, {"[::1]:80", "[::1]:80"},  {"::1:80", nullptr},
      {"[127.0.0.1]:80", nullptr},      {"127.0.0.1:", nullptr},   {"127.0.0.1", nullptr},
      {"127.0.0.1:65536", nullptr},     {"127.0.0.1:-1", nullptr}, {"127.0.0.1:0x50", nullptr},
      {"[fe80::1%lo]:80", nullptr},     {"host:80", nullptr},      {":80", nullptr},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.text);
    const auto endpoint = parse_endpoint(row.text);
    ASSERT_EQ(endpoint.has_value(), row.wanted != nullptr);
    if (endpoint) {
      EXPECT_EQ(to_string(*endpoint), row.wanted);
    }
  }
}

TEST(Values, PrefixesAndWhatTheyCover) {
  const struct {
    const char* prefix;
    const char* address;
    bool covered;
  } rows[] = {
      {"10.0.0.0/8", "10.255.255.255", true},  {"10.0.0.0/8", "11.0.0.0", false},
      {"10.0.0.0/8", "9.255.255.255", false},  {"192.0.2.7", "192.0.2.7", true},
      {"192.0.2.7", "192.0.2.6", false},       {"192.0.2.128/25", "192.0.2.127", false},
      {"192.0.2.128/25", "192.0.2.128", true}, {"10.0.0.0/8", "::ffff:10.0.0.1", false},
      {"10.0.0.0/8", "a00::1", false},         {"fd00:5::/32", "fd00:5:ffff::1", true},
      {"fd00:5::/32", "fd00:6::", false},      {"2001:db8::1", "2001:db8::1", true},
      {"2001:db8::1", "2001:db8::", false},    {"2001:db8:8000::/33", "2001:db8:7fff::", false},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(std::string(row.prefix) + ' ' + row.address);
    const auto prefix = parse_prefix(row.prefix);
    ASSERT_TRUE(prefix);
    EXPECT_EQ(covers(*prefix, *parse_address(row.address)), row.covered);
  }
  for (const char* bad : {"", "/8", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/0x8", "::/129", "10.0.0/8"}) {
    EXPECT_FALSE(parse_prefix(bad)) << bad;
  }
  EXPECT_EQ(to_string(canonical(*parse_prefix("10.1.2.3/9"))), "10.0.0.0/9");
  EXPECT_EQ(to_string(canonical(*parse_prefix("2001:db8:ffff::1/34"))), "2001:db8:c000::/34");
}

TEST(Values, Numbers) {
  EXPECT_EQ(parse_unsigned("0x537500"), 0x537500U);
  EXPECT_EQ(parse_unsigned("18446744073709551615"), 18446744073709551615ULL);
  for (const char* bad : {"", "0x", " 1", "1 ", "+1", "-1", "1k", "18446744073709551616"}) {
    EXPECT_FALSE(parse_unsigned(bad).has_value()) << bad;
  }
}

TEST_F(ValuesTest, DefaultsAndDerived) {
  const auto loaded = load_text(std::string(base) + "health: {type: tcp}\n", "s.yaml");
  ASSERT_TRUE(loaded.config.has_value());
  const auto& c = *loaded.config;
  EXPECT_EQ(c.node.name, "pop1");
  EXPECT_EQ(c.peers[0].name, "pop2");
  EXPECT_EQ(c.health.host, "pop1");
  EXPECT_EQ(to_string(c.health.target), "127.0.0.1:8080");
  EXPECT_EQ(c.health.proxy_protocol, ProxyProtocol::off);
  EXPECT_EQ(to_string(c.admin.listen), "127.0.0.1:9180");
  EXPECT_EQ(c.statesync.cert_file, dir() + "/pop1.pem");
  EXPECT_EQ(c.datapath.vni_base, 0x537500U);
}

TEST_F(ValuesTest, EnvironmentVariables) {
  ::setenv("SUTURE_TEST_PORT", "8443", 1);
  ::setenv("SUTURE_TEST_EMPTY", "", 1);
  auto text = with(base, "port: 80\n", "port: ${SUTURE_TEST_PORT}\n");
  text = with(text, "  id: 1\n",
              "  id: ${SUTURE_TEST_UNSET:-1}\n  name: a$${b}${SUTURE_TEST_EMPTY:-c}${SUTURE_TEST_EMPTY}\n");
  const auto loaded = load_text(text, "s.yaml");
  ::unsetenv("SUTURE_TEST_PORT");
  ::unsetenv("SUTURE_TEST_EMPTY");
  ASSERT_TRUE(loaded.config.has_value()) << to_string(loaded.mistakes.at(0));
  EXPECT_EQ(loaded.config->listeners[0].port, 8443);
  EXPECT_EQ(loaded.config->node.name, "a${b}c");
}

TEST_F(ValuesTest, ProxyProtocol) {
  const auto without = load_text(base, "s.yaml");
  ASSERT_TRUE(without.config);
  EXPECT_TRUE(without.config->listeners[0].proxy_protocol_from.empty());
  EXPECT_EQ(without.config->listeners[0].upstream_proxy_protocol, ProxyProtocol::off);
  const auto loaded = load_text(with(base, "8080\n",
                                     "8080\n    proxy_protocol: {accept_from: [10.0.0.0/8, \"fd00:5::7\"]}\n"
                                     "    upstream_proxy_protocol: v2\n"),
                                "s.yaml");
  ASSERT_TRUE(loaded.config);
  const Listener& listener = loaded.config->listeners[0];
  ASSERT_EQ(listener.proxy_protocol_from.size(), 2U);
  EXPECT_EQ(to_string(listener.proxy_protocol_from[0]), "10.0.0.0/8");
  EXPECT_EQ(to_string(listener.proxy_protocol_from[1]), "fd00:5::7/128");
  EXPECT_EQ(listener.upstream_proxy_protocol, ProxyProtocol::v2);
}

TEST_F(ValuesTest, UnixUpstreamAndNoPeers) {
  auto text = with(base, "127.0.0.1:8080", "unix:/run/app.sock");
  text = with(text, "peers:\n  - id: 2\n    underlay: 198.18.0.2\n    statesync: 198.18.0.2:7100\n", "peers: []\n");
  const auto loaded = load_text(text, "s.yaml");
  ASSERT_TRUE(loaded.config.has_value()) << to_string(loaded.mistakes.at(0));
  EXPECT_EQ(to_string(loaded.config->listeners[0].default_route().upstreams.front()), "unix:/run/app.sock");
  EXPECT_TRUE(loaded.config->peers.empty());
}

TEST_F(ValuesTest, RoutesAndTheLastOne) {
  const auto text = with(base, "    upstream: 127.0.0.1:8080\n",
                         "    upstream: [127.0.0.1:8080, \"[::1]:8080\"]\n"
                         "    routes:\n"
                         "      - host: WWW.example.org.\n"
                         "        path: /api\n"
                         "        upstream: unix:/run/api.sock\n"
                         "        replay: keyed\n"
                         "        journal_bytes_max: 0\n"
                         "        checkpoints: false\n"
                         "        verify_tail: 512\n"
                         "        websocket: {resume: false, ping_ms: 0}\n"
                         "        timeouts: {response_ms: 5000}\n"
                         "      - path: /\n"
                         "        replay: never\n");
  const auto loaded = load_text(text, "s.yaml");
  ASSERT_TRUE(loaded.config.has_value()) << to_string(loaded.mistakes.at(0));
  const Listener& listener = loaded.config->listeners[0];
  ASSERT_EQ(listener.routes.size(), 3U);
  const Route& api = listener.routes[0];
  EXPECT_EQ(api.host, "www.example.org");
  EXPECT_EQ(api.path, "/api");
  ASSERT_EQ(api.upstreams.size(), 1U);
  EXPECT_EQ(to_string(api.upstreams[0]), "unix:/run/api.sock");
  EXPECT_EQ(api.replay, Replay::keyed);
  EXPECT_EQ(api.journal_bytes_max, 0U);
  EXPECT_FALSE(api.checkpoints);
  EXPECT_EQ(api.verify_tail, 512U);
  EXPECT_FALSE(api.websocket.resume);
  EXPECT_EQ(api.websocket.ping_ms, 0U);
  EXPECT_EQ(api.response_ms, 5000U);
  EXPECT_FALSE(api.request_body_ms.has_value());
  const Route& any = listener.routes[1];
  EXPECT_EQ(any.path, "");
  EXPECT_EQ(any.replay, Replay::never);
  ASSERT_EQ(any.upstreams.size(), 2U) << "the listener's own";
  EXPECT_EQ(to_string(any.upstreams[1]), "[::1]:8080");
  EXPECT_EQ(&listener.default_route(), &listener.routes[2]);
  EXPECT_EQ(listener.default_route().replay, Replay::idempotent);
  EXPECT_EQ(listener.default_route().upstreams.size(), 2U);
  EXPECT_EQ(to_string(loaded.config->health.target), "127.0.0.1:8080");
}

TEST_F(ValuesTest, HealthChecksSpeakTheApplicationsProxyProtocol) {
  std::string text = base;
  text.insert(text.find("peers:"), "    upstream_proxy_protocol: v2\n");
  const auto version = [&](const std::string& health) {
    const auto loaded = load_text(text + "health: " + health + '\n', "s.yaml");
    EXPECT_TRUE(loaded.config);
    return loaded.config ? loaded.config->health.proxy_protocol : ProxyProtocol::off;
  };
  EXPECT_EQ(version("{type: http}"), ProxyProtocol::v2);
  EXPECT_EQ(version("{type: http, target: 127.0.0.1:8081}"), ProxyProtocol::off) << "some other port of it";
  EXPECT_EQ(version("{type: http, target: 127.0.0.1:8081, proxy_protocol: v1}"), ProxyProtocol::v1);
  EXPECT_EQ(version("{type: http, proxy_protocol: \"off\"}"), ProxyProtocol::off);
}

TEST_F(ValuesTest, AccessLog) {
  EXPECT_EQ(load_text(base, "s.yaml").config->log.access.format, AccessLog::Format::off);
  const auto loaded =
      load_text(std::string(base) + "log: {access: {format: combined, file: " + dir() + "/access.log}}\n", "s.yaml");
  ASSERT_TRUE(loaded.config.has_value()) << to_string(loaded.mistakes.at(0));
  EXPECT_EQ(loaded.config->log.access.format, AccessLog::Format::combined);
  EXPECT_EQ(loaded.config->log.access.file, dir() + "/access.log");
}

TEST_F(ValuesTest, AdminMayBeRemoteWhenAllowed) {
  const auto loaded =
      load_text(std::string(base) + "admin: {listen: \"0.0.0.0:9180\", allow_remote: true}\n", "s.yaml");
  ASSERT_TRUE(loaded.config.has_value()) << to_string(loaded.mistakes.at(0));
  EXPECT_TRUE(loaded.config->admin.allow_remote);
}

}  // namespace
}  // namespace suture::config
