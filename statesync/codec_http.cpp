#include <statesync/codec_http.hpp>

#include <algorithm>

#include <proto/statesync.pb.h>

namespace suture::statesync {
namespace {

constexpr std::uint16_t kStatusMax = 999;

// v1::Http holds the current exchange itself, v1::Exchange one that was answered: same fields, same names.
std::shared_ptr<const std::string> shared(const std::string& bytes) {
  return bytes.empty() ? nullptr : std::make_shared<const std::string>(bytes);
}

bool range_fits(std::uint64_t start, std::uint64_t total, std::uint64_t length) {
  return total == 0 ? start == 0 : start < total && length <= total - start;
}

template <class Message>
void encode_exchange(const Exchange& exchange, ContentBudget& budget, Message& out) {
  out.set_request_start(exchange.request_start);
  out.set_request_head_end(exchange.request_head_end);
  out.set_request_framing(static_cast<std::uint32_t>(exchange.request_framing));
  out.set_request_length(exchange.request_length);
  if (exchange.request_head && exchange.request_head->size() <= kHeadBytesMax &&
      budget.take(exchange.request_head->size())) {
    out.set_request_head(*exchange.request_head);
  }
  if (exchange.method.size() <= kNameBytesMax) out.set_method(exchange.method);
  out.set_replayable(exchange.replayable);
  out.set_response_start(exchange.response_start);
  out.set_response_head_end(exchange.response_head_end);
  out.set_response_end(exchange.response_end);
  out.set_status(exchange.status);
  out.set_response_framing(static_cast<std::uint32_t>(exchange.response_framing));
  out.set_response_length(exchange.response_length);
  out.set_range_start(exchange.range_start);
  out.set_range_total(exchange.range_total);
  if (exchange.etag.size() <= kEtagBytesMax && exchange.content_coding.size() <= kEtagBytesMax) {
    out.set_etag(exchange.etag);
    out.set_content_coding(exchange.content_coding);
  }
  out.set_keep_alive(exchange.keep_alive);
  if (exchange.journal && budget.take(exchange.journal->size())) {
    out.set_journal_start(exchange.journal_start);
    out.set_journal(*exchange.journal);
  }
  if (exchange.request_body && budget.take(exchange.request_body->size())) out.set_request_body(*exchange.request_body);
  if (exchange.body && consistent(*exchange.body) && budget.take(content_bytes(*exchange.body))) {
    encode_body(*exchange.body, *out.mutable_body());
  }
}

template <class Message>
Result<void> decode_exchange(const Message& in, ContentBudget& budget, Exchange& out) {
  constexpr auto kFramingMax = static_cast<std::uint32_t>(BodyFraming::until_close);
  if (in.request_framing() > kFramingMax || in.response_framing() > kFramingMax) return bad("an unknown body framing");
  if (in.request_head().size() > kHeadBytesMax) return bad("a request head that is too long");
  if (in.method().size() > kNameBytesMax) return bad("a method that is too long");
  if (in.etag().size() > kEtagBytesMax) return bad("an entity tag that is too long");
  if (in.content_coding().size() > kEtagBytesMax) return bad("a content coding that is too long");
  if (in.status() > kStatusMax) return bad("a status above 999");
  if (in.request_head_end() != 0 && in.request_head_end() < in.request_start()) return bad("a request that ends first");
  if (in.response_head_end() != 0 && in.response_head_end() < in.response_start()) {
    return bad("a response head that ends before it starts");
  }
  if (in.response_end() != 0 && in.response_end() < std::max(in.response_start(), in.response_head_end())) {
    return bad("a response that ends before it starts");
  }
  if (!budget.take(in.request_head().size() + in.request_body().size() + in.journal().size())) {
    return bad("more content than fits into a record");
  }
  if (in.journal_start() + in.journal().size() < in.journal_start()) return bad("a journal without an end");
  if (!range_fits(in.range_start(), in.range_total(), in.response_length())) {
    return bad("a range beyond its representation");
  }
  out.request_start = in.request_start();
  out.request_head_end = in.request_head_end();
  out.request_framing = static_cast<BodyFraming>(in.request_framing());
  out.request_length = in.request_length();
  out.request_head = shared(in.request_head());
  out.request_body = shared(in.request_body());
  out.method = in.method();
  out.replayable = in.replayable();
  out.response_start = in.response_start();
  out.response_head_end = in.response_head_end();
  out.response_end = in.response_end();
  out.status = static_cast<std::uint16_t>(in.status());
  out.response_framing = static_cast<BodyFraming>(in.response_framing());
  out.response_length = in.response_length();
  out.range_start = in.range_start();
  out.range_total = in.range_total();
  out.etag = in.etag();
  out.content_coding = in.content_coding();
  out.keep_alive = in.keep_alive();
  if (in.has_journal()) {
    out.journal_start = in.journal_start();
    out.journal = std::make_shared<const std::string>(in.journal());
  }
  if (in.has_body()) {
    auto track = decode_body(in.body(), budget);
    if (!track) return track.error();
    out.body = std::make_shared<const BodyTrack>(std::move(*track));
  }
  return {};
}

}  // namespace

Error bad(const char* what) {
  return {std::string("bad message: ") + what, 0};
}

bool consistent(const Exchange& e) {
  return e.status <= kStatusMax && (e.request_head_end == 0 || e.request_head_end >= e.request_start) &&
         (e.response_head_end == 0 || e.response_head_end >= e.response_start) &&
         (e.response_end == 0 || e.response_end >= std::max(e.response_start, e.response_head_end)) &&
         range_fits(e.range_start, e.range_total, e.response_length);
}

void encode_http(const HttpState& http, v1::Http& out) {
  out.set_phase(static_cast<std::uint32_t>(http.phase));
  out.set_exchanges(http.exchanges);
  out.set_pipelined(http.pipelined);
  ContentBudget budget;
  encode_exchange(http, budget, out);
  if (http.pending && budget.take(http.pending->size())) out.set_pending(*http.pending);
  if (http.websocket && consistent(*http.websocket) && budget.take(content_bytes(*http.websocket))) {
    encode_websocket(*http.websocket, *out.mutable_websocket());
  }
  // From the newest back: an heir finishes in order, so what lies before a gap is of no use to it.
  std::size_t first = http.answered.size();
  while (first > 0 && http.answered.size() - first < HttpState::kAnsweredMax) {
    const Exchange& exchange = http.answered[first - 1];
    const bool in_order = first == http.answered.size() || http.answered[first].response_start >= exchange.response_end;
    if (!consistent(exchange) || exchange.response_end == 0 || !in_order) break;
    --first;
  }
  for (; first < http.answered.size(); ++first) encode_exchange(http.answered[first], budget, *out.add_answered());
}

Result<HttpState> decode_http(const v1::Http& in) {
  if (in.phase() > static_cast<std::uint32_t>(HttpPhase::upgraded)) return bad("an unknown HTTP phase");
  HttpState http;
  http.phase = static_cast<HttpPhase>(in.phase());
  http.exchanges = in.exchanges();
  http.pipelined = in.pipelined();
  ContentBudget budget;
  if (auto current = decode_exchange(in, budget, http); !current) return current.error();
  if (!budget.take(in.pending().size())) return bad("more content than fits into a record");
  http.pending = shared(in.pending());
  if (in.has_websocket()) {
    auto websocket = decode_websocket(in.websocket(), budget);
    if (!websocket) return websocket.error();
    http.websocket = std::make_shared<const WebSocketState>(std::move(*websocket));
  }
  std::uint64_t end = 0;
  for (const auto& answered : in.answered()) {
    if (answered.response_end() == 0) return bad("an answered exchange whose response has no end");
    if (answered.response_start() < end) return bad("answered exchanges out of order");
    end = answered.response_end();
    auto decoded = decode_exchange(answered, budget, http.answered.emplace_back());
    if (!decoded) return decoded.error();
  }
  // Another build's limit may be another one.
  if (http.answered.size() > HttpState::kAnsweredMax)
    http.answered.erase(http.answered.begin(),
                        http.answered.end() - static_cast<std::ptrdiff_t>(HttpState::kAnsweredMax));
  return http;
}

}  // namespace suture::statesync
