#include <proxy/client/access_log.hpp>

#include <array>
#include <cstdio>
#include <ctime>

namespace suture {
namespace {

using Format = config::AccessLog::Format;

constexpr char kHex[] = "0123456789abcdef";

// mod_log_config, "Format Notes": quotes and backslashes get a backslash, white space its C notation, and what is not
// printable is \xhh.
void append_escaped(std::string& out, std::string_view text) {
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const char* const short_form = c == '"'    ? "\\\""
                                   : c == '\\' ? "\\\\"
                                   : c == '\b' ? "\\b"
                                   : c == '\t' ? "\\t"
                                   : c == '\n' ? "\\n"
                                   : c == '\v' ? "\\v"
                                   : c == '\r' ? "\\r"
                                               : nullptr;
    if (short_form)
      out.append(short_form);
    else if (byte >= 0x20 && byte < 0x7f)
      out.push_back(c);
    else
      out.append({'\\', 'x', kHex[byte >> 4], kHex[byte & 15]});
  }
}

void append_quoted(std::string& out, std::string_view text) {
  out.append(" \"");
  append_escaped(out, text.empty() ? "-" : text);
  out.push_back('"');
}

std::tm calendar(std::chrono::system_clock::time_point time) {
  const std::time_t seconds = std::chrono::system_clock::to_time_t(std::chrono::floor<std::chrono::seconds>(time));
  std::tm out{};
  ::gmtime_r(&seconds, &out);
  return out;
}

// [10/Oct/2000:13:55:36 +0000]: month names of the C locale, whatever ours is.
void append_apache_time(std::string& out, std::chrono::system_clock::time_point time) {
  static constexpr std::array kMonths{"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                      "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  const std::tm t = calendar(time);
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), " [%02d/%s/%04d:%02d:%02d:%02d +0000]", t.tm_mday,
                kMonths[static_cast<std::size_t>(t.tm_mon)], t.tm_year + 1900, t.tm_hour, t.tm_min, t.tm_sec);
  out.append(text.data());
}

void append_common(std::string& out, const AccessEntry& e) {
  append_escaped(out, e.client.empty() ? "-" : e.client);
  out.append(" - -");
  append_apache_time(out, e.time);
  append_quoted(out, e.request_line);
  out.push_back(' ');
  out.append(e.status == 0 ? "-" : std::to_string(e.status));
  out.push_back(' ');
  out.append(e.body_bytes == 0 ? "-" : std::to_string(e.body_bytes));
}

void append_key(std::string& out, const char* key) {
  if (out.back() != '{') out.push_back(',');
  out.push_back('"');
  out.append(key);
  out.append("\":");
}

// RFC 8259 section 7. What is not ASCII need not be UTF-8: each byte becomes a character.
void append_json(std::string& out, const char* key, std::string_view text) {
  append_key(out, key);
  out.push_back('"');
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\')
      out.append({'\\', c});
    else if (byte >= 0x20 && byte < 0x7f)
      out.push_back(c);
    else
      out.append({'\\', 'u', '0', '0', kHex[byte >> 4], kHex[byte & 15]});
  }
  out.push_back('"');
}

void append_json(std::string& out, const char* key, std::uint64_t number) {
  append_key(out, key);
  out.append(std::to_string(number));
}

void append_json_time(std::string& out, std::chrono::system_clock::time_point time) {
  using std::chrono::milliseconds;
  const std::tm t = calendar(time);
  const auto ms = std::chrono::floor<milliseconds>(time.time_since_epoch()).count() % 1000;
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", t.tm_year + 1900, t.tm_mon + 1,
                t.tm_mday, t.tm_hour, t.tm_min, t.tm_sec, static_cast<int>(ms));
  append_json(out, "time", text.data());
}

void append_json_line(std::string& out, const AccessEntry& e) {
  out.push_back('{');
  append_json(out, "client", e.client);
  append_json_time(out, e.time);
  append_json(out, "request", e.request_line);
  append_json(out, "host", e.host);
  append_json(out, "referer", e.referer);
  append_json(out, "user_agent", e.user_agent);
  append_json(out, "status", std::uint64_t{e.status});
  append_json(out, "bytes", e.body_bytes);
  append_key(out, "duration_ms");
  std::array<char, 32> ms{};
  std::snprintf(ms.data(), ms.size(), "%.3f", std::chrono::duration<double, std::milli>(e.duration).count());
  out.append(ms.data());
  append_json(out, "upstream", e.upstream);
  append_json(out, "request_id", e.request_id);
  append_json(out, "pop", e.pop);
  append_json(out, "owner", e.owner);
  append_json(out, "healed", e.healed);
  append_json(out, "heals", std::uint64_t{e.heals});
  append_json(out, "close", e.close);
  out.push_back('}');
}

}  // namespace

void write_access_line(const AccessEntry& entry, Format format, std::string& out) {
  if (format == Format::json) {
    append_json_line(out, entry);
  } else {
    append_common(out, entry);
    if (format == Format::combined) {
      append_quoted(out, entry.referer);
      append_quoted(out, entry.user_agent);
    }
  }
  out.push_back('\n');
}

}  // namespace suture
