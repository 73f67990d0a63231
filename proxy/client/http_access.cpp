// HttpSession's lines in the access log: gathered while a request passes, written when its response has ended or will
// not.
#include <proxy/client/http_session.hpp>
#include <proxy/client/server_timing.hpp>

namespace suture {
namespace {

// Of a request line or a field; what is longer was written to fill a disk.
constexpr std::size_t kTextBytesMax = 4096;

std::string shortened(std::string_view text) {
  return std::string(text.substr(0, kTextBytesMax));
}

}  // namespace

void HttpSession::note_request_begins() {
  if (!worker_.options.access_log) return;
  access_ = std::make_unique<AccessNote>();
  access_->time = std::chrono::system_clock::now();
  access_->began = Clock::now();
}

// `bytes`: what there is of the head.
void HttpSession::note_request_line(std::string_view bytes) {
  if (!access_ || !access_->request_line.empty()) return;
  const auto end = bytes.find_first_of("\r\n");
  if (end != std::string_view::npos) access_->request_line = shortened(bytes.substr(0, end));
}

void HttpSession::note_request(const RequestHead& request) {
  if (!access_) return;
  access_->host = shortened(request.authority);
  for (const Field& field : request.fields) {
    if (equals_nocase(field.name, "referer")) access_->referer = shortened(field.value);
    if (equals_nocase(field.name, "user-agent")) access_->user_agent = shortened(field.value);
  }
}

void HttpSession::log_access(unsigned status, std::uint64_t body_bytes, std::optional<CloseCause> close) {
  if (!access_) return;
  const auto note = std::move(access_);
  const WorkerOptions& options = worker_.options;
  const std::string client = original_client().address().to_string();
  const std::string upstream = exchange_ && any_passed_ ? config::to_string(pool().address()) : std::string();
  AccessEntry entry;
  entry.client = client;
  entry.time = note->time;
  entry.request_line = note->request_line;
  entry.host = note->host;
  entry.referer = note->referer;
  entry.user_agent = note->user_agent;
  entry.status = status;
  entry.body_bytes = body_bytes;
  entry.duration = Clock::now() - note->began;
  entry.upstream = upstream;
  entry.request_id = note->request_id;
  entry.pop = options.node_name;
  entry.owner = options.node_name;
  if (taken_over_) {
    const auto former = options.peer_names.find(taken_over_->from);
    if (former != options.peer_names.end()) entry.owner = former->second;
  }
  if (exchange_healed_) entry.healed = to_label(taken_over_->rung);
  entry.heals = record_.epoch;
  if (close) entry.close = to_string(*close);
  worker_.access_line.clear();
  write_access_line(entry, options.access_format, worker_.access_line);
  options.access_log->write(worker_.access_line);
}

// The response that is complete, with all that the client gets of it: also what a former owner had sent.
void HttpSession::log_exchange(std::optional<CloseCause> close) {
  const HttpState& http = *record_.http;
  log_access(http.status, record_.out_sent - std::min(record_.out_sent, http.response_head_end), close);
}

// Whatever was under way ends with the connection. Of a session that goes on elsewhere the line is written there.
void HttpSession::on_ending(CloseCause cause) {
  if (!access_ || cause == CloseCause::released) return;
  if (response_begun_ || range_from_) return log_exchange(cause);
  // Nobody has asked for anything yet: a connection that was opened, perhaps written to, and closed.
  if (access_->request_line.empty()) return access_.reset();
  log_access(0, 0, cause);
}

// Of a response whose head was not sent before the exchange was taken over; else "".
std::string HttpSession::timing_of_heal() const {
  if (!exchange_healed_) return {};
  return heal_timing(to_label(taken_over_->rung), worker_.loop.now() - taken_over_->at);
}

}  // namespace suture
