#include <proxy/client/http_position.hpp>

namespace suture {

void HttpPosition::request_begins(std::uint64_t in) {
  state_.phase = HttpPhase::head;
  state_.request_start = in;
  state_.request_head_end = 0;
  state_.request_framing = BodyFraming::none;
  state_.request_length = 0;
}

void HttpPosition::request_head(std::uint64_t in_end, const RequestHead& head,
                                std::shared_ptr<const std::string> bytes) {
  state_.phase = head.framing == BodyFraming::none ? HttpPhase::waiting : HttpPhase::body;
  state_.request_head_end = in_end;
  state_.request_framing = head.framing;
  state_.request_length = head.framing == BodyFraming::length ? head.length : 0;
  if (state_.pipelined > 0) --state_.pipelined;
  state_.method.assign(head.method);
  state_.keep_alive = head.keep_alive;
  if (bytes->size() <= kRecordedHeadBytesMax)
    state_.request_head = std::move(bytes);
  else
    state_.request_head.reset();
  state_.request_body.reset();
  state_.response_head_end = 0;
  state_.status = 0;
  state_.journal.reset();
  state_.body.reset();
}

void HttpPosition::request_complete(std::uint64_t in_end) {
  // A chunked body's length in the stream, chunk framing included: it tells an heir where the request ended.
  if (state_.request_framing == BodyFraming::chunked) state_.request_length = in_end - state_.request_head_end;
  if (state_.phase == HttpPhase::body) state_.phase = HttpPhase::waiting;
}

void HttpPosition::interim(std::uint64_t out, std::uint64_t bytes, bool first) {
  if (first) state_.response_start = out;
  state_.response_end = out + bytes;
}

void HttpPosition::response_head(std::uint64_t out, std::uint64_t head_bytes, unsigned status, BodyFraming framing,
                                 std::uint64_t length, std::string_view strong_etag, bool keep_alive) {
  state_.phase = HttpPhase::response;
  state_.response_start = out;
  state_.response_head_end = out + head_bytes;
  state_.status = static_cast<std::uint16_t>(status);
  state_.response_framing = framing;
  state_.response_length = framing == BodyFraming::length ? length : 0;
  state_.response_end = 0;
  if (framing == BodyFraming::none || framing == BodyFraming::length)
    state_.response_end = state_.response_head_end + state_.response_length;
  state_.range_start = state_.range_total = 0;
  state_.etag.assign(strong_etag);
  state_.content_coding.clear();
  state_.keep_alive = keep_alive;
}

void HttpPosition::response_coding(std::string_view content_coding) {
  state_.content_coding.assign(content_coding);
}

void HttpPosition::response_range(const ContentRange& range) {
  state_.range_start = range.start;
  state_.range_total = range.total;
}

void HttpPosition::exchange_over(std::uint64_t out_acked) {
  if (state_.response_end > out_acked) {
    if (state_.answered.size() == HttpState::kAnsweredMax) state_.answered.erase(state_.answered.begin());
    Exchange& answered = state_.answered.emplace_back(state_);
    const std::uint64_t journaled = answered.journal ? answered.journal_start + answered.journal->size() : 0;
    if (journaled >= answered.response_end) answered.body.reset();
  }
  state_.phase = HttpPhase::idle;
  state_.exchanges += 1;
  state_.request_head.reset();
  state_.request_body.reset();
  state_.journal.reset();
  state_.body.reset();
  state_.pipelined = 0;
}

void HttpPosition::acknowledged(std::uint64_t out_acked) {
  std::erase_if(state_.answered, [&](const Exchange& e) { return e.response_end <= out_acked; });
  // The frames that were on the way.
  if (state_.websocket && state_.journal && state_.journal_start + state_.journal->size() <= out_acked)
    state_.journal.reset();
}

}  // namespace suture
