// What a client's developer tools show of a heal: Server-Timing (W3C Server Timing, section 3), on the response that
// the heal delayed. Pure.
#pragma once

#include <array>
#include <chrono>
#include <cstdio>
#include <string>
#include <string_view>

namespace suture {

// `heal;desc="replay";dur=12.3`: `since` this node took the session over, in milliseconds.
inline std::string heal_timing(std::string_view rung, std::chrono::nanoseconds since) {
  std::array<char, 32> ms{};
  std::snprintf(ms.data(), ms.size(), "%.1f", std::chrono::duration<double, std::milli>(since).count());
  return "heal;desc=\"" + std::string(rung) + "\";dur=" + ms.data();
}

}  // namespace suture
