// Errors are values on the data path: Result<T> holds a T or an Error (boost::outcome-like, over
// boost::system::result).
#pragma once

#include <string>
#include <utility>

#include <boost/system/result.hpp>

namespace suture {

// What went wrong, in a sentence that an operator can act on: what was tried, what the kernel said, what would help.
struct Error {
  std::string message;
  int errno_value = 0;  // 0: not a system error
};

[[noreturn]] void throw_error(const Error& error);  // std::system_error or std::runtime_error
Error errno_error(std::string what);                // "what: strerror(errno)"

template <class T>
using Result = boost::system::result<T, Error>;

[[noreturn]] inline void throw_exception_from_error(const Error& e, const boost::source_location&) {
  throw_error(e);
}

}  // namespace suture
