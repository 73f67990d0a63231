// suture run without a file: what the variables make, and what is said of each that is wrong.
#include <proxy/config/environment.hpp>

#include "fixture.hpp"

namespace suture::config {
namespace {

class EnvironmentTest : public ConfigTest {
 protected:
  using Variables = std::map<std::string, std::string>;

  // The smallest that loads, `changes` made; an empty value takes one away.
  static LoadResult load(const Variables& changes) {
    Variables variables{{"SUTURE_NODE", "1"},
                        {"SUTURE_UNDERLAY", "198.18.0.1"},
                        {"SUTURE_VIPS", "203.0.113.10"},
                        {"SUTURE_UPSTREAM", "127.0.0.1:8080"},
                        {"SUTURE_PKI", dir()},
                        {"PATH", "/bin"}};
    for (const auto& [name, value] : changes) variables[name] = value;
    std::vector<std::string> entries;
    for (const auto& [name, value] : variables) entries.push_back(name + '=' + value);
    std::vector<const char*> environment;
    for (const auto& entry : entries) environment.push_back(entry.c_str());
    environment.push_back(nullptr);
    return load_environment(environment.data());
  }
  static std::string all(const LoadResult& result) {
    std::string text;
    for (const auto& mistake : result.mistakes) text += to_string(mistake) + '\n';
    return text;
  }
};

TEST_F(EnvironmentTest, FourVariablesAreEnough) {
  const auto loaded = load({});
  ASSERT_TRUE(loaded.config) << all(loaded);
  const auto& c = *loaded.config;
  EXPECT_EQ(to_int(c.node.id), 1);
  EXPECT_EQ(c.node.name, "pop1");
  EXPECT_EQ(c.node.interfaces, std::vector<std::string>{"eth0"});
  ASSERT_EQ(c.listeners.size(), 1U);
  EXPECT_EQ(c.listeners[0].port, 80);
  EXPECT_EQ(c.listeners[0].mode, SessionMode::http);
  EXPECT_EQ(to_string(c.listeners[0].default_route().upstreams.front()), "127.0.0.1:8080");
  EXPECT_EQ(to_string(c.statesync.listen), "198.18.0.1:7100");
  EXPECT_EQ(c.statesync.cert_file, dir() + "/pop1.pem");
  EXPECT_TRUE(c.peers.empty());
  // A node that is up while its application is down would be a black hole.
  EXPECT_EQ(c.health.type, HealthCheck::Type::tcp);
  EXPECT_EQ(to_string(c.health.target), "127.0.0.1:8080");
}

TEST_F(EnvironmentTest, EveryVariableGoesWhereItBelongs) {
  const auto loaded = load({{"SUTURE_NAME", "pop1"},
                            {"SUTURE_UNDERLAY", "198.18.0.1, fd00:5::1"},
                            {"SUTURE_INTERFACES", "eth1,eth2"},
                            {"SUTURE_VIPS", "203.0.113.10,2001:db8:113::10"},
                            {"SUTURE_LISTEN", "8443"},
                            {"SUTURE_MODE", "tcp"},
                            {"SUTURE_UPSTREAM", "unix:/run/app.sock"},
                            {"SUTURE_PEERS", "2=198.18.0.2,3=fd00:5::3"},
                            {"SUTURE_ANNOUNCE", "false"},
                            {"SUTURE_ADMIN", "198.18.0.1:9180"},
                            {"SUTURE_ADMIN_ALLOW_REMOTE", "true"},
                            {"SUTURE_DRAIN_MS", "3600000"},
                            {"SUTURE_LOG_LEVEL", "warn"},
                            {"SUTURE_LOG_FORMAT", "json"}});
  ASSERT_TRUE(loaded.config) << all(loaded);
  const auto& c = *loaded.config;
  EXPECT_EQ(c.node.underlay6->to_string(), "fd00:5::1");
  EXPECT_EQ(c.node.interfaces, (std::vector<std::string>{"eth1", "eth2"}));
  EXPECT_EQ(c.vips.size(), 2U);
  EXPECT_EQ(c.listeners[0].port, 8443);
  EXPECT_EQ(c.listeners[0].mode, SessionMode::tcp);
  EXPECT_EQ(to_string(c.listeners[0].default_route().upstreams.front()), "unix:/run/app.sock");
  ASSERT_EQ(c.peers.size(), 2U);
  EXPECT_EQ(to_int(c.peers[1].id), 3);
  EXPECT_EQ(to_string(c.peers[0].statesync), "198.18.0.2:7100");
  EXPECT_EQ(to_string(c.peers[1].statesync), "[fd00:5::3]:7100");
  EXPECT_FALSE(c.announce.enabled);
  EXPECT_EQ(to_string(c.admin.listen), "198.18.0.1:9180");
  EXPECT_EQ(c.timeouts.drain_ms, 3'600'000U);
  EXPECT_EQ(c.log.level, log::Level::warn);
  EXPECT_EQ(c.log.format, log::Format::json);
}

TEST_F(EnvironmentTest, AHealthPathIsAskedByHttp) {
  const auto loaded = load({{"SUTURE_HEALTH_PATH", "/healthz"}});
  ASSERT_TRUE(loaded.config) << all(loaded);
  EXPECT_EQ(loaded.config->health.type, HealthCheck::Type::http);
  EXPECT_EQ(loaded.config->health.path, "/healthz");
}

// A certificate's name has the node's number in it.
TEST_F(EnvironmentTest, AWrongNumberIsNotAMissingCertificate) {
  for (const char* number : {"", "one", "256"}) {
    const auto loaded = load({{"SUTURE_NODE", number}});
    ASSERT_EQ(loaded.mistakes.size(), 1U) << all(loaded);
    EXPECT_TRUE(to_string(loaded.mistakes.front()).starts_with("SUTURE_NODE: ")) << all(loaded);
  }
}

TEST_F(EnvironmentTest, MistakesNameTheVariable) {
  const std::vector<std::tuple<const char*, const char*, const char*>> rows{
      {"SUTURE_NODE", "", "SUTURE_NODE: is not set; wanted this node's number"},
      {"SUTURE_UPSTREAM", "", "SUTURE_UPSTREAM: is not set; wanted the application"},
      {"SUTURE_NODE", "256", "SUTURE_NODE: node.id: "},
      {"SUTURE_NODE", "one", "SUTURE_NODE: node.id: 'one' is not a whole number"},
      {"SUTURE_UNDERLAY", "eth0", "SUTURE_UNDERLAY: "},
      {"SUTURE_UNDERLAY", ",", "SUTURE_UNDERLAY: "},
      {"SUTURE_VIPS", "203.0.113.10,x", "SUTURE_VIPS: "},
      {"SUTURE_LISTEN", "eighty", "SUTURE_LISTEN: listeners[0].port: 'eighty'"},
      {"SUTURE_MODE", "udp", "SUTURE_MODE: listeners[0].mode: 'udp'"},
      {"SUTURE_UPSTREAM", "localhost", "SUTURE_UPSTREAM: listeners[0].upstream: "},
      {"SUTURE_PEERS", "198.18.0.2", "SUTURE_PEERS: '198.18.0.2' is no peer; wanted ID=ADDRESS"},
      {"SUTURE_PEERS", "2=pop2", "SUTURE_PEERS: '2=pop2' is no peer"},
      {"SUTURE_PEERS", "x=198.18.0.2", "SUTURE_PEERS: peers[0].id: 'x' is not a whole number"},
      {"SUTURE_PEERS", "1=198.18.0.2", "SUTURE_PEERS: "},
      {"SUTURE_ANNOUNCE", "perhaps", "SUTURE_ANNOUNCE: announce.enabled: 'perhaps'"},
      {"SUTURE_DRAIN_MS", "1m", "SUTURE_DRAIN_MS: timeouts.drain_ms: '1m'"},
      {"SUTURE_LOG_LEVEL", "loud", "SUTURE_LOG_LEVEL: log.level: 'loud'"},
      {"SUTURE_ADMIN", "0.0.0.0:9180", "SUTURE_ADMIN: admin.listen: "},
      {"SUTURE_PKI", "/nonexistent", "SUTURE_PKI: statesync.cert_file: "},
      {"SUTURE_UPSTREEM", "127.0.0.1:1", "SUTURE_UPSTREEM: unknown variable; did you mean SUTURE_UPSTREAM?"},
      {"SUTURE_FOO", "1", "SUTURE_FOO: unknown variable; docs/configuration.md lists"},
      {"SUTURE_HEALTH_PATH", "healthz", "SUTURE_HEALTH_PATH: health.path: "},
  };
  for (const auto& [name, value, wanted] : rows) {
    SCOPED_TRACE(std::string(name) + '=' + value);
    const auto loaded = load({{name, value}});
    EXPECT_FALSE(loaded.config.has_value());
    EXPECT_NE(all(loaded).find(wanted), std::string::npos) << all(loaded);
  }
}

TEST_F(EnvironmentTest, EveryMistakeIsSaidAtOnce) {
  const auto loaded = load({{"SUTURE_UNDERLAY", "x"}, {"SUTURE_MODE", "y"}, {"SUTURE_LOG_LEVEL", "z"}});
  EXPECT_EQ(loaded.mistakes.size(), 3U) << all(loaded);
}

TEST_F(EnvironmentTest, AValueIsNothingButAValue) {
  for (const char* value : {"a\"b", "a\nvips: []", "${PATH}", "a: b", "[x]", "#", "\\", "\x01"}) {
    SCOPED_TRACE(value);
    const auto loaded = load({{"SUTURE_MODE", value}});
    ASSERT_EQ(loaded.mistakes.size(), 1U) << all(loaded);
    EXPECT_EQ(loaded.mistakes[0].file, "SUTURE_MODE");
  }
}

TEST_F(EnvironmentTest, WhatKubernetesMakesOfAServiceOfThisNameIsNotOurs) {
  const auto loaded = load({{"SUTURE_PORT", "tcp://10.0.0.1:80"},
                            {"SUTURE_PORT_80_TCP_ADDR", "10.0.0.1"},
                            {"SUTURE_SERVICE_HOST", "10.0.0.1"}});
  EXPECT_TRUE(loaded.config) << all(loaded);
}

}  // namespace
}  // namespace suture::config
