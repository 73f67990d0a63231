// Where events end in text/event-stream content, and which id a client holds there (WHATWG HTML, section 9.2
// "Server-sent events", 9.2.6 "Interpreting an event stream"): what a heal needs to ask for the rest.
//
//   content:  BOM | data: a LF LF | : comment LF LF | id: 7 CR LF data: b CR LF CR LF | data: c ...
//                                                                                      partial()
//
// A block of lines ends with its empty line, whether it dispatches an event or not: the next connection's content may
// begin there. Lines end with CR LF, LF or CR. A block that a CR ends is under way until the byte behind it is known: a
// LF belongs to that end, and an heir must not leave it out.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace suture {

class EventScanner {
 public:
  static constexpr std::size_t kPartialBytesMax = 64 * 1024;
  static constexpr std::size_t kIdBytesMax = 4 * 1024;  // a header field; servers take 8 kB of all fields

  EventScanner() = default;  // from the stream's first byte
  // Goes on in the middle: `partial` is what partial() was. A BOM is none here.
  EventScanner(std::string last_event_id, bool identified, std::string_view partial);

  // The stream's content in order, in pieces of any size, without chunk framing and content coding.
  void feed(std::string_view content);

  // As of the last complete block. Some block so far carried an id.
  bool identified() const { return identified_; }
  // What begins behind last_event_id() begins behind what was sent: not where an event without an id came behind it.
  bool stands_at_id() const { return identified_ && !unnamed_since_; }
  // Some block so far carried data or an id. Otherwise the stream may be asked for from its beginning: comments and
  // `retry` come to the client once more, and nothing else does.
  bool begun() const { return begun_; }
  // What a client would send in Last-Event-ID; empty: it would send none. As received: bytes that are no UTF-8 are not
  // replaced.
  const std::string& last_event_id() const { return last_event_id_; }
  // Whether it can be said in a field value as it is (RFC 9110 section 5.5): not empty, no control characters, no white
  // space at its ends.
  bool sendable() const;

  // Content since the end of the last complete block, or since the BOM.
  const std::string& partial() const { return partial_; }
  // A limit is passed: the stream cannot be resumed here. partial() and last_event_id() are then empty, whichever is
  // too long. Ends with the long block, or with a later id that fits.
  bool overflowed() const { return partial_too_long_ || id_too_long_; }

 private:
  std::string_view skip_bom(std::string_view content);
  void take_line_part(std::string_view part);
  void end_line(std::string_view part);
  void take_field(std::string_view line, bool cut, bool nul_cut_off);
  void end_block();
  void keep(std::string_view content);

  std::string partial_;
  std::string last_event_id_;
  std::string pending_id_;  // of the block under way
  std::string line_;        // the line under way, as far as an id of legal length could reach
  bool identified_ = false;
  bool id_too_long_ = false;
  bool pending_ = false;  // the block under way has an id
  bool pending_data_ = false;
  bool unnamed_since_ = false;
  bool pending_too_long_ = false;
  bool partial_too_long_ = false;
  bool line_cut_ = false;     // line_ lacks the line's end so far
  bool nul_cut_off_ = false;  // ... and a NUL was in it
  bool after_cr_ = false;
  bool ends_block_ = false;  // ... which ends the block, with the LF behind it if there is one
  bool begun_ = false;
  bool at_start_ = true;  // partial_ is the beginning of a BOM, perhaps
};

}  // namespace suture
