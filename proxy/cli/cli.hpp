// The command line: parsed into a value, which main dispatches. Exit codes: 0 done, 1 could not do it (or not ready, or
// --check-config found a mistake), 2 wrong usage; `run` has two more (suture/exit_code.hpp).
#pragma once

#include <optional>
#include <string>
#include <variant>
#include <vector>

#include <boost/asio/ip/address.hpp>
#include <boost/asio/ip/tcp.hpp>

#include <proxy/config/config.hpp>
#include <suture/ids.hpp>
#include <suture/log.hpp>

namespace suture::cli {

// suture run [-c FILE] [--check-config] [--log-level L]
struct Run {
  std::string config_file;  // empty: environment variables alone
  bool check_config = false;
  std::optional<log::Level> log_level;  // wins over the file's
};
// suture pki init DIR [--days N]
struct PkiInit {
  std::string dir;
  unsigned days = 0;
};
// suture pki node DIR NAME ID [--days N] [--ip ADDR...]
struct PkiNode {
  std::string dir;
  std::string name;
  NodeId id{};
  unsigned days = 0;
  std::vector<boost::asio::ip::address> addresses;
};
// suture healthcheck [--admin ADDR:PORT] [--live]
struct HealthCheck {
  boost::asio::ip::tcp::endpoint admin;
  bool live = false;  // only whether the process lives, whatever its application does
};
// Nothing to run: --help, --version (code 0, text for stdout), or wrong usage (code 2, text for stderr).
struct Done {
  int exit_code = 0;
  std::string text;
};
using Command = std::variant<Run, PkiInit, PkiNode, HealthCheck, Done>;

Command parse(int argc, const char* const* argv);

// Each does the whole command, prints to stdout/stderr and returns the exit code. Only `run` without --check-config is
// main's own business: check_config() is for the other half.
config::LoadResult load_config(const Run& command);
// Prints every mistake as FILE:LINE: message (VARIABLE: message without a file), or "FILE: ok".
int check_config(const Run& command);
int execute(const PkiInit& command);
int execute(const PkiNode& command);
int execute(const HealthCheck& command);  // /readyz, or /healthz if `live`: 0 yes, 1 no, or no answer within 3 s
int execute(const Done& command);

}  // namespace suture::cli
