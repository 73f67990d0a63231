// Every mistake as a row: what was written instead of what, the line it is reported at, and part of the message.
#include <proxy/config/config.hpp>

#include <vector>

#include "fixture.hpp"

namespace suture::config {
namespace {

struct Row {
  const char* from;
  const char* to;
  int line;
  const char* fragment;
};

class MistakesTest : public ConfigTest {
 protected:
  static void check(const std::vector<Row>& rows) {
    for (const auto& row : rows) {
      SCOPED_TRACE(std::string(row.from) + " -> " + row.to);
      const auto loaded = load_text(with(base, row.from, row.to), "s.yaml");
      EXPECT_FALSE(loaded.config.has_value());
      ASSERT_EQ(loaded.mistakes.size(), 1U) << all(loaded);
      EXPECT_EQ(loaded.mistakes[0].line, row.line) << all(loaded);
      EXPECT_NE(loaded.mistakes[0].message.find(row.fragment), std::string::npos) << all(loaded);
    }
  }
  // Appended below the last line (18): line 19 on.
  static void check_appended(const std::vector<Row>& rows) {
    for (const auto& row : rows) {
      SCOPED_TRACE(row.to);
      const auto loaded = load_text(std::string(base) + row.to, "s.yaml");
      EXPECT_FALSE(loaded.config.has_value());
      ASSERT_EQ(loaded.mistakes.size(), 1U) << all(loaded);
      EXPECT_EQ(loaded.mistakes[0].line, row.line) << all(loaded);
      EXPECT_NE(loaded.mistakes[0].message.find(row.fragment), std::string::npos) << all(loaded);
    }
  }
  static std::string all(const LoadResult& loaded) {
    std::string out;
    for (const auto& mistake : loaded.mistakes) out += to_string(mistake) + '\n';
    return out;
  }
};

TEST_F(MistakesTest, TheBaseLoads) {
  const auto loaded = load_text(base, "s.yaml");
  EXPECT_TRUE(loaded.config.has_value()) << all(loaded);
  EXPECT_TRUE(loaded.mistakes.empty());
}

TEST_F(MistakesTest, NodeAndVips) {
  check({
      {"  id: 1\n", "  id: 0\n", 2, "node.id: 0 is out of range; wanted 1 to 255"},
      {"  id: 1\n", "  id: 256\n", 2, "out of range"},
      {"  id: 1\n", "  id: one\n", 2, "'one' is not a whole number"},
      {"  id: 1\n", "  id: -1\n", 2, "not a whole number"},
      {"  id: 1\n", "  id: 1.5\n", 2, "not a whole number"},
      {"  id: 1\n", "  id: [1]\n", 2, "wanted a single value, found a list"},
      {"  id: 1\n", "  id:\n", 2, "found nothing"},
      {"  id: 1\n", "  name: pop1\n", 1, "node.id is missing"},
      {"  id: 1\n", "  id: 1\n  id: 3\n", 3, "given twice, first in line 2"},
      {"  id: 1\n", "  id: 1\n  nmae: x\n", 3, "did you mean name?"},
      {"  id: 1\n", "  id: 1\n  name: a b\n", 3, "printable ASCII"},
      {"  id: 1\n", "  id: 1\n  workers: 1000\n", 3, "out of range"},
      {"  id: 1\n", "  id: 2\n", 11, "this node's own id"},
      {"[198.18.0.1]", "[]", 3, "empty; wanted at least one"},
      {"[198.18.0.1]", "198.18.0.1", 3, "wanted a list, found a single value"},
      {"[198.18.0.1]", "[198.18.0.1, 198.18.0.9]", 3, "a second IPv4 address"},
      {"[198.18.0.1]", "[198.18.0.300]", 3, "is not an IP address"},
      {"[198.18.0.1]", "[224.0.0.1, 198.18.0.1]", 3, "multicast"},
      {"[198.18.0.1]", "[198.18.0.2]", 12, "this node's own underlay"},
      {"[198.18.0.1]", "[\"fd00:5::1\"]", 12, "node.underlay has no IPv4"},
      {"[eth0]", "[]", 4, "empty; wanted at least one interface"},
      {"[eth0]", "[eth0, eth0]", 4, "listed twice"},
      {"[eth0]", "[\"eth 0\"]", 4, "no interface name"},
      {"[eth0]", "[averyveryverylongname]", 4, "no interface name"},
      {"vips: [203.0.113.10]", "vips: []", 5, "empty; wanted at least one anycast address"},
      {"vips: [203.0.113.10]\n", "", 1, "vips is missing"},
      {"[203.0.113.10]", "[203.0.113.10, 203.0.113.10]", 5, "listed twice"},
      {"[203.0.113.10]", "[203.0.113.10/32]", 5, "without prefix length"},
      {"[203.0.113.10]", "[239.1.1.1]", 5, "multicast"},
      {"[203.0.113.10]", "[127.0.0.1]", 5, "loopback"},
      {"[203.0.113.10]", "[0.0.0.0]", 5, "unspecified"},
      {"[203.0.113.10]", "[255.255.255.255]", 5, "broadcast"},
      {"[203.0.113.10]", "[\"fe80::1\"]", 5, "link-local"},
      {"[203.0.113.10]", "[\"::ffff:203.0.113.10\"]", 5, "IPv4-mapped"},
      {"[203.0.113.10]", "\n  - 203.0.113.10\n  - 203.0.113.10", 7, "listed twice"},
      {"[198.18.0.1]", "[203.0.113.10]", 3, "is also a VIP"},
  });
}

TEST_F(MistakesTest, ListenersAndPeers) {
  check({
      {"port: 80\n", "port: 0\n", 7, "wanted 1 to 65535"},
      {"port: 80\n", "port: 65536\n", 7, "wanted 1 to 65535"},
      {"mode: http", "mode: htpt", 8, "did you mean http?"},
      {"    mode: http\n", "", 7, "listeners[0].mode is missing"},
      {"127.0.0.1:8080", "127.0.0.1", 9, "wanted 127.0.0.1:8080"},
      {"127.0.0.1:8080", "127.0.0.1:0", 9, "is no upstream"},
      {"127.0.0.1:8080", "\"::1:8080\"", 9, "[::1]:8080"},
      {"127.0.0.1:8080", "0.0.0.0:8080", 9, "unspecified"},
      {"127.0.0.1:8080", "unix:app.sock", 9, "absolute path"},
      {"127.0.0.1:8080", "203.0.113.10:80", 9, "a loop"},
      {"127.0.0.1:8080\n", "127.0.0.1:8080\n    limits: 5\n", 10, "wanted a map"},
      {"127.0.0.1:8080\n", "127.0.0.1:8080\n    limits: {conections_max: 5}\n", 10, "did you mean connections_max?"},
      {"127.0.0.1:8080\n", "127.0.0.1:8080\n    limits: {request_head_bytes_max: 5}\n", 10, "bytes"},
      {"127.0.0.1:8080\n", "127.0.0.1:8080\n    limits: {connections_per_client_max: 10000001}\n", 10,
       "wanted 0 to 10000000 connections (0: no limit)"},
      {"127.0.0.1:8080\n", "127.0.0.1:8080\n    limits: {requests_per_connection_max: -1}\n", 10, "not a whole number"},
      {"127.0.0.1:8080\n", "127.0.0.1:8080\n    limits: {request_line_bytes_max: 255}\n", 10,
       "wanted 256 to 1048576 bytes"},
      {"127.0.0.1:8080\n", "127.0.0.1:8080\n    limits: {request_fields_max: 7}\n", 10,
       "wanted 8 to 10000 header fields"},
      {"127.0.0.1:8080\n", "127.0.0.1:8080\n    limits: {request_body_rate_min: 1k}\n", 10, "not a whole number"},
      {"127.0.0.1:8080\n", "127.0.0.1:8080\n  - {port: 80, mode: tcp, upstream: \"[::1]:1\"}\n", 10,
       "ports must differ"},
      {"127.0.0.1:8080\n", "127.0.0.1:8080\n    proxy_protocol: {}\n", 10, "proxy_protocol.accept_from is missing"},
      {"127.0.0.1:8080\n", "127.0.0.1:8080\n    proxy_protocol: {accept_from: []}\n", 10,
       "at least one address prefix"},
      {"127.0.0.1:8080\n",
       "127.0.0.1:8080\n    proxy_protocol:\n      accept_from:\n        - 10.0.0.0/8\n        - lb\n", 13,
       "listeners[0].proxy_protocol.accept_from[1]: 'lb' is no address prefix"},
      {"127.0.0.1:8080\n", "127.0.0.1:8080\n    proxy_protocol: {accept_from: [10.0.0.0/33]}\n", 10,
       "no address prefix"},
      {"127.0.0.1:8080\n", "127.0.0.1:8080\n    proxy_protocol: {accept_from: [\"fd00::/129\"]}\n", 10,
       "no address prefix"},
      {"127.0.0.1:8080\n", "127.0.0.1:8080\n    proxy_protocol: {accept_from: [10.0.0.1/8]}\n", 10,
       "wanted 10.0.0.0/8"},
      {"127.0.0.1:8080\n", "127.0.0.1:8080\n    proxy_protocol: {accept_from: [0.0.0.0/0]}\n", 10, "everybody"},
      {"127.0.0.1:8080\n", "127.0.0.1:8080\n    proxy_protocol: {accept_from: [\"::ffff:10.0.0.0/104\"]}\n", 10,
       "write it as IPv4"},
      {"127.0.0.1:8080\n",
       "127.0.0.1:8080\n    proxy_protocol: {acept_from: [10.0.0.0/8], accept_from: [10.0.0.0/8]}\n", 10,
       "did you mean accept_from?"},
      {"127.0.0.1:8080\n", "127.0.0.1:8080\n    proxy_protocol: 10.0.0.0/8\n", 10, "wanted a map"},
      {"127.0.0.1:8080\n", "127.0.0.1:8080\n    upstream_proxy_protocol: v3\n", 10, "wanted one of off, v1, v2"},
      {"  - id: 2", "  - id: 0", 11, "out of range"},
      {"underlay: 198.18.0.2", "underlay: fd00:5::2", 12, "node.underlay has no IPv6"},
      {"underlay: 198.18.0.2", "underlay: pop2", 12, "is not an IP address"},
      {"underlay: 198.18.0.2", "underlay: 203.0.113.10", 12, "is a VIP"},
      {"underlay: 198.18.0.2", "underlay: 224.0.0.1", 12, "multicast"},
      {"statesync: 198.18.0.2:7100", "statesync: 198.18.0.2", 13, "not an address with a port"},
      {"statesync: 198.18.0.2:7100", "statesync: 0.0.0.0:7100", 13, "unspecified"},
      {"7100\nstatesync", "7100\n  - {id: 2, underlay: 198.18.0.3, statesync: \"198.18.0.3:7100\"}\nstatesync", 14,
       "ids must differ"},
      {"7100\nstatesync", "7100\n  - {id: 3, underlay: 198.18.0.2, statesync: \"198.18.0.3:7100\"}\nstatesync", 14,
       "every node has its own"},
      {"7100\nstatesync", "7100\n  - {id: 3, underlay: 198.18.0.3, statesync: \"198.18.0.2:7100\"}\nstatesync", 14,
       "every node has its own"},
  });
}

// Appended to the listener, whose last line is 9: `routes:` is line 10.
TEST_F(MistakesTest, Routes) {
  const struct {
    const char* routes;
    int line;
    const char* fragment;
  } rows[] = {
      {"", 10, "routes: empty; wanted at least one route"},
      {"      - {hots: a}\n", 11, "did you mean host?"},
      {"      - a\n", 11, "wanted a map"},
      {"      - {host: \"a:80\"}\n", 11, "without port"},
      {"      - {host: \"a b\"}\n", 11, "is no host"},
      {"      - {host: \"*\"}\n", 11, "is no host"},
      {"      - {host: \"*.\"}\n", 11, "is no host"},
      {"      - {host: \"a.*.org\"}\n", 11, "wanted www.example.org, *.example.org"},
      {"      - {host: \"a..b\"}\n", 11, "is no host"},
      {"      - {host: \"2001:db8::1\"}\n", 11, "[2001:db8::1]"},
      {"      - {host: \"[192.0.2.1]\"}\n", 11, "is no host"},
      {"      - {host: \"\"}\n", 11, "is no host"},
      {"      - {path: api}\n", 11, "with '/' in front"},
      {"      - {path: /api/}\n", 11, "wanted /api, which takes everything below it"},
      {"      - {path: //}\n", 11, "wanted /,"},
      {"      - {path: \"/a?b\"}\n", 11, "without query"},
      {"      - {path: \"/api/*\"}\n", 11, "wildcards"},
      {"      - {path: /a, upstream: b}\n", 11, "is no upstream"},
      {"      - {path: /a, upstream: []}\n", 11, "empty; wanted at least one upstream"},
      {"      - path: /a\n        upstream:\n          - 127.0.0.1:1\n          - 127.0.0.1\n", 14, "is no upstream"},
      {"      - path: /a\n        upstream:\n          - 127.0.0.1:1\n          - 127.0.0.1:1\n", 14, "listed twice"},
      {"      - path: /a\n        upstream:\n          - 127.0.0.1:1\n          - 203.0.113.10:80\n", 14, "a loop"},
      {"      - {path: /a, upstream: \"203.0.113.10:80\"}\n", 11, "routes[0].upstream: 203.0.113.10:80"},
      {"      - {path: /a, replay: once}\n", 11, "wanted one of safe, idempotent, keyed, always, never"},
      {"      - {path: /a, journal_bytes_max: 262145}\n", 11, "wanted 0 to 262144 bytes"},
      {"      - {path: /a, checkpoints: 1}\n", 11, "wanted true or false"},
      {"      - {path: /a, verify_tail: -1}\n", 11, "not a whole number"},
      {"      - {path: /a, websocket: {ping: 1}}\n", 11, "did you mean ping_ms?"},
      {"      - {path: /a, timeouts: {response_ms: 0}}\n", 11, "wanted 1 to 86400000 milliseconds"},
      {"      - {path: /a, timeouts: {connect_ms: 1}}\n", 11, "unknown key"},
      {"      - {path: /a}\n      - {path: /a, replay: never}\n", 12,
       "any host and path /a is also listeners[0].routes[0]"},
      {"      - {host: A.example}\n      - {host: a.example., path: /}\n", 12, "host a.example and any path is also"},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.routes);
    const auto text = with(base, "127.0.0.1:8080\n", std::string("127.0.0.1:8080\n    routes:\n") + row.routes);
    const auto loaded = load_text(text, "s.yaml");
    EXPECT_FALSE(loaded.config.has_value());
    ASSERT_EQ(loaded.mistakes.size(), 1U) << all(loaded);
    EXPECT_EQ(loaded.mistakes[0].line, row.line) << all(loaded);
    EXPECT_NE(loaded.mistakes[0].message.find(row.fragment), std::string::npos) << all(loaded);
  }
  const auto tcp = with(with(base, "mode: http", "mode: tcp"), "127.0.0.1:8080\n",
                        "127.0.0.1:8080\n    routes:\n      - {path: /a}\n");
  const auto loaded = load_text(tcp, "s.yaml");
  ASSERT_EQ(loaded.mistakes.size(), 1U) << all(loaded);
  EXPECT_EQ(loaded.mistakes[0].line, 10);
  EXPECT_NE(loaded.mistakes[0].message.find("only in mode http"), std::string::npos) << all(loaded);
}

TEST_F(MistakesTest, TheListenersOwnUpstreams) {
  check({
      {"127.0.0.1:8080\n", "\n      - 127.0.0.1:8080\n      - 203.0.113.10:80\n", 11, "listeners[0].upstream[1]"},
      {"127.0.0.1:8080", "[]", 9, "empty; wanted at least one upstream"},
      {"127.0.0.1:8080", "{a: b}", 9, "wanted a single value"},
  });
}

TEST_F(MistakesTest, StateSync) {
  check({
      {"  listen: 198.18.0.1:7100\n", "", 14, "statesync.listen is missing"},
      {"listen: 198.18.0.1:7100", "listen: 203.0.113.10:7100", 15, "is a VIP"},
      {"listen: 198.18.0.1:7100", "listen: 0.0.0.0:80", 15, "takes it from the listener"},
      {"listen: 198.18.0.1:7100", "listen: 198.18.0.1:7100\n  liveness_port: 7102", 16, "also datapath.vxlan_port"},
      {"listen: 198.18.0.1:7100", "listen: 198.18.0.1:7100\n  liveness_interval: 50", 16, "mean liveness_interval_ms?"},
      {"${SUTURE_PKI}/pop1.pem", "/nowhere/pop1.pem", 16, "No such file"},
      {"${SUTURE_PKI}/pop1.pem", "${SUTURE_PKI}", 16, "not a regular file"},
      {"${SUTURE_PKI}/pop1.pem", "/dev/null", 16, "not a regular file"},
      {"${SUTURE_PKI}/pop1.pem", "\"\"", 16, "must not be empty"},
      {"${SUTURE_PKI}/pop1.key", "${SUTURE_NOT_SET}/pop1.key", 17, "SUTURE_NOT_SET is not set"},
      {"${SUTURE_PKI}/pop1.key", "${SUTURE_PKI", 17, "without '}'"},
      {"${SUTURE_PKI}/pop1.key", "${1X}", 17, "not the name of an environment variable"},
      {"${SUTURE_PKI}/ca.pem", "${SUTURE_NOT_SET:-/nowhere}/ca.pem", 18, "/nowhere/ca.pem"},
  });
}

TEST_F(MistakesTest, OtherSections) {
  check_appended({
      {"", "datapath: {vxlan_port: 4789}\n", 19, "Docker Swarm"},
      {"", "datapath: {vxlan_port: 8472}\n", 19, "Flannel"},
      {"", "datapath: {vni_base: 0x537501}\n", 19, "multiple of 8"},
      {"", "datapath: {vni_base: 0x1000000}\n", 19, "out of range"},
      {"", "datapath: {fin_mark: 3}\n", 19, "exactly one bit"},
      {"", "datapath: {fin_mark: 0x20000000}\n", 19, "another bit"},
      {"", "datapath: {fin_mark: 0x100000000}\n", 19, "out of range"},
      {"", "datapath:\n  heartbeat_limit_ms: 250\n", 20, "liveness_multiplier = 250"},
      {"", "  liveness_interval_ms: 20\n", 19, "not below"},
      {"", "  liveness_multiplier: 3\n", 19, "liveness_multiplier = 150"},
      {"", "datapath: {rst_mark: 0x10000000}\n", 19, "the same bit"},
      {"", "healing: {lease_ms: 250}\n", 19, "below statesync.liveness_interval_ms x liveness_multiplier = 250"},
      {"", "healing: {lease_ms: 149}\n", 19, "at least datapath.heartbeat_limit_ms = 150"},
      {"", "healing: {no_fence: maybe}\n", 19, "wanted one of available, safe"},
      {"", "healing: {tries: 0}\n", 19, "out of range"},
      {"", "datapath: {vxlan_port: 7101}\n", 19, "is also datapath.vxlan_port"},
      {"", "datapath: {return_path: both}\n", 19, "wanted one of direct, tunnel"},
      {"", "datapath: {vxlan_device: eth0}\n", 19, "also in node.interfaces"},
      {"", "datapath: {vxlan_device: suture0}\n", 19, "is also datapath.vxlan_device"},
      {"", "announce: {table: 254}\n", 19, "254 main"},
      {"", "announce: {protocol: 12}\n", 19, "BIRD"},
      {"", "announce: {protocol: 300}\n", 19, "out of range"},
      {"", "announce: {enabled: yes}\n", 19, "wanted true or false"},
      {"", "health: {path: /}\n", 19, "health.type is missing"},
      {"", "health:\n  type: http\n  path: healthz\n", 21, "must begin with '/'"},
      {"", "health:\n  type: http\n  path: \"/a b\"\n", 21, "printable ASCII"},
      {"", "health:\n  type: tcp\n  target: 203.0.113.10:80\n", 21, "this proxy itself"},
      {"", "health: {type: tcp, rise: 0}\n", 19, "wanted 1 to 100 checks"},
      {"", "timeouts: {connect: 5}\n", 19, "did you mean connect_ms?"},
      {"", "timeouts: {connect_ms: 0}\n", 19, "milliseconds"},
      {"", "admin:\n  listen: 0.0.0.0:9180\n", 20, "no authentication"},
      {"", "admin: {listen: 198.18.0.1:7100, allow_remote: true}\n", 19, "is also statesync.listen"},
      {"", "admin: {listen: localhost:9180}\n", 19, "not an address with a port"},
      {"", "log: {level: trace}\n", 19, "wanted one of debug, info, warn, error"},
      {"", "log: {format: xml}\n", 19, "wanted one of text, json"},
      {"", "log: {access: {file: /tmp/a}}\n", 19, "log.access.format is missing"},
      {"", "log: {access: {format: apache}}\n", 19, "wanted one of off, common, combined, json"},
      {"", "log: {access: {format: json, file: access.log}}\n", 19, "is no absolute path"},
      {"", "log: {access: {format: json, file: /nowhere/access.log}}\n", 19, "a folder that exists"},
      {"", "log: {access: {format: json, file: /tmp}}\n", 19, "is a folder"},
      {"", "log: []\n", 19, "wanted a map"},
      {"", "listener: []\n", 19, "did you mean listeners?"},
      {"", "zzzzzz: 1\n", 19, "known here: admin, announce"},
  });
}

TEST_F(MistakesTest, WhatIsNoConfigurationAtAll) {
  const struct {
    const char* text;
    int line;
    const char* fragment;
  } rows[] = {
      {"", 1, "empty"},
      {"# only a comment\n", 1, "empty"},
      {"- a\n- b\n", 1, "wanted a map"},
      {"just words", 1, "wanted a map"},
      {"node:\n  id: 1\n bad: [\n", 3, "not valid YAML"},
      {"a: &x [*x]\nb: *y\n", 2, "not valid YAML"},
      {"node: 1\n---\nnode: 2\n", 1, "several YAML documents"},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.text);
    const auto loaded = load_text(row.text, "s.yaml");
    EXPECT_FALSE(loaded.config.has_value());
    ASSERT_EQ(loaded.mistakes.size(), 1U) << all(loaded);
    EXPECT_EQ(loaded.mistakes[0].line, row.line) << all(loaded);
    EXPECT_NE(loaded.mistakes[0].message.find(row.fragment), std::string::npos) << all(loaded);
  }
}

TEST_F(MistakesTest, AllInOneRunAndInFileOrder) {
  auto text = with(base, "  id: 1\n", "  id: 999\n");
  text = with(text, "vips: [203.0.113.10]", "vips: []");
  text = with(text, "port: 80", "prot: 80");
  text = with(text, "7100\nstatesync", "x\nstatesync");
  const auto loaded = load_text(text, "s.yaml");
  ASSERT_EQ(loaded.mistakes.size(), 5U) << all(loaded);
  const int lines[] = {2, 5, 7, 7, 13};
  for (std::size_t i = 0; i < 5; ++i) EXPECT_EQ(loaded.mistakes[i].line, lines[i]) << all(loaded);
  EXPECT_EQ(to_string(loaded.mistakes[1]).rfind("s.yaml:5: vips: empty", 0), 0U) << all(loaded);
}

TEST_F(MistakesTest, UnreadableFile) {
  const auto loaded = load_file(dir() + "/none.yaml");
  ASSERT_EQ(loaded.mistakes.size(), 1U);
  EXPECT_EQ(loaded.mistakes[0].line, 0);
  EXPECT_NE(loaded.mistakes[0].message.find("No such file"), std::string::npos);
  EXPECT_FALSE(load_file(dir()).config.has_value());  // a directory
}

}  // namespace
}  // namespace suture::config
