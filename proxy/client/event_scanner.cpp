#include <proxy/client/event_scanner.hpp>

#include <algorithm>
#include <utility>

namespace suture {
namespace {

constexpr std::string_view kBom = "\xef\xbb\xbf";
constexpr std::string_view kIdField = "id:";
constexpr std::size_t kLineBytesMax = kIdField.size() + 1 + EventScanner::kIdBytesMax;

bool has_nul(std::string_view text) {
  return text.find('\0') != std::string_view::npos;
}

}  // namespace

EventScanner::EventScanner(std::string last_event_id, bool identified, std::string_view partial)
    : last_event_id_(std::move(last_event_id)), identified_(identified), begun_(identified), at_start_(false) {
  if (last_event_id_.size() > kIdBytesMax) {
    id_too_long_ = true;
    last_event_id_.clear();
  }
  feed(partial);
}

bool EventScanner::sendable() const {
  const auto control = [](char c) { return (static_cast<unsigned char>(c) < ' ' && c != '\t') || c == 0x7f; };
  const auto blank = [](char c) { return c == ' ' || c == '\t'; };
  return !last_event_id_.empty() && !blank(last_event_id_.front()) && !blank(last_event_id_.back()) &&
         std::none_of(last_event_id_.begin(), last_event_id_.end(), control);
}

void EventScanner::feed(std::string_view content) {
  content = skip_bom(content);
  std::size_t block = 0;  // of `content`: where the block under way begins, or goes on
  for (std::size_t at = 0; at < content.size();) {
    if (std::exchange(after_cr_, false)) {
      const bool line_feed = content[at] == '\n';
      if (line_feed) ++at;
      if (std::exchange(ends_block_, false)) {
        end_block();
        block = at;
      }
      if (line_feed) continue;
    }
    const std::size_t end = content.find_first_of("\r\n", at);
    if (end == std::string_view::npos) {
      take_line_part(content.substr(at));
      break;
    }
    const std::string_view part = content.substr(at, end - at);
    const bool empty = part.empty() && line_.empty();
    after_cr_ = content[end] == '\r';
    at = end + 1;
    if (!empty) {
      end_line(part);
      continue;
    }
    ends_block_ = after_cr_;
    if (ends_block_) continue;
    end_block();
    block = at;
  }
  keep(content.substr(block));
}

// "One leading U+FEFF BYTE ORDER MARK character must be ignored if any are present."
std::string_view EventScanner::skip_bom(std::string_view content) {
  while (at_start_ && !content.empty()) {
    if (content.front() != kBom[partial_.size()]) {
      at_start_ = false;
      take_line_part(partial_);
      break;
    }
    partial_.push_back(content.front());
    content.remove_prefix(1);
    if (partial_ != kBom) continue;
    at_start_ = false;
    partial_.clear();
  }
  return content;
}

void EventScanner::take_line_part(std::string_view part) {
  const std::size_t kept = std::min(part.size(), kLineBytesMax - line_.size());
  line_.append(part.substr(0, kept));
  if (kept == part.size()) return;
  line_cut_ = true;
  nul_cut_off_ = nul_cut_off_ || has_nul(part.substr(kept));
}

void EventScanner::end_line(std::string_view part) {
  if (line_.empty()) return take_field(part, false, false);
  take_line_part(part);
  take_field(line_, line_cut_, nul_cut_off_);
  line_.clear();
  line_cut_ = nul_cut_off_ = false;
}

// `id` alone decides where a stream can be asked to go on; data, event and retry are the client's.
void EventScanner::take_field(std::string_view line, bool cut, bool nul_cut_off) {
  if (line == "data" || line.starts_with("data:")) pending_data_ = true;
  if (line != "id" && !line.starts_with(kIdField)) return;
  std::string_view id = line.substr(std::min(line.size(), kIdField.size()));
  if (id.starts_with(' ')) id.remove_prefix(1);
  if (nul_cut_off || has_nul(id)) return;
  pending_ = true;
  pending_too_long_ = cut || id.size() > kIdBytesMax;
  pending_id_.assign(pending_too_long_ ? std::string_view() : id);
}

// "If the line is empty": the last event ID is set even where no data is dispatched.
void EventScanner::end_block() {
  partial_.clear();
  partial_too_long_ = false;
  const bool event = std::exchange(pending_data_, false);
  begun_ = begun_ || event || pending_;
  if (!std::exchange(pending_, false)) {
    if (event) unnamed_since_ = true;
    return;
  }
  identified_ = true;
  unnamed_since_ = false;
  id_too_long_ = std::exchange(pending_too_long_, false);
  last_event_id_.swap(pending_id_);
  pending_id_.clear();
}

void EventScanner::keep(std::string_view content) {
  if (partial_too_long_ || content.size() > kPartialBytesMax - partial_.size()) {
    partial_too_long_ = true;
    partial_.clear();
    return;
  }
  partial_.append(content);
}

}  // namespace suture
