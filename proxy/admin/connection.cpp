// One admin connection: read a request, answer it, until the client closes or a bound is reached.
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/error.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>

#include <proxy/admin/server_state.hpp>

namespace suture::admin {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using asio::redirect_error;
using asio::use_awaitable;
using Parser = http::request_parser<http::string_body>;

// A place in the connection count and in the set that stop() closes.
class Slot {
 public:
  Slot(std::set<beast::tcp_stream*>& streams, Gauge& active, beast::tcp_stream& stream)
      : streams_(streams), active_(active), stream_(stream) {
    streams_.insert(&stream_);
    active_.add(1);
  }
  ~Slot() {
    streams_.erase(&stream_);
    active_.add(-1);
  }
  Slot(const Slot&) = delete;
  Slot& operator=(const Slot&) = delete;

 private:
  std::set<beast::tcp_stream*>& streams_;
  Gauge& active_;
  beast::tcp_stream& stream_;
};

struct Refused {
  Refusal why;
  Response response;
};

// Nothing: the connection is simply over, there is nobody to tell.
std::optional<Refused> refusal_of(const beast::error_code& error) {
  if (error == http::error::header_limit || error == http::error::buffer_overflow) {
    return Refused{Refusal::too_large, text(431, "request head too large")};
  }
  if (error == http::error::body_limit) return Refused{Refusal::too_large, text(413, "request body too large")};
  if (error == http::error::end_of_stream || error == http::error::partial_message) return std::nullopt;
  if (error.category() == http::make_error_code(http::error::bad_method).category()) {
    return Refused{Refusal::malformed, text(400, "malformed request: " + error.message())};
  }
  return std::nullopt;
}

http::response<http::string_body> rendered(Response response, bool keep_alive, bool head) {
  http::response<http::string_body> out(static_cast<http::status>(response.status), 11);
  out.set(http::field::server, "suture/" SUTURE_VERSION);
  out.set(http::field::content_type, response.content_type);
  out.set(http::field::cache_control, "no-store");
  out.set("X-Content-Type-Options", "nosniff");
  if (!response.allow.empty()) out.set(http::field::allow, response.allow);
  out.keep_alive(keep_alive);
  const auto length = response.body.size();
  if (!head) out.body() = std::move(response.body);
  out.content_length(length);  // HEAD: the length that GET would have had (RFC 9110 section 8.6)
  return out;
}

asio::awaitable<bool> write(beast::tcp_stream& stream, Response response, bool keep_alive, bool head) {
  auto message = rendered(std::move(response), keep_alive, head);
  http::response_serializer<http::string_body> serializer(message);
  beast::error_code error;
  // For HEAD the body is empty while the length is not: only the head goes out.
  if (head) {
    co_await http::async_write_header(stream, serializer, redirect_error(use_awaitable, error));
  } else {
    co_await http::async_write(stream, serializer, redirect_error(use_awaitable, error));
  }
  co_return !error;
}

// The peer may still be sending: closing with unread bytes would RST the answer away.
asio::awaitable<void> finish(beast::tcp_stream& stream, Millis patience) {
  beast::error_code error;
  stream.socket().shutdown(asio::ip::tcp::socket::shutdown_send, error);
  stream.expires_after(patience);
  std::array<char, 4096> sink{};
  for (std::size_t left = 1 << 20; !error && left > 0;) {
    const auto buffer = asio::buffer(sink);
    const auto n = co_await stream.async_read_some(buffer, redirect_error(use_awaitable, error));
    left -= std::min(left, n);
  }
  stream.close();
}

}  // namespace

asio::awaitable<void> AdminServer::State::serve(std::shared_ptr<State> state, asio::ip::tcp::socket socket) {
  const Options& options = state->options;
  beast::tcp_stream stream(std::move(socket));
  const bool full = state->streams.size() >= options.connections_max;
  // The refusal itself is bounded too: beyond twice the limit a connection is closed without a word.
  if (state->stopped || state->streams.size() >= 2 * options.connections_max) {
    state->refuse(Refusal::connections);
    co_return;
  }
  const Slot slot(state->streams, state->active, stream);
  if (full) {
    state->refuse(Refusal::connections);
    state->count(503);
    stream.expires_after(options.request_timeout);
    co_await write(stream, text(503, "too many admin connections"), false, false);
    co_await finish(stream, Millis(1000));
    co_return;
  }
  beast::flat_buffer buffer(options.head_bytes_max + options.body_bytes_max);
  beast::error_code error;
  for (bool keep_alive = true; keep_alive && !state->stopped;) {
    if (buffer.size() == 0) {
      stream.expires_after(options.idle_timeout);
      const auto space = buffer.prepare(1024);
      const auto n = co_await stream.async_read_some(space, redirect_error(use_awaitable, error));
      if (error) break;
      buffer.commit(n);
    }
    stream.expires_after(options.request_timeout);
    Parser parser;
    parser.header_limit(static_cast<std::uint32_t>(options.head_bytes_max));
    parser.body_limit(options.body_bytes_max);
    co_await http::async_read(stream, buffer, parser, redirect_error(use_awaitable, error));
    if (error) {
      if (error == beast::error::timeout) {
        state->refuse(Refusal::timeout);  // Beast has closed the socket: no 408
      } else if (auto refused = refusal_of(error)) {
        state->refuse(refused->why);
        state->count(refused->response.status);
        stream.expires_after(options.request_timeout);
        co_await write(stream, std::move(refused->response), false, false);
        co_await finish(stream, Millis(1000));
      }
      break;
    }
    const auto& message = parser.get();
    Request request;
    request.method = std::string(message.method_string());
    request.body = message.body();
    keep_alive = message.keep_alive();
    const bool head = message.method() == http::verb::head;
    Response response;
    const bool safe = head || message.method() == http::verb::get;
    if (!safe && message.find(http::field::origin) != message.end()) {
      state->refuse(Refusal::origin);
      response = text(403, "requests from web pages (with an Origin header) may change nothing");
    } else if (const auto target = message.target(); !parse_target({target.data(), target.size()}, request)) {
      state->refuse(Refusal::malformed);
      response = text(400, "malformed request target");
    } else {
      response = state->router.dispatch(request);
    }
    state->count(response.status);
    const bool written = co_await write(stream, std::move(response), keep_alive, head);
    if (!written) break;
  }
  if (stream.socket().is_open()) co_await finish(stream, Millis(1000));
}

}  // namespace suture::admin
