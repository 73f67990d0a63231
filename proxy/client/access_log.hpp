// The access log: one answered (or refused, or cut off) request as one line. Pure; client/access_file writes the lines.
// What came from a client is escaped, so that a line stays one line and a quoted field one field, whatever was sent.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include <proxy/config/config.hpp>

namespace suture {

struct AccessEntry {
  std::string_view client;                       // address, without brackets and port
  std::chrono::system_clock::time_point time{};  // the request's first byte; a heal: when it was taken over
  std::string_view request_line;                 // as received; "": none came whole
  std::string_view host, referer, user_agent;    // "": none
  unsigned status = 0;                           // 0: no response has begun
  std::uint64_t body_bytes = 0;                  // of the response as the client gets them, chunk framing included
  std::chrono::nanoseconds duration{};           // since `time`
  std::string_view upstream;                     // "": the answer is the proxy's own
  std::string_view request_id;                   // as the application saw it
  std::string_view pop;                          // this node
  std::string_view owner;                        // this node, or whose session it was before it was taken over
  std::string_view healed;                       // rung, where this very exchange was taken over
  std::uint32_t heals = 0;                       // how often the connection changed its owner so far
  std::string_view close;                        // why the connection ends with this exchange; "": it goes on
};

// Appends the line and its '\n'. Not for AccessLog::Format::off.
//   common    Apache's: %h %l %u %t "%r" %>s %b, times in UTC, never a user
//   combined  the same, "%{Referer}i" "%{User-agent}i"
//   json      one object, its keys in the order of AccessEntry; bytes from 0x80 on as \u00xx
void write_access_line(const AccessEntry& entry, config::AccessLog::Format format, std::string& out);

// Where lines go: of any thread, never blocks. False: the line is lost, and counted.
class AccessSink {
 public:
  virtual ~AccessSink() = default;
  virtual bool write(std::string_view line) = 0;
};

}  // namespace suture
