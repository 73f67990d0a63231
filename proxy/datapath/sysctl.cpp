#include "proxy/datapath/sysctl.hpp"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>

#include "proxy/datapath/file_descriptor.hpp"

namespace suture::datapath {

Result<int> read_sysctl(const std::string& name) {
  const std::string path = "/proc/sys/" + name;
  const FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  char text[32] = {};
  if (!file || ::read(file.get(), text, sizeof text - 1) < 0) return errno_error("read " + path);
  return std::atoi(text);
}

Result<void> ensure_sysctl(const std::string& name, int value) {
  const auto present = read_sysctl(name);
  if (!present) return present.error();
  if (*present == value) return {};
  const std::string path = "/proc/sys/" + name;
  const std::string text = std::to_string(value);
  const FileDescriptor file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (file && ::write(file.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size())) return {};
  Error error = errno_error("write " + path);
  std::string dotted = name;
  std::replace(dotted.begin(), dotted.end(), '/', '.');
  error.message += ": it is " + std::to_string(*present) + " and must be " + text + "; set " + dotted + "=" + text +
                   " before the start (in containers: `sysctls:`, on conf.default for devices made later)";
  return error;
}

}  // namespace suture::datapath
