// The application behind a unix socket: the same sessions.
#include <cstdlib>
#include <filesystem>

#include "proxy_fixture.hpp"

namespace suture::test {
namespace {

class UnixUpstreamTest : public ProxyTest {
 protected:
  static std::string make_directory() {
    std::string name = (std::filesystem::temp_directory_path() / "suture-unix-XXXXXX").string();
    EXPECT_NE(::mkdtemp(name.data()), nullptr);
    return name;
  }
  UnixUpstreamTest() { upstream = config::UnixPath{path}; }
  ~UnixUpstreamTest() override { std::filesystem::remove_all(directory); }

  const std::string directory = make_directory();
  const std::string path = directory + "/app.sock";
  Application local{path};
};

TEST_F(UnixUpstreamTest, RequestsGoThere) {
  start();
  Peer client = connect();
  Peer app;
  for (int i = 0; i < 2; ++i) {
    client.send("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc");
    app = local.accept();
    EXPECT_NE(app.read_head().find("X-Forwarded-For: 127.0.0.1"), std::string::npos);
    EXPECT_EQ(app.read_bytes(3), "abc");
    app.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    EXPECT_EQ(client.read_head().substr(0, 15), "HTTP/1.1 200 OK");
    EXPECT_EQ(client.read_bytes(2), "ok");
  }
  client.send("GET /b HTTP/1.1\r\nHost: h\r\n\r\n");
  EXPECT_EQ(app.read_head().substr(0, 6), "GET /b") << "kept, and used again";
}

TEST_F(UnixUpstreamTest, UpgradesRelayBothWaysWithHalfClose) {
  start();
  Peer client = connect_and_send("GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n");
  Peer app = local.accept();
  EXPECT_NE(app.read_head().find("Upgrade: websocket"), std::string::npos);
  app.send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nhello");
  EXPECT_EQ(client.read_head().substr(0, 12), "HTTP/1.1 101");
  EXPECT_EQ(client.read_bytes(5), "hello");
  const std::string much(1 << 20, 'm');
  client.send(much);
  EXPECT_EQ(app.read_bytes(much.size()), much);
  client.half_close();
  EXPECT_TRUE(app.at_eof());
  app.send("last");
  app.close();
  EXPECT_EQ(client.read_all(), "last");
  EXPECT_TRUE(eventually([&] { return worker->active() == 0 && sink.erased() == 1; }));
}

TEST_F(UnixUpstreamTest, NobodyThereIs502) {
  local.stop_listening();
  start();
  Peer client = connect_and_send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  EXPECT_EQ(client.read_head().substr(0, 12), "HTTP/1.1 502");
}

}  // namespace
}  // namespace suture::test
