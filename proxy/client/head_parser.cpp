// Beast's basic_parser splits a head and knows the grammar; what it lets pass and a proxy must not (RFC 9112 sections
// 5.2, 6.1, 6.3 and 11.2, request smuggling) is refused here.
#include <algorithm>
#include <cctype>
#include <charconv>
#include <utility>

#include <boost/beast/http/basic_parser.hpp>
#include <proxy/client/http_head.hpp>
#include <proxy/client/request_target.hpp>

namespace suture {
namespace {

namespace http = boost::beast::http;
namespace beast = boost::beast;

struct StartLine {
  std::string_view method, target, reason;
  unsigned status = 0;
  unsigned version = 11;
};

// Applications that get fields as environment variables (CGI, WSGI) take '_' for '-'.
bool begins_alike(std::string_view name, std::string_view prefix) {
  if (name.size() < prefix.size()) return false;
  return std::equal(prefix.begin(), prefix.end(), name.begin(), [](char wanted, char c) {
    return wanted == (c == '_' ? '-' : c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c);
  });
}

// Hands every event of Beast's parser to plain vectors. Stops after the head: bodies are body_reader's.
template <bool is_request>
class HeadParser final : public http::basic_parser<is_request> {
 public:
  HeadParser(StartLine& start, std::vector<Field>& fields, std::string_view head)
      : start_(start), fields_(fields), head_(head) {
    this->header_limit(static_cast<std::uint32_t>(std::min<std::size_t>(head.size() + 1, 1U << 30)));
    this->body_limit(boost::none);
    this->skip(true);
  }
  const char* refused() const { return refused_; }

 private:
  using View = beast::string_view;
  static std::string_view std_view(View v) { return {v.data(), v.size()}; }
  void stop(const char* reason, beast::error_code& ec) {
    refused_ = reason;
    ec = http::error::bad_field;
  }

  void on_request_impl(http::verb, View method, View target, int version, beast::error_code&) override {
    start_.method = std_view(method);
    start_.target = std_view(target);
    start_.version = static_cast<unsigned>(version);
  }
  void on_response_impl(int code, View reason, int version, beast::error_code&) override {
    start_.status = static_cast<unsigned>(code);
    start_.reason = std_view(reason);
    start_.version = static_cast<unsigned>(version);
  }
  void on_field_impl(http::field id, View name, View value, beast::error_code& ec) override {
    Field field{std_view(name), std_view(value), FieldKind::end_to_end};
    // Beast unfolds an obs-fold into a buffer of its own.
    const bool inside = field.value.empty() || (field.value.data() >= head_.data() &&
                                                field.value.data() + field.value.size() <= head_.data() + head_.size());
    if (!inside) return stop("folded field", ec);
    switch (id) {
      case http::field::connection:
      case http::field::keep_alive:
      case http::field::proxy_connection:
      case http::field::te:
      case http::field::http2_settings:
        field.kind = FieldKind::connection;
        break;
      case http::field::transfer_encoding:
        field.kind = FieldKind::transfer_encoding;
        break;
      case http::field::content_length:
        field.kind = FieldKind::content_length;
        break;
      case http::field::host:
        field.kind = FieldKind::host;
        break;
      case http::field::upgrade:
        field.kind = FieldKind::upgrade;
        break;
      case http::field::via:
        field.kind = FieldKind::via;
        break;
      default:
        if (begins_alike(field.name, "x-forwarded-"))
          field.kind = FieldKind::forwarded;
        else if (begins_alike(field.name, "suture-"))
          field.kind = FieldKind::suture;
        else if (equals_nocase(field.name, "x-request-id"))
          field.kind = FieldKind::request_id;
    }
    fields_.push_back(field);
  }
  void on_header_impl(beast::error_code&) override {}
  void on_body_init_impl(boost::optional<std::uint64_t> const&, beast::error_code&) override {}
  std::size_t on_body_impl(View body, beast::error_code&) override { return body.size(); }
  void on_chunk_header_impl(std::uint64_t, View, beast::error_code&) override {}
  std::size_t on_chunk_body_impl(std::uint64_t, View body, beast::error_code&) override { return body.size(); }
  void on_finish_impl(beast::error_code&) override {}

  StartLine& start_;
  std::vector<Field>& fields_;
  std::string_view head_;
  const char* refused_ = nullptr;
};

using Error = std::optional<HeadError>;

template <bool is_request>
Error split(std::string_view head, StartLine& start, std::vector<Field>& fields) {
  constexpr unsigned kStatus = is_request ? 400 : 502;
  fields.clear();
  // Beast takes a line that starts with white space as a fold of the line before, also where that line has no value.
  for (std::size_t at = head.find('\n'); at + 1 < head.size(); at = head.find('\n', at + 1))
    if (head[at + 1] == ' ' || head[at + 1] == '\t') return HeadError{kStatus, "folded field"};
  HeadParser<is_request> parser(start, fields, head);
  beast::error_code ec;
  parser.put(boost::asio::const_buffer(head.data(), head.size()), ec);
  if (parser.refused()) return HeadError{kStatus, parser.refused()};
  if (ec == http::error::bad_content_length || ec == http::error::multiple_content_length)
    return HeadError{kStatus, "bad content length", Refusal::framing};
  if (ec == http::error::bad_transfer_encoding)
    return HeadError{kStatus, "content length beside transfer encoding", Refusal::framing};
  if (ec == http::error::bad_version) return HeadError{kStatus, "bad version"};
  if (ec || !parser.is_header_done()) return HeadError{kStatus, "malformed head"};
  return std::nullopt;
}

struct Framing {
  bool has_length = false, has_coding = false, chunked = false;
  bool unsupported = false;  // chunked, and inside of that something that we do not take apart
  std::uint64_t length = 0;
};

// RFC 9112 section 6.1: chunked once and last, or nobody knows where the message ends. We know chunked alone.
const char* read_coding(std::string_view list, Framing& framing) {
  if (equals_nocase(list, "chunked")) {
    framing.chunked = true;
    return nullptr;
  }
  const auto comma = list.rfind(',');
  if (comma == std::string_view::npos || !list_has(list.substr(comma + 1), "chunked"))
    return "transfer coding without chunked at its end";
  if (list_has(list.substr(0, comma), "chunked")) return "chunked twice";
  if (list_has(list, "") || list_has(list, "identity")) return "bad transfer encoding";
  framing.unsupported = true;
  return nullptr;
}

// Digits only, once: no list, no sign, no second value even if it is the same.
const char* read_framing(const std::vector<Field>& fields, Framing& framing) {
  for (const Field& field : fields) {
    if (field.kind == FieldKind::content_length) {
      if (framing.has_length) return "more than one content length";
      if (field.value.empty() || field.value.size() > 18) return "bad content length";
      for (const char c : field.value) {
        if (c < '0' || c > '9') return "bad content length";
        framing.length = framing.length * 10 + static_cast<std::uint64_t>(c - '0');
      }
      framing.has_length = true;
    } else if (field.kind == FieldKind::transfer_encoding) {
      if (framing.has_coding) return "more than one transfer encoding";
      framing.has_coding = true;
      if (const char* why = read_coding(field.value, framing)) return why;
    }
  }
  if (framing.has_length && framing.has_coding) return "content length beside transfer encoding";
  return nullptr;
}

// Marks what a Connection field names as not to be passed on. Fields that decide about routing or framing cannot be
// named away.
void apply_connection_field(std::vector<Field>& fields, std::string_view list) {
  for (Field& field : fields) {
    if (field.kind != FieldKind::end_to_end && field.kind != FieldKind::request_id && field.kind != FieldKind::via)
      continue;
    if (equals_nocase(field.name, "authorization") || equals_nocase(field.name, "cookie")) continue;
    if (list_has(list, field.name)) field.kind = FieldKind::connection;
  }
}

struct ConnectionOptions {
  bool close = false, keep_alive = false, upgrade = false;
};

ConnectionOptions read_connection(std::vector<Field>& fields) {
  ConnectionOptions options;
  for (std::size_t i = 0; i < fields.size(); ++i) {
    if (fields[i].kind != FieldKind::connection || !equals_nocase(fields[i].name, "connection")) continue;
    const std::string_view list = fields[i].value;
    options.close |= list_has(list, "close");
    options.keep_alive |= list_has(list, "keep-alive");
    options.upgrade |= list_has(list, "upgrade");
    apply_connection_field(fields, list);
  }
  return options;
}

bool has_field(const std::vector<Field>& fields, FieldKind kind) {
  return std::any_of(fields.begin(), fields.end(), [&](const Field& f) { return f.kind == kind; });
}

// RFC 9110 section 7.8. Not what would turn the rest of the connection into requests that we do not see: another
// version of HTTP (h2c, RFC 9113 section 3.1) or TLS (RFC 2817).
bool may_upgrade(const std::vector<Field>& fields) {
  bool asked = false;
  for (const Field& field : fields) {
    if (field.kind != FieldKind::upgrade) continue;
    asked = true;
    std::string_view list = field.value;
    while (!list.empty()) {
      const auto comma = std::min(list.find(','), list.size());
      std::string_view protocol = list.substr(0, comma);
      protocol.remove_prefix(std::min(protocol.find_first_not_of(" \t"), protocol.size()));
      for (const char* other : {"h2", "http", "tls"})
        if (begins_alike(protocol, other)) return false;
      list.remove_prefix(std::min(comma + 1, list.size()));
    }
  }
  return asked;
}

// RFC 9110 section 9.1 allows any token; what is not in capitals some would take for another method (nginx refuses it).
bool valid_method(std::string_view method) {
  return method.size() <= 32 && std::all_of(method.begin(), method.end(),
                                            [](char c) { return (c >= 'A' && c <= 'Z') || c == '-' || c == '_'; });
}

// A version that is one, but not ours: told apart before Beast calls everything else malformed.
bool other_version(std::string_view head) {
  const std::string_view line = head.substr(0, head.find('\r'));
  const auto space = line.rfind(' ');
  if (space == std::string_view::npos) return false;
  const std::string_view version = line.substr(space + 1);
  const auto digit = [](char c) { return c >= '0' && c <= '9'; };
  return version.size() == 8 && version.starts_with("HTTP/") && digit(version[5]) && version[6] == '.' &&
         digit(version[7]) && version != "HTTP/1.0" && version != "HTTP/1.1";
}

// Exactly one in HTTP/1.1, and what it says is what an absolute-form target says: RFC 9112 section 3.2.2 would take the
// target's, somebody behind us perhaps the other.
const char* read_host(RequestHead& out) {
  unsigned hosts = 0;
  for (const Field& field : out.fields) {
    if (field.kind != FieldKind::host) continue;
    if (++hosts > 1) return "more than one host";
    if (!valid_authority(field.value)) return "bad host";
    if (out.absolute && !same_authority(field.value, out.authority)) return "host contradicts the target";
    if (!out.absolute) out.authority = field.value;
  }
  return hosts == 0 && out.minor >= 1 ? "no host" : nullptr;
}

bool sane_request_id(std::string_view id) {
  return !id.empty() && id.size() <= 128 && std::all_of(id.begin(), id.end(), [](unsigned char c) {
    return std::isalnum(c) || c == '-' || c == '_' || c == '.' || c == '+' || c == '/' || c == '=' || c == ':';
  });
}

constexpr HeadError bad_request(const char* reason, Refusal kind) {
  return {400, reason, kind};
}
constexpr HeadError bad_gateway(const char* reason, Refusal kind = Refusal::malformed) {
  return {502, reason, kind};
}

// first-pos "-" last-pos "/" complete-length, digits all of them.
std::optional<ContentRange> read_content_range(const ResponseHead& head) {
  if (head.status != 206 || head.framing != BodyFraming::length) return std::nullopt;
  std::string_view value;
  for (const Field& field : head.fields) {
    if (!equals_nocase(field.name, "content-range")) continue;
    if (!value.empty()) return std::nullopt;
    value = field.value;
  }
  constexpr std::string_view kUnit = "bytes ";
  if (!equals_nocase(value.substr(0, kUnit.size()), kUnit)) return std::nullopt;
  value.remove_prefix(kUnit.size());
  std::uint64_t last = 0;
  ContentRange range;
  for (const auto& [number, behind] : {std::pair{&range.start, '-'}, {&last, '/'}, {&range.total, '\0'}}) {
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), *number);
    if (error != std::errc()) return std::nullopt;
    value.remove_prefix(static_cast<std::size_t>(end - value.data()));
    if (behind == '\0' ? !value.empty() : !value.starts_with(behind)) return std::nullopt;
    if (!value.empty()) value.remove_prefix(1);
  }
  const bool fits = range.start <= last && last < range.total && head.length == last - range.start + 1;
  return fits ? std::optional(range) : std::nullopt;
}

}  // namespace

bool equals_nocase(std::string_view a, std::string_view b) {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(), [](char x, char y) {
           const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
           return lower(x) == lower(y);
         });
}

bool list_has(std::string_view list, std::string_view token) {
  while (!list.empty()) {
    const auto comma = std::min(list.find(','), list.size());
    std::string_view item = list.substr(0, comma);
    while (!item.empty() && (item.front() == ' ' || item.front() == '\t')) item.remove_prefix(1);
    while (!item.empty() && (item.back() == ' ' || item.back() == '\t')) item.remove_suffix(1);
    if (equals_nocase(item, token)) return true;
    list.remove_prefix(std::min(comma + 1, list.size()));
  }
  return false;
}

std::optional<HeadError> parse_request_head(std::string_view head, RequestHead& out) {
  StartLine start;
  if (other_version(head)) return HeadError{505, "version not supported", Refusal::unsupported};
  if (const auto error = split<true>(head, start, out.fields)) return error;
  if (!valid_method(start.method)) return bad_request("bad method", Refusal::malformed);
  out.method = start.method;
  out.minor = start.version % 10;
  if (start.method == "CONNECT") return HeadError{501, "method not supported", Refusal::unsupported};
  out.authority = {};
  if (const char* why = read_target(start.method, start.target, out)) return bad_request(why, Refusal::target);

  Framing framing;
  if (const char* why = read_framing(out.fields, framing)) return bad_request(why, Refusal::framing);
  if (framing.has_coding && out.minor == 0) return bad_request("transfer encoding in HTTP/1.0", Refusal::framing);
  if (framing.unsupported) return HeadError{501, "transfer coding not supported", Refusal::unsupported};
  out.framing = framing.chunked                             ? BodyFraming::chunked
                : framing.has_length && framing.length != 0 ? BodyFraming::length
                                                            : BodyFraming::none;
  out.length = framing.length;
  // RFC 9110 section 9.3.8.
  if (out.method == "TRACE" && out.framing != BodyFraming::none)
    return bad_request("content in a TRACE", Refusal::framing);

  if (const char* why = read_host(out)) return bad_request(why, Refusal::target);
  out.request_id = {};
  for (const Field& field : out.fields)
    if (field.kind == FieldKind::request_id && out.request_id.empty() && sane_request_id(field.value))
      out.request_id = field.value;

  const ConnectionOptions options = read_connection(out.fields);
  out.keep_alive = !options.close && (out.minor >= 1 || options.keep_alive);
  out.upgrade = options.upgrade && out.minor >= 1 && out.framing == BodyFraming::none && may_upgrade(out.fields);
  return std::nullopt;
}

std::optional<HeadError> parse_response_head(std::string_view head, std::string_view request_method,
                                             ResponseHead& out) {
  StartLine start;
  if (const auto error = split<false>(head, start, out.fields)) return error;
  out.status = start.status;
  out.reason = start.reason;
  out.minor = start.version % 10;
  if (start.status < 100) return bad_gateway("bad status line");

  Framing framing;
  if (const char* why = read_framing(out.fields, framing)) return bad_gateway(why, Refusal::framing);
  if (framing.unsupported) return bad_gateway("transfer coding not supported", Refusal::unsupported);
  if (framing.has_coding && out.minor == 0) return bad_gateway("transfer encoding in HTTP/1.0", Refusal::framing);
  // RFC 9110 section 8.6 and RFC 9112 section 6.1: neither goes with these. Many send a length of 0 all the same.
  const bool never_content = out.status < 200 || out.status == 204;
  if (never_content && (framing.has_coding || framing.length != 0))
    return bad_gateway("content in a response that has none", Refusal::framing);
  const bool no_body = request_method == "HEAD" || never_content || out.status == 304;
  out.framing = no_body               ? BodyFraming::none
                : framing.chunked     ? BodyFraming::chunked
                : !framing.has_length ? BodyFraming::until_close
                : framing.length == 0 ? BodyFraming::none
                                      : BodyFraming::length;
  out.length = out.framing == BodyFraming::length ? framing.length : 0;

  const ConnectionOptions options = read_connection(out.fields);
  out.keep_alive = !options.close && (out.minor >= 1 || options.keep_alive) && out.framing != BodyFraming::until_close;
  out.upgrade = options.upgrade && has_field(out.fields, FieldKind::upgrade);

  out.content_range = read_content_range(out);
  out.strong_etag = out.content_coding = {};
  unsigned codings = 0;
  for (const Field& field : out.fields) {
    if (equals_nocase(field.name, "etag") && field.value.size() >= 2 && field.value.front() == '"')
      out.strong_etag = field.value;
    if (!equals_nocase(field.name, "content-encoding")) continue;
    ++codings;
    out.content_coding = field.value;
  }
  if (codings > 1) out.strong_etag = {};  // legal, and nothing that could be compared
  return std::nullopt;
}

}  // namespace suture
