// suture: parses the command line and hands over. No policy here.
#include <cstdio>
#include <exception>
#include <variant>

#include <suture/exit_code.hpp>
#include "proxy/cli/cli.hpp"
#include "proxy/node.hpp"

namespace {

int run(const suture::cli::Run& command) {
  if (command.check_config) return suture::cli::check_config(command);
  auto loaded = suture::cli::load_config(command);
  if (!loaded.config) {
    (void)suture::cli::check_config(command);  // says every mistake
    return suture::exit_code::config;
  }
  if (command.log_level) loaded.config->log.level = *command.log_level;
  return suture::run_node(*loaded.config);
}

}  // namespace

int main(int argc, char** argv) try {
  const auto command = suture::cli::parse(argc, argv);
  return std::visit(
      [](const auto& c) {
        using T = std::decay_t<decltype(c)>;
        if constexpr (std::is_same_v<T, suture::cli::Run>) {
          return run(c);
        } else {
          return suture::cli::execute(c);
        }
      },
      command);
} catch (const std::exception& e) {
  std::fprintf(stderr, "suture: %s\n", e.what());
  return 1;
}
