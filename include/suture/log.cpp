#include <suture/log.hpp>

#include <cstdio>

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>

namespace suture::log {
namespace {

spdlog::level::level_enum to_spdlog(Level level) {
  switch (level) {
    case Level::debug:
      return spdlog::level::debug;
    case Level::info:
      return spdlog::level::info;
    case Level::warn:
      return spdlog::level::warn;
    case Level::error:
      return spdlog::level::err;
  }
  return spdlog::level::info;
}

// Values with spaces, quotes or control characters are quoted as JSON strings, so that a line stays one line and one
// key=value stays one field whatever a peer or client sent.
std::string quoted(const std::string& value) {
  const bool plain = !value.empty() && value.find_first_of(" \"=\\") == std::string::npos &&
                     value.find_first_not_of("\t\n\r\v\f") == 0 &&
                     value.find_first_of("\t\n\r\v\f\x7f") == std::string::npos;
  bool printable = true;
  for (const char c : value) printable = printable && static_cast<unsigned char>(c) >= 0x20;
  return plain && printable ? value : boost::json::serialize(boost::json::string_view(value));
}

std::string& node() {
  static std::string name;
  return name;
}

Format& format() {
  static Format f = Format::text;
  return f;
}

spdlog::logger& logger() {
  static const auto instance = [] {
    auto l = spdlog::stderr_logger_mt("suture");
    l->set_pattern("%Y-%m-%dT%H:%M:%S.%e%z %l %v");
    l->flush_on(spdlog::level::debug);
    return l;
  }();
  return *instance;
}

}  // namespace

void configure(Level level, Format fmt, std::string node_name) {
  node() = std::move(node_name);
  format() = fmt;
  logger().set_pattern(fmt == Format::json ? "%v" : "%Y-%m-%dT%H:%M:%S.%e%z %l %v");
  set_level(level);
}

bool level_from(std::string_view name, Level& out) {
  if (name == "debug") return out = Level::debug, true;
  if (name == "info") return out = Level::info, true;
  if (name == "warn") return out = Level::warn, true;
  if (name == "error") return out = Level::error, true;
  return false;
}

void set_level(Level level) {
  logger().set_level(to_spdlog(level));
}

void write(Level level, std::string_view event, std::initializer_list<Field> fields) {
  auto& out = logger();
  const auto spd = to_spdlog(level);
  if (!out.should_log(spd)) return;
  if (format() == Format::json) {
    boost::json::object object;
    object["time_ms"] =
        std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now().time_since_epoch())
            .count();
    const auto name = spdlog::level::to_string_view(spd);
    object["level"] = boost::json::string_view(name.data(), name.size());
    object["node"] = node();
    object["event"] = boost::json::string_view(event.data(), event.size());
    for (const auto& field : fields) object[boost::json::string_view(field.key.data(), field.key.size())] = field.value;
    out.log(spd, "{}", boost::json::serialize(object));
    return;
  }
  std::string line(event);
  if (!node().empty()) line += " node=" + quoted(node());
  for (const auto& field : fields) {
    line += ' ';
    line += field.key;
    line += '=';
    line += quoted(field.value);
  }
  out.log(spd, "{}", line);
}

}  // namespace suture::log
