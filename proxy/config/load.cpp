#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>

#include <proxy/config/checks.hpp>
#include <proxy/config/reader.hpp>
#include <proxy/config/sections.hpp>
#include <proxy/config/values.hpp>

namespace suture::config {
namespace {

constexpr std::size_t file_bytes_max = 1024 * 1024;  // the largest sensible file (255 peers) is below 100 kB

LoadResult failed(const std::string& name, int line, std::string message) {
  return {std::nullopt, {{name, line, std::move(message)}}};
}

}  // namespace

std::string to_string(const Mistake& mistake) {
  return mistake.file + (mistake.line > 0 ? ':' + std::to_string(mistake.line) : "") + ": " + mistake.message;
}

LoadResult load_text(const std::string& text, const std::string& name) {
  Document document(name);
  Config config;
  try {
    const auto roots = YAML::LoadAll(text);
    if (roots.empty() || roots.front().IsNull()) return failed(name, 1, "the file is empty; see docs/configuration.md");
    if (roots.size() > 1) return failed(name, 1, "several YAML documents ('---') in one file; wanted one");
    read_config(document, roots.front(), config);
  } catch (const YAML::Exception& error) {
    const int line = error.mark.is_null() ? 1 : error.mark.line + 1;
    return failed(name, line, "not valid YAML: " + error.msg);
  }
  // Also after mistakes: one run reports them all. Values that could not be read stand at their defaults, which pass.
  check_config(document, config);
  if (document.clean()) return {std::move(config), {}};
  return {std::nullopt, document.take()};
}

LoadResult load_file(const std::string& path) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rbe"), &std::fclose);
  if (!file) return failed(path, 0, std::string("cannot open: ") + std::strerror(errno));
  std::string text;
  std::array<char, 16384> chunk{};
  while (const auto n = std::fread(chunk.data(), 1, chunk.size(), file.get())) {
    text.append(chunk.data(), n);
    if (text.size() > file_bytes_max) return failed(path, 0, "larger than 1 MB; this is no configuration of suture");
  }
  if (std::ferror(file.get()) != 0) return failed(path, 0, std::string("cannot read: ") + std::strerror(errno));
  return load_text(text, path);
}

}  // namespace suture::config
