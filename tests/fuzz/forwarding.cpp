#include "forwarding.hpp"

#include <algorithm>
#include <vector>

#include <proxy/client/body_reader.hpp>
#include <proxy/client/chunk_layout.hpp>
#include <proxy/client/head_rewriter.hpp>

#include "second_parser.hpp"

namespace suture::fuzz {
namespace {

constexpr ForwardingFacts kFacts{"192.0.2.1", "203.0.113.10", "pop1", "0123"};

std::string quoted(std::string_view bytes) {
  std::string out = "\"";
  for (const char c : bytes) {
    if (c == '\r')
      out += "\\r";
    else if (c == '\n')
      out += "\\n";
    else
      out += c;
  }
  return out + '"';
}

FieldList list_of(const std::vector<Field>& fields, bool end_to_end_only) {
  FieldList out;
  for (const Field& field : fields)
    if (!end_to_end_only || field.kind == FieldKind::end_to_end) out.emplace_back(field.name, field.value);
  return out;
}

// In the same order, perhaps with others between.
bool contains(const FieldList& all, const FieldList& some) {
  auto at = all.begin();
  return std::all_of(some.begin(), some.end(), [&](const auto& field) {
    at = std::find(at, all.end(), field);
    return at != all.end() && ++at != all.begin();
  });
}

FieldList trailers_of(std::string_view lines) {
  FieldList out;
  while (!lines.empty()) {
    const std::string_view line = lines.substr(0, lines.find('\r'));
    const auto colon = line.find(':');
    std::string_view value = line.substr(colon + 1);
    while (!value.empty() && (value.front() == ' ' || value.front() == '\t')) value.remove_prefix(1);
    while (!value.empty() && (value.back() == ' ' || value.back() == '\t')) value.remove_suffix(1);
    out.emplace_back(line.substr(0, colon), value);
    lines.remove_prefix(line.size() + 2);
  }
  return out;
}

// http-parser leaves white space at a value's end where it is.
bool same_trailers(const FieldList& ours, const FieldList& theirs) {
  return std::equal(ours.begin(), ours.end(), theirs.begin(), theirs.end(), [](const auto& a, const auto& b) {
    return a.first == b.first && b.second.starts_with(a.second) &&
           b.second.find_first_not_of(" \t", a.second.size()) == std::string::npos;
  });
}

// One body, as it came and as it goes on.
struct Body {
  BodyReader reader;
  std::string content;
  std::string wire;
  std::size_t used = 0;
};

// As HttpSession::feed_body() does.
void feed(Body& body, std::string_view in) {
  std::string content;
  body.used += body.reader.feed(in, &content);
  body.content += content;
  if (body.reader.framing() != BodyFraming::chunked) {
    body.wire += content;
    return;
  }
  if (!content.empty()) body.wire += size_line(static_cast<std::uint32_t>(content.size())) + content + "\r\n";
}

Body read_body(BodyFraming framing, std::uint64_t length, std::string_view bytes) {
  Body body{BodyReader(framing, length), {}, {}, 0};
  feed(body, bytes);
  if (framing == BodyFraming::chunked && body.reader.done()) body.wire += "0\r\n" + body.reader.trailers() + "\r\n";
  return body;
}

std::string check_cut(BodyFraming framing, std::uint64_t length, std::string_view bytes, std::size_t cut,
                      const Body& whole) {
  Body pieces{BodyReader(framing, length), {}, {}, 0};
  feed(pieces, bytes.substr(0, cut));
  if (pieces.used == std::min(cut, bytes.size())) feed(pieces, bytes.substr(pieces.used));
  if (pieces.used != whole.used || pieces.content != whole.content || pieces.reader.status() != whole.reader.status() ||
      pieces.reader.trailers() != whole.reader.trailers())
    return "a body cut at " + std::to_string(cut) + " is another body";
  return {};
}

// Our reading of a stream: what came in, and what goes on.
struct Reading {
  std::vector<Message> messages;
  std::string wire;
  bool last = false;       // nothing behind the last message is looked at
  bool malformed = false;  // in the last message's content
};

std::string check_scanner(std::string_view bytes, const HeadScanner& whole, HeadScanner::Status status) {
  HeadScanner pieces;
  auto by_byte = HeadScanner::Status::need_more;
  for (std::size_t n = 1; n <= bytes.size() && by_byte == HeadScanner::Status::need_more; ++n)
    by_byte = pieces.scan(bytes.substr(0, n));
  if (by_byte != status) return "the scanner depends on how bytes arrive";
  if (status == HeadScanner::Status::complete &&
      (pieces.head_bytes() != whole.head_bytes() || pieces.start_line_bytes() != whole.start_line_bytes()))
    return "the scanner finds two ends";
  return {};
}

std::string take_request(std::string_view head, std::string_view rest, Reading& reading, std::size_t& used) {
  RequestHead request, again;
  if (parse_request_head(head, request)) {
    reading.last = true;
    return {};
  }
  std::string out;
  write_request_head(request, kFacts, out);
  if (const auto error = parse_request_head(out, again)) return "we refuse what we pass on: " + quoted(out);
  const bool same_target = again.target == request.target || again.target == '/' + std::string(request.target) ||
                           (again.target == "*" && request.absolute);
  if (again.method != request.method || !same_target || again.framing != request.framing ||
      again.length != request.length || again.upgrade != request.upgrade)
    return "we pass on another request: " + quoted(out);
  if (!contains(list_of(again.fields, false), list_of(request.fields, true)))
    return "fields are lost or changed: " + quoted(out);
  const Body body = read_body(request.framing, request.length, rest);
  if (auto wrong = check_cut(request.framing, request.length, rest, rest.size() / 2, body); !wrong.empty())
    return wrong;
  Message message;
  message.method = again.method;
  message.target = again.target;
  message.fields = list_of(again.fields, false);
  message.content = body.content;
  message.trailers = trailers_of(body.reader.done() ? body.reader.trailers() : std::string_view());
  message.complete = body.reader.done();
  reading.messages.push_back(message);
  reading.wire += out + body.wire;
  reading.last = !body.reader.done() || !request.keep_alive || request.upgrade;
  reading.malformed = body.reader.status() == BodyReader::Status::malformed;
  used = body.used;
  return {};
}

std::string take_response(std::string_view head, std::string_view rest, Reading& reading, std::size_t& used) {
  ResponseHead response, again;
  reading.last = true;
  // 101 is for a request that asked for an upgrade; this one did not.
  if (parse_response_head(head, "GET", response) || response.status == 101) return {};
  std::string out;
  ResponsePlan plan;
  plan.chunked = response.framing == BodyFraming::chunked;
  write_response_head(response, plan, "pop1", out);
  if (const auto error = parse_response_head(out, "GET", again)) return "we refuse what we pass on: " + quoted(out);
  if (again.status != response.status || again.framing != response.framing || again.length != response.length ||
      again.reason != response.reason)
    return "we pass on another response: " + quoted(out);
  if (!contains(list_of(again.fields, false), list_of(response.fields, true)))
    return "fields are lost or changed: " + quoted(out);
  Body body = read_body(response.framing, response.length, rest);
  if (auto wrong = check_cut(response.framing, response.length, rest, rest.size() / 2, body); !wrong.empty())
    return wrong;
  Message message;
  message.status = again.status;
  message.fields = list_of(again.fields, false);
  message.content = body.content;
  message.trailers = trailers_of(body.reader.done() ? body.reader.trailers() : std::string_view());
  reading.malformed = body.reader.status() == BodyReader::Status::malformed;
  message.complete = body.reader.finish_at_eof() == BodyReader::Status::done;
  reading.messages.push_back(message);
  reading.wire += out + body.wire;
  reading.last = response.status >= 200;
  used = body.used;
  return {};
}

template <class Take>
std::string read_stream(std::string_view bytes, Reading& reading, Take take) {
  while (!bytes.empty() && !reading.last) {
    HeadScanner scanner;
    const auto status = scanner.scan(bytes);
    if (auto wrong = check_scanner(bytes, scanner, status); !wrong.empty()) return wrong;
    if (status != HeadScanner::Status::complete) return {};
    const std::string_view head = bytes.substr(0, scanner.head_bytes());
    bytes.remove_prefix(head.size());
    std::size_t used = 0;
    if (auto wrong = take(head, bytes, reading, used); !wrong.empty()) return wrong;
    bytes.remove_prefix(used);
  }
  return {};
}

std::string describe(const Message& m) {
  std::string out = m.method + " " + m.target + " " + std::to_string(m.status) + (m.complete ? "" : " incomplete");
  for (const auto& [name, value] : m.fields) out += " | " + name + "=" + value;
  return out + " | " + quoted(m.content);
}

// second_parser.hpp: a mistake of its.
bool misread(const Reading& ours) {
  constexpr std::string_view kCoding = "transfer-encoding";
  return std::any_of(ours.messages.begin(), ours.messages.end(), [&](const Message& message) {
    return std::any_of(message.fields.begin(), message.fields.end(), [&](const auto& field) {
      return field.first.size() > kCoding.size() &&
             equals_nocase(std::string_view(field.first).substr(0, kCoding.size()), kCoding);
    });
  });
}

std::string compare(const Reading& ours, const SecondReading& theirs) {
  for (std::size_t i = 0; i < ours.messages.size(); ++i) {
    const Message& a = ours.messages[i];
    if (i >= theirs.messages.size()) {
      if (theirs.unknown_method) return {};
      return "the second parser stops before " + describe(a) + ": " + theirs.error + " in " + quoted(ours.wire);
    }
    const Message& b = theirs.messages[i];
    const bool last = theirs.upgrade && i + 1 == theirs.messages.size();
    if (a.method != b.method || a.target != b.target || a.status != b.status || a.fields != b.fields ||
        (!last && (a.content != b.content || a.complete != b.complete)) || !same_trailers(a.trailers, b.trailers))
      return "the second parser reads " + describe(b) + " for " + describe(a) + " " + theirs.error;
  }
  if (theirs.messages.size() > ours.messages.size())
    return "the second parser finds one more: " + describe(theirs.messages.back());
  return {};
}

// Of what came in: boundaries and content alone, as far as the second parser goes along.
std::string compare_raw(const Reading& ours, const SecondReading& theirs) {
  const std::size_t n = std::min(ours.messages.size(), theirs.messages.size());
  for (std::size_t i = 0; i < n; ++i) {
    const Message& a = ours.messages[i];
    const Message& b = theirs.messages[i];
    if (theirs.upgrade && i + 1 == theirs.messages.size()) return {};
    if (ours.malformed && i + 1 == ours.messages.size()) return {};
    const bool stopped = i + 1 == theirs.messages.size() && !theirs.error.empty() && !b.complete;
    if (stopped) return {};
    if (a.method != b.method || a.status != b.status || a.content != b.content || a.complete != b.complete)
      return "the second parser reads " + describe(b) + " where we read " + describe(a);
  }
  return {};
}

}  // namespace

std::string check_requests(std::string_view bytes) {
  Reading reading;
  if (auto wrong = read_stream(bytes, reading, take_request); !wrong.empty()) return wrong;
  if (reading.messages.empty() || misread(reading)) return {};
  if (auto wrong = compare(reading, read_requests(reading.wire)); !wrong.empty()) return wrong;
  return compare_raw(reading, read_requests(bytes));
}

std::string check_responses(std::string_view bytes) {
  Reading reading;
  if (auto wrong = read_stream(bytes, reading, take_response); !wrong.empty()) return wrong;
  if (reading.messages.empty() || misread(reading)) return {};
  if (auto wrong = compare(reading, read_responses(reading.wire, true)); !wrong.empty()) return wrong;
  return compare_raw(reading, read_responses(bytes, true));
}

std::string check_chunked(std::string_view bytes, std::size_t cut) {
  const Body whole = read_body(BodyFraming::chunked, 0, bytes);
  if (auto wrong = check_cut(BodyFraming::chunked, 0, bytes, cut, whole); !wrong.empty()) return wrong;
  if (whole.reader.trailers().size() > BodyReader::kTrailerBytesMax) return "too many trailers";
  if (whole.used > bytes.size() || whole.content.size() > bytes.size()) return "more than there is";
  const Body again = read_body(BodyFraming::chunked, 0, whole.wire);
  if (again.wire != whole.wire || again.content != whole.content || again.reader.done() != whole.reader.done() ||
      again.reader.trailers_dropped() != 0)
    return "our own framing reads differently";
  if (!whole.reader.done()) return {};
  const std::string head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
  for (const std::string& wire : {head + whole.wire, head + std::string(bytes.substr(0, whole.used))}) {
    const bool ours = wire.size() == head.size() + whole.wire.size() && wire.ends_with(whole.wire);
    const SecondReading second = read_responses(wire, false);
    if (second.messages.size() != 1 || !second.messages[0].complete) {
      // It refuses some trailers that we would drop.
      if (!ours && whole.reader.trailers_dropped() != 0) continue;
      return "the second parser does not find the end: " + second.error;
    }
    if (second.messages[0].content != whole.content) return "the second parser finds other content";
    if (!second.error.empty()) return "the second parser finds something behind the end: " + second.error;
  }
  return {};
}

}  // namespace suture::fuzz
