// The example of docs/configuration.md loads as it stands, and every key that it documents exists.
#include <fstream>
#include <sstream>

#include <proxy/cli/cli.hpp>
#include <proxy/config/config.hpp>

#include "fixture.hpp"

namespace suture::config {
namespace {

class ExampleTest : public ConfigTest {
 protected:
  static std::string document() {
    std::ifstream file(SUTURE_CONFIGURATION_MD);
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
  }
  static std::string example() {
    const std::string text = document();
    const std::string fence = "```yaml\n";
    const auto from = text.find(fence);
    if (from == std::string::npos) return "";
    return text.substr(from + fence.size(), text.find("\n```", from) + 1 - from - fence.size());
  }
};

TEST_F(ExampleTest, LoadsAsItStands) {
  const auto loaded = load_text(example(), "example.yaml");
  for (const auto& mistake : loaded.mistakes) ADD_FAILURE() << to_string(mistake);
  ASSERT_TRUE(loaded.config.has_value());
  EXPECT_EQ(loaded.config->peers.size(), 2U);
  EXPECT_EQ(loaded.config->listeners.size(), 2U);
  EXPECT_EQ(loaded.config->vips.size(), 2U);
}

TEST_F(ExampleTest, CheckConfigSaysSo) {
  const std::string file = dir() + "/suture.yaml";
  std::ofstream(file) << example();
  const char* good[] = {"suture", "run", "-c", file.c_str(), "--check-config"};
  const auto command = cli::parse(5, good);
  ASSERT_TRUE(std::holds_alternative<cli::Run>(command));
  EXPECT_EQ(cli::check_config(std::get<cli::Run>(command)), 0);

  std::ofstream(file) << with(example(), "id: 1", "id: 7");  // the certificate is node 1's
  EXPECT_EQ(cli::check_config(std::get<cli::Run>(command)), 1);
}

TEST_F(ExampleTest, CommandLine) {
  const auto parse = [](std::vector<const char*> args) {
    args.insert(args.begin(), "suture");
    return cli::parse(static_cast<int>(args.size()), args.data());
  };
  const struct {
    std::vector<const char*> args;
    int code;
    const char* fragment;
  } rows[] = {
      {{"-V"}, 0, "suture " SUTURE_VERSION},
      {{"--version"}, 0, "suture " SUTURE_VERSION},
      {{"--help"}, 0, "healthcheck"},
      {{"pki", "node", "--help"}, 0, "ID"},
      {{}, 2, "subcommand"},
      {{"walk"}, 2, "walk"},
      {{"run"}, 2, "wanted -c FILE, or SUTURE_NODE"},
      {{"run", "-c", ""}, 2, "wanted -c FILE"},
      {{"run", "-c", "x", "--frobnicate"}, 2, "--frobnicate"},
      {{"run", "-c", "x", "--log-level", "loud"}, 2, "no log level"},
      {{"pki"}, 2, "subcommand"},
      {{"pki", "node", "d", "n"}, 2, "ID is required"},
      {{"pki", "node", "d", "n", "256"}, 2, "256"},
      {{"pki", "node", "d", "n", "x"}, 2, "ID"},
      {{"pki", "node", "d", "n", "1", "--ip", "here"}, 2, "not an IP address"},
      {{"healthcheck", "--admin", "9180"}, 2, "ADDRESS:PORT"},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.args.empty() ? "(nothing)" : row.args.back());
    const auto command = parse(row.args);
    ASSERT_TRUE(std::holds_alternative<cli::Done>(command));
    EXPECT_EQ(std::get<cli::Done>(command).exit_code, row.code);
    EXPECT_NE(std::get<cli::Done>(command).text.find(row.fragment), std::string::npos)
        << std::get<cli::Done>(command).text;
  }
  const auto node = parse({"pki", "node", "d", "pop7", "7", "--ip", "198.18.0.7", "--ip", "fd00:5::7", "--days", "9"});
  ASSERT_TRUE(std::holds_alternative<cli::PkiNode>(node));
  EXPECT_EQ(to_int(std::get<cli::PkiNode>(node).id), 7U);
  EXPECT_EQ(std::get<cli::PkiNode>(node).addresses.size(), 2U);
  EXPECT_EQ(std::get<cli::PkiNode>(node).days, 9U);
  const auto init = parse({"pki", "init", "d"});
  ASSERT_TRUE(std::holds_alternative<cli::PkiInit>(init));
  EXPECT_EQ(std::get<cli::PkiInit>(init).days, 3650U);
  const auto health = parse({"healthcheck"});
  ASSERT_TRUE(std::holds_alternative<cli::HealthCheck>(health));
  EXPECT_EQ(std::get<cli::HealthCheck>(health).admin.port(), 9180);
}

}  // namespace
}  // namespace suture::config
