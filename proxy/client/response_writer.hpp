// The bytes of one response on their way to the client, and what the record holds of them: the journal, and of a body
// that nobody could ask for from its middle the marks and our own chunk framing (statesync/body_track.hpp). Sans-I/O.
//
//   begin ── head (interim)* ── head ── body ── content | chunk ...
//                                        └── or resume_body / resume_events, of a former owner's response
//
// Whatever is added must be in the record before it leaves: store(), publish, then write. due() says whether there is
// anything to store.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>

#include <proxy/client/chunk_layout.hpp>
#include <proxy/client/content_digest.hpp>
#include <proxy/client/event_scanner.hpp>
#include <proxy/client/journal.hpp>
#include <statesync/http_state.hpp>

namespace suture {

class ResponseWriter {
 public:
  // verify_tail: bytes from one mark to the next. 128 of them (BodyTrack::kMarksMax) are under way at most.
  static constexpr std::uint64_t kTailStep = 64 * 1024;
  // In front of the content that is given to chunk().
  static constexpr std::size_t kRoom = 10;

  struct Body {
    BodyFraming framing = BodyFraming::none;  // as it goes to the client
    std::uint64_t length = 0;
    std::uint64_t fields = 0;  // BodyTrack::fields
    bool checkpoints = false;
    std::uint32_t verify_tail = 0;  // marks of a body that Range continues: of so many bytes each; 0: none
    bool events = false;            // text/event-stream: the journal is the stream's end, not its beginning
  };

  explicit ResponseWriter(const JournalBudget& budget) : budget_(budget) {}

  void begin(std::size_t journal_bytes_max);
  // `bytes` go to the client next, at `out`: an interim response, the head of the final one, or one of our own.
  void head(std::uint64_t out, std::string_view bytes);
  void body(std::uint64_t out, const Body& body);
  // Not chunked: `content` is what goes to the client at `out`.
  void content(std::uint64_t out, std::string_view content);
  // `buffer` is kRoom bytes and content, which may be empty; `trailers`, if given, end the body. The result, which may
  // be empty as well, is what goes to the client at `out`: a view of `buffer`, or of a buffer of the writer's.
  std::string_view chunk(std::uint64_t out, std::string& buffer, const std::string* trailers = nullptr);
  // If the content ended here, it would end inside a chunk whose size the client may know already.
  bool short_of_framing() const;

  // Goes on with `exchange` at `cursor`, in its body. `verified`: `out` offset up to which the framing stays what it
  // was; `digest`: of the content before the cursor.
  void resume_body(const Exchange& exchange, std::size_t journal_bytes_max, std::uint64_t cursor,
                   std::uint64_t verified, ContentDigest digest);
  // ... of whose content the last bytes before the cursor are `tail`; they go on being marked.
  void resume_tail(const Exchange& exchange, std::size_t journal_bytes_max, std::uint64_t cursor,
                   std::uint32_t verify_tail, std::string tail);
  // ... of which nothing is tracked.
  void resume_journal(const Exchange& exchange, std::size_t journal_bytes_max, std::uint64_t cursor);
  // ... of an event stream at the end of its journal.
  void resume_events(const Exchange& exchange, std::size_t journal_bytes_max);

  bool due() const { return journal_changed_ || track_changed_; }
  void store(Exchange& exchange, std::uint64_t out_acked);

 private:
  enum class Journaling : std::uint8_t { none, whole, head, tail };
  // A chunk whose size the client may know, as far as it has not been written.
  struct Forced {
    std::string line;
    std::uint64_t content = 0;
    std::string end;
  };
  void journal(std::string_view bytes);
  void journal_overflows();
  void follow(std::uint64_t out_end, std::string_view content);
  void mark_tail(std::uint64_t out_end, std::string_view content);
  void leave_out();
  void track_nothing();
  void chunk_behind_heal(std::string_view content, bool last);
  void force(std::string_view& content);
  void trim_journal(std::uint64_t out_acked);
  void trim_track(std::uint64_t out_acked);

  const JournalBudget& budget_;
  std::size_t journal_max_ = 0;
  Journaling journaling_ = Journaling::none;
  std::string journal_;
  std::uint64_t journal_start_ = 0;
  std::uint64_t journaled_ = 0;  // in all: what the client has acknowledged is cut off
  std::uint64_t head_end_ = 0;   // 0: no final head yet
  bool journal_changed_ = false;

  bool tracking_ = false;
  bool marking_ = false;  // of what is tracked: everything but events
  bool chunked_ = false;
  bool track_changed_ = false;
  std::uint64_t content_ = 0;
  std::optional<ContentDigest> digest_;
  std::uint32_t verify_tail_ = 0;
  std::string last_;             // of the content: the last verify_tail_ bytes
  std::uint64_t tail_from_ = 0;  // content at which the last mark's digest begins
  std::uint64_t marked_ = 0;     // ... up to which the mark before it goes
  BodyTrack track_;
  EventScanner events_;
  std::deque<Forced> forced_;
  std::string wire_;
};

}  // namespace suture
