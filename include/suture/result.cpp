#include <suture/result.hpp>

#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <system_error>

namespace suture {

void throw_error(const Error& error) {
  if (error.errno_value != 0) throw std::system_error(error.errno_value, std::generic_category(), error.message);
  throw std::runtime_error(error.message);
}

Error errno_error(std::string what) {
  const int saved = errno;
  return {std::move(what) + ": " + std::strerror(saved), saved};
}

}  // namespace suture
