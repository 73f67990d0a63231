#include <proxy/client/response_writer.hpp>

#include <algorithm>
#include <utility>

namespace suture {

void ResponseWriter::begin(std::size_t journal_bytes_max) {
  journal_max_ = journal_bytes_max;
  journaling_ = journal_max_ == 0 ? Journaling::none : Journaling::whole;
  journal_.clear();
  journal_start_ = journaled_ = head_end_ = content_ = 0;
  journal_changed_ = track_changed_ = tracking_ = marking_ = chunked_ = false;
  digest_.reset();
  verify_tail_ = 0;
  std::string().swap(last_);
  track_ = {};
  events_ = {};
  forced_.clear();
}

// --- journal ---------------------------------------------------------------------------------------------------------

void ResponseWriter::head(std::uint64_t out, std::string_view bytes) {
  if (journal_start_ + journal_.size() != out) journal_.clear();  // behind a gap it would say another place's bytes
  if (journal_.empty()) journal_start_ = out;
  journal(bytes);
}

void ResponseWriter::journal(std::string_view bytes) {
  if (journaling_ == Journaling::none || journaling_ == Journaling::head) return;
  journal_.append(bytes);
  journaled_ += bytes.size();
  journal_changed_ = true;
  // An event stream has no end: of it only what the client lacks may be too much, once it is stored.
  if (journaling_ == Journaling::whole && journaled_ > journal_max_) journal_overflows();
}

// The head alone stays: whatever follows it can be asked for, or nothing can be done.
void ResponseWriter::journal_overflows() {
  journal_changed_ = true;
  const std::uint64_t head_bytes = head_end_ > journal_start_ ? head_end_ - journal_start_ : 0;
  if (journaling_ == Journaling::whole && head_bytes != 0 && head_bytes <= journal_max_) {
    journaling_ = Journaling::head;
    journal_.resize(head_bytes);
    return;
  }
  if (journaling_ == Journaling::tail) return leave_out();
  journaling_ = Journaling::none;
  std::string().swap(journal_);
}

// Of an event stream, what is on its way is too much for now. Once the client has it, the stream can be continued
// again.
void ResponseWriter::leave_out() {
  journal_start_ += journal_.size();
  std::string().swap(journal_);
  journal_changed_ = true;
}

// --- body ------------------------------------------------------------------------------------------------------------

void ResponseWriter::body(std::uint64_t out, const Body& body) {
  head_end_ = out;
  chunked_ = body.framing == BodyFraming::chunked;
  const bool has_body = body.framing != BodyFraming::none;
  if (journaling_ == Journaling::whole && body.framing == BodyFraming::length &&
      body.length > journal_max_ - std::min<std::uint64_t>(journal_max_, journaled_))
    journal_overflows();
  verify_tail_ = body.checkpoints || body.events ? 0 : body.verify_tail;
  tracking_ = has_body && (body.checkpoints || verify_tail_ != 0 || (body.events && journaling_ == Journaling::whole));
  if (!tracking_) return;
  track_changed_ = true;
  track_.fields = body.fields;
  track_.events = body.events;
  marking_ = !body.events;
  if (body.events) journaling_ = Journaling::tail;
  if (chunked_) track_.chunks_wire = out;
  if (body.checkpoints) digest_.emplace();
}

void ResponseWriter::follow(std::uint64_t out_end, std::string_view content) {
  content_ += content.size();
  if (!tracking_) return;
  track_changed_ = true;
  if (digest_ && verify_tail_ == 0) {
    digest_->update(content);
    track_.marks.push_back({out_end, content_, digest_->value()});
    return;
  }
  if (verify_tail_ != 0) return mark_tail(out_end, content);
  events_.feed(content);
}

// A mark covers everything since the mark before it, and verify_tail bytes before that: wherever in between the client
// stands, so many bytes before its cursor are compared. What was sent since the mark before, as long as it is not much,
// is marked as one.
void ResponseWriter::mark_tail(std::uint64_t out_end, std::string_view content) {
  const std::uint64_t before = content_ - content.size();
  if (digest_ && !track_.marks.empty() && content_ - marked_ <= kTailStep) {
    track_.marks.pop_back();
  } else {
    digest_.emplace();
    digest_->update(last_);
    tail_from_ = before - last_.size();
    marked_ = before;
  }
  digest_->update(content);
  last_.append(content.substr(content.size() - std::min<std::size_t>(content.size(), verify_tail_)));
  if (last_.size() > verify_tail_) last_.erase(0, last_.size() - verify_tail_);
  track_.marks.push_back({out_end, content_, digest_->value(), tail_from_});
}

void ResponseWriter::track_nothing() {
  track_changed_ = true;
  tracking_ = marking_ = false;
  track_ = {};
  digest_.reset();
}

void ResponseWriter::content(std::uint64_t out, std::string_view content) {
  if (content.empty()) return;
  journal(content);
  follow(out + content.size(), content);
}

std::string_view ResponseWriter::chunk(std::uint64_t out, std::string& buffer, const std::string* trailers) {
  const std::string_view all = std::string_view(buffer).substr(kRoom);
  const std::size_t size = all.size();
  std::string tail;
  if (trailers) tail.append("0\r\n").append(*trailers).append("\r\n");
  std::string_view wire;
  if (forced_.empty()) {
    std::size_t from = buffer.size();
    if (size != 0) {
      const std::string line = size_line(static_cast<std::uint32_t>(size));
      from = kRoom - line.size();
      buffer.replace(from, line.size(), line).append("\r\n");
      if (tracking_) track_.chunks.push_back(static_cast<std::uint32_t>(size));
    }
    wire = std::string_view(buffer.append(tail)).substr(from);
  } else {
    chunk_behind_heal(all, trailers != nullptr);
    wire = wire_.append(tail);
  }
  if (wire.empty()) return wire;
  journal(wire);
  if (size != 0) follow(out + wire.size() - tail.size(), std::string_view(buffer).substr(kRoom, size));
  if (tracking_ && trailers) {
    track_.tail = std::move(tail);
    track_changed_ = true;
  }
  return wire;
}

// First the framing that the client may have seen the beginning of.
void ResponseWriter::chunk_behind_heal(std::string_view content, bool last) {
  wire_.clear();
  force(content);
  if (last)
    for (; !forced_.empty() && forced_.front().content == 0; forced_.pop_front()) wire_.append(forced_.front().end);
  if (content.empty()) return;
  const auto size = static_cast<std::uint32_t>(content.size());
  wire_.append(size_line(size)).append(content).append("\r\n");
  if (tracking_) track_.chunks.push_back(size);
}

bool ResponseWriter::short_of_framing() const {
  return std::any_of(forced_.begin(), forced_.end(), [](const Forced& f) { return f.content != 0; });
}

void ResponseWriter::force(std::string_view& content) {
  while (!forced_.empty() && !content.empty()) {
    Forced& next = forced_.front();
    wire_.append(next.line);
    next.line.clear();
    const auto n = static_cast<std::size_t>(std::min<std::uint64_t>(next.content, content.size()));
    wire_.append(content.substr(0, n));
    content.remove_prefix(n);
    next.content -= n;
    if (next.content != 0) return;
    wire_.append(next.end);
    forced_.pop_front();
  }
}

// --- behind a heal ---------------------------------------------------------------------------------------------------

void ResponseWriter::resume_body(const Exchange& exchange, std::size_t journal_bytes_max, std::uint64_t cursor,
                                 std::uint64_t verified, ContentDigest digest) {
  resume_journal(exchange, journal_bytes_max, cursor);
  tracking_ = marking_ = track_changed_ = true;
  if (exchange.body) track_ = *exchange.body;
  track_.tail.clear();
  digest_ = std::move(digest);
  std::erase_if(track_.marks, [&](const BodyMark& mark) { return mark.wire > verified; });
  if (!chunked_) {
    content_ = cursor - head_end_;
    return;
  }
  const auto place = place_of(track_, cursor);
  if (!place) return track_nothing();  // not called then
  content_ = place->content;
  std::uint64_t at = cursor - place->skipped;
  std::size_t keep = place->chunk;
  std::uint64_t skipped = place->skipped;
  for (; keep < track_.chunks.size(); ++keep) {
    if (at >= verified && skipped == 0) break;
    const std::uint32_t size = track_.chunks[keep];
    Forced forced{size_line(size), size, "\r\n"};
    at += chunk_bytes(size);
    const auto cut = [&](std::string& bytes) {
      const auto n = static_cast<std::size_t>(std::min<std::uint64_t>(skipped, bytes.size()));
      bytes.erase(0, n);
      skipped -= n;
    };
    cut(forced.line);
    const std::uint64_t has = std::min<std::uint64_t>(skipped, forced.content);
    forced.content -= has;
    skipped -= has;
    cut(forced.end);
    forced_.push_back(std::move(forced));
  }
  track_.chunks.resize(keep);
}

void ResponseWriter::resume_tail(const Exchange& exchange, std::size_t journal_bytes_max, std::uint64_t cursor,
                                 std::uint32_t verify_tail, std::string tail) {
  resume_journal(exchange, journal_bytes_max, cursor);
  tracking_ = marking_ = track_changed_ = true;
  if (exchange.body) track_.fields = exchange.body->fields;
  content_ = cursor - head_end_;
  verify_tail_ = verify_tail;
  last_ = tail.size() > verify_tail ? tail.substr(tail.size() - verify_tail) : std::move(tail);
}

// A journal that does not reach the cursor has been with the client for long.
void ResponseWriter::resume_journal(const Exchange& exchange, std::size_t journal_bytes_max, std::uint64_t cursor) {
  begin(journal_bytes_max);
  head_end_ = exchange.response_head_end;
  chunked_ = exchange.response_framing == BodyFraming::chunked;
  journal_changed_ = true;
  const auto& journal = exchange.journal;
  if (!journal || exchange.journal_start + journal->size() != cursor) {
    journaling_ = Journaling::none;
    return;
  }
  journal_start_ = exchange.journal_start;
  journal_ = *journal;
  journaled_ = journal_.size();
}

void ResponseWriter::resume_events(const Exchange& exchange, std::size_t journal_bytes_max) {
  begin(journal_bytes_max);
  journaling_ = Journaling::tail;
  head_end_ = exchange.response_head_end;
  chunked_ = exchange.response_framing == BodyFraming::chunked;
  tracking_ = track_changed_ = journal_changed_ = true;
  track_ = *exchange.body;
  journal_start_ = exchange.journal_start;
  if (exchange.journal) journal_ = *exchange.journal;
  const bool named = !track_.last_event_id.empty();
  content_ = track_.partial_event.size();
  events_ = EventScanner(track_.last_event_id, named, track_.partial_event);
}

// --- record ----------------------------------------------------------------------------------------------------------

void ResponseWriter::trim_journal(std::uint64_t out_acked) {
  if (journal_.empty()) return;
  if (journaling_ == Journaling::head && out_acked >= head_end_) {
    journaling_ = Journaling::none;
    journal_changed_ = true;
    std::string().swap(journal_);
  } else if (journaling_ != Journaling::head && out_acked > journal_start_) {
    const auto n = static_cast<std::size_t>(std::min<std::uint64_t>(out_acked - journal_start_, journal_.size()));
    journal_.erase(0, n);
    journal_start_ += n;
    journal_changed_ = true;
  }
  if (journal_.size() > journal_max_) journal_overflows();
}

void ResponseWriter::trim_track(std::uint64_t out_acked) {
  auto& marks = track_.marks;
  const auto lower = std::find_if(marks.begin(), marks.end(), [&](const BodyMark& m) { return m.wire >= out_acked; });
  marks.erase(marks.begin(), lower == marks.end() && !marks.empty() ? lower - 1 : lower);
  if (marks.size() > BodyTrack::kMarksMax) {
    std::size_t kept = 0;
    for (std::size_t i = 0; i < marks.size(); ++i)
      if (i % 2 == 1 || i + 1 == marks.size()) marks[kept++] = marks[i];
    marks.resize(kept);
  }
  std::size_t over = 0;
  while (over < track_.chunks.size()) {
    const std::uint32_t size = track_.chunks[over];
    const std::uint64_t end = track_.chunks_wire + chunk_bytes(size);
    if (end > out_acked) break;
    track_.chunks_wire = end;
    track_.chunks_content += size;
    ++over;
  }
  track_.chunks.erase(track_.chunks.begin(), track_.chunks.begin() + static_cast<std::ptrdiff_t>(over));
  if (track_.chunks.size() <= BodyTrack::kChunksMax) return;
  // Inside these nobody can find his place; behind them again.
  for (const std::uint32_t size : track_.chunks) {
    track_.chunks_wire += chunk_bytes(size);
    track_.chunks_content += size;
  }
  track_.chunks.clear();
}

void ResponseWriter::store(Exchange& exchange, std::uint64_t out_acked) {
  trim_journal(out_acked);
  if (journal_changed_) {
    exchange.journal_start = journal_start_;
    exchange.journal = journal_.empty() && journaling_ != Journaling::tail ? nullptr : budget_.make(journal_);
    if (!exchange.journal && !journal_.empty()) {
      if (journaling_ == Journaling::tail) {
        leave_out();
        exchange.journal_start = journal_start_;
        exchange.journal = budget_.make({});
      } else {
        journaling_ = Journaling::none;
        std::string().swap(journal_);
      }
    }
  }
  if (tracking_) trim_track(out_acked);
  if (track_changed_) {
    if (!tracking_) {
      exchange.body.reset();
    } else {
      if (track_.events) {
        // Where no event was complete yet, the stream can be had from its beginning.
        track_.identified =
            !events_.overflowed() && (!events_.begun() || (events_.stands_at_id() && events_.sendable()));
        track_.last_event_id = events_.last_event_id();
        track_.partial_event = events_.partial();
      }
      exchange.body = std::make_shared<const BodyTrack>(track_);
    }
  }
  journal_changed_ = track_changed_ = false;
}

}  // namespace suture
