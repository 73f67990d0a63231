// Beast's basic_parser splits a head and knows the grammar; what it lets pass and a proxy must not (RFC 9112 sections
// 5.2, 6.1, 6.3 and 11.2, request smuggling) is refused here.
#include <algorithm>
#include <cctype>

#include <boost/beast/http/basic_parser.hpp>
#include <proxy/client/http_head.hpp>

namespace suture {
namespace {

namespace http = boost::beast::http;
namespace beast = boost::beast;

struct StartLine {
  std::string_view method, target, reason;
  unsigned status = 0;
  unsigned version = 11;
};

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
        if (field.name.size() > 12 && equals_nocase(field.name.substr(0, 12), "x-forwarded-"))
          field.kind = FieldKind::forwarded;
        else if (field.name.size() > 7 && equals_nocase(field.name.substr(0, 7), "suture-"))
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

template <bool is_request>
const char* split(std::string_view head, StartLine& start, std::vector<Field>& fields) {
  fields.clear();
  // Beast takes a line that starts with white space as a fold of the line before, also where that line has no value.
  for (std::size_t at = head.find('\n'); at + 1 < head.size(); at = head.find('\n', at + 1))
    if (head[at + 1] == ' ' || head[at + 1] == '\t') return "folded field";
  HeadParser<is_request> parser(start, fields, head);
  beast::error_code ec;
  parser.put(boost::asio::const_buffer(head.data(), head.size()), ec);
  if (parser.refused()) return parser.refused();
  if (ec == http::error::bad_content_length || ec == http::error::multiple_content_length) return "bad content length";
  if (ec == http::error::bad_transfer_encoding) return "content length beside transfer encoding";
  if (ec == http::error::bad_version) return "bad version";
  if (ec || !parser.is_header_done()) return "malformed head";
  return nullptr;
}

struct Framing {
  bool has_length = false, has_coding = false, chunked = false, other_coding = false;
  std::uint64_t length = 0;
};

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
      if (equals_nocase(field.value, "chunked"))
        framing.chunked = true;
      else
        framing.other_coding = true;
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

// uri-host [":" port] without what would let it be read in two ways.
bool valid_authority(std::string_view authority) {
  return std::all_of(authority.begin(), authority.end(), [](unsigned char c) {
    return std::isalnum(c) ||
           std::string_view("-._~%!$&'()*+,;=:[]").find(static_cast<char>(c)) != std::string_view::npos;
  });
}

bool valid_target_bytes(std::string_view target) {
  return std::all_of(target.begin(), target.end(), [](unsigned char c) { return c > ' ' && c != 0x7f && c != '#'; });
}

const char* read_target(const StartLine& start, RequestHead& out) {
  std::string_view target = start.target;
  if (target.empty() || !valid_target_bytes(target)) return "bad target";
  out.target = target;
  out.absolute = false;
  if (target[0] == '/') return nullptr;
  if (target == "*") return start.method == "OPTIONS" ? nullptr : "bad target";
  if (target.size() < 8 || !equals_nocase(target.substr(0, 7), "http://")) return "bad target";
  target.remove_prefix(7);
  const auto end = std::min(target.find_first_of("/?"), target.size());
  out.authority = target.substr(0, end);
  if (out.authority.empty() || !valid_authority(out.authority)) return "bad target";
  out.absolute = true;
  out.target = target.substr(end);  // "" and "?query" get their "/" from the rewriter
  return nullptr;
}

bool sane_request_id(std::string_view id) {
  return !id.empty() && id.size() <= 128 && std::all_of(id.begin(), id.end(), [](unsigned char c) {
    return std::isalnum(c) || c == '-' || c == '_' || c == '.' || c == '+' || c == '/' || c == '=' || c == ':';
  });
}

constexpr HeadError bad_request(const char* reason) {
  return {400, reason};
}
constexpr HeadError bad_gateway(const char* reason) {
  return {502, reason};
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
  if (const char* why = split<true>(head, start, out.fields)) return bad_request(why);
  out.method = start.method;
  out.minor = start.version % 10;
  if (start.version / 10 != 1 || out.minor > 1) return HeadError{505, "version not supported"};
  if (start.method == "CONNECT") return HeadError{501, "method not supported"};
  out.authority = {};
  if (const char* why = read_target(start, out)) return bad_request(why);

  Framing framing;
  if (const char* why = read_framing(out.fields, framing)) return bad_request(why);
  if (framing.other_coding) return HeadError{501, "transfer coding not supported"};
  if (framing.has_coding && out.minor == 0) return bad_request("transfer encoding in HTTP/1.0");
  out.framing = framing.chunked                             ? BodyFraming::chunked
                : framing.has_length && framing.length != 0 ? BodyFraming::length
                                                            : BodyFraming::none;
  out.length = framing.length;

  unsigned hosts = 0;
  out.request_id = {};
  for (const Field& field : out.fields) {
    if (field.kind == FieldKind::host) {
      ++hosts;
      if (!valid_authority(field.value)) return bad_request("bad host");
      if (!out.absolute) out.authority = field.value;
    } else if (field.kind == FieldKind::request_id && out.request_id.empty() && sane_request_id(field.value)) {
      out.request_id = field.value;
    }
  }
  if (hosts > 1) return bad_request("more than one host");
  if (hosts == 0 && out.minor >= 1) return bad_request("no host");

  const ConnectionOptions options = read_connection(out.fields);
  out.keep_alive = !options.close && (out.minor >= 1 || options.keep_alive);
  out.upgrade = options.upgrade && out.minor >= 1 && has_field(out.fields, FieldKind::upgrade);
  return std::nullopt;
}

std::optional<HeadError> parse_response_head(std::string_view head, std::string_view request_method,
                                             ResponseHead& out) {
  StartLine start;
  if (const char* why = split<false>(head, start, out.fields)) return bad_gateway(why);
  out.status = start.status;
  out.reason = start.reason;
  out.minor = start.version % 10;
  if (start.version / 10 != 1 || start.status < 100) return bad_gateway("bad status line");

  Framing framing;
  if (const char* why = read_framing(out.fields, framing)) return bad_gateway(why);
  if (framing.other_coding) return bad_gateway("transfer coding not supported");
  const bool no_body = request_method == "HEAD" || out.status < 200 || out.status == 204 || out.status == 304;
  out.framing = no_body               ? BodyFraming::none
                : framing.chunked     ? BodyFraming::chunked
                : !framing.has_length ? BodyFraming::until_close
                : framing.length == 0 ? BodyFraming::none
                                      : BodyFraming::length;
  out.length = out.framing == BodyFraming::length ? framing.length : 0;

  const ConnectionOptions options = read_connection(out.fields);
  out.keep_alive = !options.close && (out.minor >= 1 || options.keep_alive) && out.framing != BodyFraming::until_close;
  out.upgrade = options.upgrade && has_field(out.fields, FieldKind::upgrade);

  out.strong_etag = {};
  for (const Field& field : out.fields)
    if (equals_nocase(field.name, "etag") && field.value.size() >= 2 && field.value.front() == '"')
      out.strong_etag = field.value;
  return std::nullopt;
}

}  // namespace suture
