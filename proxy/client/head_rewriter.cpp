#include <proxy/client/head_rewriter.hpp>

#include <array>
#include <charconv>

namespace suture {
namespace {

void append_number(std::string& out, std::uint64_t n) {
  std::array<char, 20> digits;
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), n).ptr;
  out.append(digits.data(), end);
}

void append_field(std::string& out, std::string_view name, std::string_view value) {
  out.append(name);
  out.append(": ");
  out.append(value);
  out.append("\r\n");
}

}  // namespace

void write_request_head(const RequestHead& head, const ForwardingFacts& facts, std::string& out) {
  out.append(head.method);
  out.push_back(' ');
  if (head.absolute && head.target.empty() && head.method == "OPTIONS")
    out.push_back('*');  // RFC 9112 section 3.2.4
  else if (head.absolute && (head.target.empty() || head.target[0] != '/'))
    out.push_back('/');
  out.append(head.target);
  out.append(" HTTP/1.1\r\n");

  const std::string_view host = head.authority.empty() && head.minor == 0 ? facts.local_host : head.authority;
  bool host_written = false;
  for (const Field& field : head.fields) {
    switch (field.kind) {
      case FieldKind::connection:
      case FieldKind::transfer_encoding:
      case FieldKind::forwarded:
      case FieldKind::suture:
      case FieldKind::upgrade:
        break;
      case FieldKind::request_id:
        break;
      case FieldKind::content_length:
        out.append(field.name).append(": ");
        append_number(out, head.length);  // without leading zeros
        out.append("\r\n");
        break;
      case FieldKind::host:
        append_field(out, field.name, host);
        host_written = true;
        break;
      default:
        if (!facts.range.empty() && (equals_nocase(field.name, "range") || equals_nocase(field.name, "if-range")))
          break;
        if (!facts.last_event_id.empty() && equals_nocase(field.name, "last-event-id")) break;
        if (!facts.websocket_key.empty() && equals_nocase(field.name, "sec-websocket-key"))
          append_field(out, field.name, facts.websocket_key);
        else
          append_field(out, field.name, field.value);
    }
  }
  if (!host_written) append_field(out, "Host", host);
  if (head.framing == BodyFraming::chunked) out.append("Transfer-Encoding: chunked\r\n");
  if (head.upgrade) {
    for (const Field& field : head.fields)
      if (field.kind == FieldKind::upgrade) append_field(out, field.name, field.value);
    out.append("Connection: upgrade\r\n");
  }
  out.append(head.minor == 0 ? "Via: 1.0 " : "Via: 1.1 ");
  out.append(facts.node_name);
  out.append("\r\n");
  append_field(out, "X-Forwarded-For", facts.client);
  out.append("X-Forwarded-Proto: http\r\n");
  append_field(out, "X-Forwarded-Host", host);
  append_field(out, "X-Request-Id", head.request_id.empty() ? facts.request_id : head.request_id);
  if (facts.replay) out.append("Suture-Replay: 1\r\n");
  if (!facts.session.empty()) append_field(out, "Suture-Session", facts.session);
  if (!facts.resume.empty()) append_field(out, "Suture-Resume", facts.resume);
  if (!facts.range.empty()) {
    append_field(out, "Range", facts.range);
    append_field(out, "If-Range", facts.if_range);
  }
  if (!facts.last_event_id.empty()) append_field(out, "Last-Event-ID", facts.last_event_id);
  out.append("\r\n");
}

void write_response_head(const ResponseHead& head, const ResponsePlan& plan, std::string_view node_name,
                         std::string& out) {
  out.append("HTTP/1.1 ");
  append_number(out, head.status);
  out.push_back(' ');
  out.append(head.reason);
  out.append("\r\n");
  bool extensions_written = false;
  for (const Field& field : head.fields) {
    switch (field.kind) {
      case FieldKind::connection:
      case FieldKind::transfer_encoding:
      case FieldKind::suture:
        break;
      case FieldKind::upgrade:
        // Without Connection it is only an advertisement for this hop (426 keeps its meaning through the status).
        if (plan.switch_protocols || head.status == 426) append_field(out, field.name, field.value);
        break;
      case FieldKind::content_length:
        // RFC 9110 section 8.6: not in a 1xx or 204.
        if (head.status >= 200 && head.status != 204) append_field(out, field.name, field.value);
        break;
      default:
        if (!plan.websocket_extensions.empty() && equals_nocase(field.name, "sec-websocket-extensions")) {
          if (!extensions_written) append_field(out, field.name, plan.websocket_extensions);
          extensions_written = true;
          break;
        }
        append_field(out, field.name, field.value);
    }
  }
  if (plan.chunked) out.append("Transfer-Encoding: chunked\r\n");
  if (plan.switch_protocols)
    out.append("Connection: upgrade\r\n");
  else if (plan.close)
    out.append("Connection: close\r\n");
  else if (plan.say_keep_alive)
    out.append("Connection: keep-alive\r\n");
  append_field(out, "X-Served-By", node_name);
  if (!plan.server_timing.empty()) append_field(out, "Server-Timing", plan.server_timing);
  out.append("\r\n");
}

std::string_view status_text(unsigned status) {
  switch (status) {
    case 400:
      return "Bad Request";
    case 408:
      return "Request Timeout";
    case 413:
      return "Content Too Large";
    case 414:
      return "URI Too Long";
    case 431:
      return "Request Header Fields Too Large";
    case 501:
      return "Not Implemented";
    case 502:
      return "Bad Gateway";
    case 503:
      return "Service Unavailable";
    case 504:
      return "Gateway Timeout";
    case 505:
      return "HTTP Version Not Supported";
    default:
      return "Error";
  }
}

void write_error_response(unsigned status, std::string_view reason, std::string_view node_name, std::string_view method,
                          std::string& out, std::string_view server_timing) {
  const std::string_view text = status_text(status);
  out.append("HTTP/1.1 ");
  append_number(out, status);
  out.push_back(' ');
  out.append(text);
  out.append("\r\nContent-Type: text/plain\r\nContent-Length: ");
  const std::size_t body_bytes = 4 + text.size() + 2 + reason.size() + 1;  // "502 Bad Gateway: reason\n"
  append_number(out, body_bytes);
  out.append("\r\nConnection: close\r\n");
  append_field(out, "X-Served-By", node_name);
  if (!server_timing.empty()) append_field(out, "Server-Timing", server_timing);
  out.append("\r\n");
  if (method == "HEAD") return;
  append_number(out, status);
  out.push_back(' ');
  out.append(text);
  out.append(": ");
  out.append(reason);
  out.push_back('\n');
}

void write_try_again(std::string_view node_name, std::string& out, std::string_view server_timing) {
  out.append("HTTP/1.1 503 ");
  out.append(status_text(503));
  out.append("\r\nContent-Length: 0\r\nRetry-After: 1\r\nConnection: close\r\n");
  append_field(out, "X-Served-By", node_name);
  if (!server_timing.empty()) append_field(out, "Server-Timing", server_timing);
  out.append("\r\n");
}

}  // namespace suture
