#include "proxy/datapath/jiffies.hpp"

#include <ctime>

#include <algorithm>
#include <limits>

namespace suture::datapath {

namespace {
constexpr std::uint64_t kNsPerSecond = 1'000'000'000;
}

Result<std::uint32_t> jiffies_per_second() {
  timespec resolution{};
  if (::clock_getres(CLOCK_MONOTONIC_COARSE, &resolution) != 0) return errno_error("resolution of the coarse clock");
  if (resolution.tv_sec != 0 || resolution.tv_nsec <= 0) return Error{"resolution of the coarse clock: no jiffy"};
  const auto tick_ns = static_cast<std::uint64_t>(resolution.tv_nsec);
  return static_cast<std::uint32_t>((kNsPerSecond + tick_ns / 2) / tick_ns);
}

Result<std::uint32_t> to_jiffies(std::uint64_t ns) {
  const auto hz = jiffies_per_second();
  if (!hz) return hz.error();
  const std::uint64_t jiffies = ns / kNsPerSecond * *hz + ns % kNsPerSecond * *hz / kNsPerSecond;
  // The kernel compares 32-bit differences.
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(jiffies, std::numeric_limits<std::int32_t>::max()));
}

}  // namespace suture::datapath
