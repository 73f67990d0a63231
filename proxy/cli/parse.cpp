#include <proxy/cli/cli.hpp>

#include <cstdlib>

#include <CLI/CLI.hpp>

#include <proxy/pki/pki.hpp>
#include <suture/exit_code.hpp>
#include <suture/version.hpp>

namespace suture::cli {
namespace {

using boost::asio::ip::address;

std::string check_address(const std::string& text) {
  boost::system::error_code error;
  boost::asio::ip::make_address(text, error);
  return error ? "'" + text + "' is not an IP address" : "";
}

std::optional<boost::asio::ip::tcp::endpoint> parse_endpoint(const std::string& text) {
  const auto colon = text.rfind(':');
  if (colon == std::string::npos) return std::nullopt;
  std::string host = text.substr(0, colon);
  const bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
  if (bracketed) host = host.substr(1, host.size() - 2);
  boost::system::error_code error;
  const address parsed = boost::asio::ip::make_address(host, error);
  unsigned port = 0;
  if (error || parsed.is_v6() != bracketed || !CLI::detail::lexical_cast(text.substr(colon + 1), port) || port == 0 ||
      port > 65535) {
    return std::nullopt;
  }
  return boost::asio::ip::tcp::endpoint(parsed, static_cast<std::uint16_t>(port));
}

std::string check_level(const std::string& text) {
  log::Level level{};
  return log::level_from(text, level) ? "" : "'" + text + "' is no log level; wanted debug, info, warn or error";
}

// CLI11 prints help and errors to streams: caught here as text.
Done ended(const CLI::App& app, const CLI::ParseError& error) {
  std::ostringstream out, err;
  const int code = app.exit(error, out, err);
  // CLI11 asks for a subcommand first and would not say which word it did not know.
  if (const auto unknown = app.remaining(true); code != 0 && !unknown.empty()) {
    return {exit_code::usage,
            "suture: '" + unknown.front() + "' is unknown here\nRun with --help for more information.\n"};
  }
  return {code == 0 ? 0 : exit_code::usage, code == 0 ? out.str() : "suture: " + err.str()};
}

}  // namespace

Command parse(int argc, const char* const* argv) {
  CLI::App app{"Suture: a TCP anycast proxy that heals connections", "suture"};
  app.set_version_flag("-V,--version", "suture " + version_text());
  app.require_subcommand(1);

  Run run;
  std::string level;
  auto* run_app = app.add_subcommand("run", "Run the proxy in the foreground, log to stderr");
  run_app->add_option("-c,--config", run.config_file,
                      "Configuration file; without it SUTURE_... variables (docs/configuration.md)");
  run_app->add_flag("--check-config", run.check_config,
                    "Only check the configuration: exit 0, or 1 with every mistake");
  run_app->add_option("--log-level", level, "debug, info, warn or error; wins over the file")
      ->check(CLI::Validator(check_level, "LEVEL"));

  auto* pki_app = app.add_subcommand("pki", "Certificates for the nodes' connections with each other");
  pki_app->require_subcommand(1);
  PkiInit init;
  init.days = pki::ca_days;
  auto* init_app = pki_app->add_subcommand("init", "Make the cluster's CA: DIR/ca.pem and DIR/ca.key");
  init_app->add_option("DIR", init.dir, "Directory, made if missing")->required();
  const CLI::Range days_range(1U, 36500U);
  init_app->add_option("--days", init.days, "Days until it expires")->check(days_range)->capture_default_str();

  PkiNode node;
  node.days = pki::node_days;
  unsigned id = 0;
  std::vector<std::string> addresses;
  auto* node_app = pki_app->add_subcommand("node", "Make a node's certificate: DIR/NAME.pem and DIR/NAME.key");
  node_app->add_option("DIR", node.dir, "The directory of suture pki init")->required();
  node_app->add_option("NAME", node.name, "The node's name: file name and CN")->required();
  node_app->add_option("ID", id, "The node's id, node.id in its configuration")
      ->required()
      ->check(CLI::Range(1U, 255U));
  node_app->add_option("--days", node.days, "Days until it expires")->check(days_range)->capture_default_str();
  node_app->add_option("--ip", addresses, "Addresses to put into the certificate")
      ->check(CLI::Validator(check_address, "ADDRESS"));

  std::string admin = "127.0.0.1:9180";
  auto* health_app = app.add_subcommand("healthcheck", "Ask the running node whether it is ready: exit 0 or 1");
  health_app->add_option("--admin", admin, "Its admin.listen, ADDRESS:PORT")
      ->check(CLI::Validator(
          [](const std::string& text) {
            return parse_endpoint(text) ? std::string() : "'" + text + "' is no ADDRESS:PORT; e.g. 127.0.0.1:9180";
          },
          "ADDRESS:PORT"))
      ->capture_default_str();
  bool live = false;
  health_app->add_flag("--live", live,
                       "Only whether it lives (a liveness probe): not its application's state, nor a drain's");

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return ended(app, error);
  }
  if (run_app->parsed()) {
    // -c "" is a script's variable that was not set, not the wish for variables of ours.
    if (run.config_file.empty() && (run_app->count("--config") != 0 || std::getenv("SUTURE_NODE") == nullptr)) {
      return Done{exit_code::usage,
                  "suture run: wanted -c FILE, or SUTURE_NODE and the other variables of docs/configuration.md\n"};
    }
    if (log::Level chosen{}; log::level_from(level, chosen)) run.log_level = chosen;
    return run;
  }
  if (init_app->parsed()) return init;
  if (node_app->parsed()) {
    node.id = NodeId{static_cast<std::uint8_t>(id)};
    for (const auto& text : addresses) node.addresses.push_back(boost::asio::ip::make_address(text));
    return node;
  }
  return HealthCheck{*parse_endpoint(admin), live};
}

}  // namespace suture::cli
