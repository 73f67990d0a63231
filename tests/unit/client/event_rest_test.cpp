// Event streams cut at every byte: what the scanner says of the first part, and what of a new response follows, are the
// stream as it was.
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <proxy/client/event_rest.hpp>
#include <proxy/client/event_scanner.hpp>

namespace suture {
namespace {

const std::string kBom = "\xef\xbb\xbf";

std::string with_ends(std::string text, const std::string& end) {
  for (std::size_t at = 0; (at = text.find('\n', at)) != std::string::npos; at += end.size()) text.replace(at, 1, end);
  return text;
}

// An application that numbers its events, and gives those behind an id again.
std::string stream_from(const std::string& id, const std::string& greeting, const std::string& end) {
  std::string all = greeting;
  for (int n = id.empty() ? 1 : std::stoi(id) + 1; n <= 6; ++n)
    all += "id: " + std::to_string(n) + "\ndata: number " + std::to_string(n) + "\ndata: and more\n\n";
  return with_ends(all, end);
}

// What the client gets in all if its owner dies after `cut` bytes. The new response comes in pieces of `step` bytes.
std::string healed(const std::string& first, std::size_t cut, const std::string& greeting, const std::string& end,
                   std::size_t step) {
  EventScanner scanner;
  scanner.feed(std::string_view(first).substr(0, cut));
  if (scanner.begun() && !scanner.stands_at_id()) return "not identified";
  const std::string again = stream_from(scanner.last_event_id(), greeting, end);
  const bool begins = begins_stream(scanner.partial(), cut);
  for (std::size_t have = 0;; have += step) {
    const std::string_view come = std::string_view(again).substr(0, have);
    const EventRest rest = rest_of_events(come, scanner.partial(), begins, have >= again.size());
    if (!rest.follows) return "another stream";
    if (rest.from) return first.substr(0, cut) + again.substr(*rest.from);
  }
}

TEST(EventRest, NoByteIsMissingOrDoubledWhereverTheStreamIsCut) {
  for (const std::string end : {"\n", "\r\n", "\r"}) {
    for (const std::string& bom : {std::string(), kBom}) {
      const std::string whole = stream_from("", bom, end);
      for (std::size_t cut = 0; cut <= whole.size(); ++cut)
        for (const std::size_t step : {1U, 7U, 1000U}) {
          if (end == "\r" && cut == whole.size()) continue;  // its last event may go on with a LF: there is no next one
          EXPECT_EQ(healed(whole, cut, bom, end, step), whole)
              << "end " << ::testing::PrintToString(end) << " cut " << cut;
        }
    }
  }
}

// A greeting comes once more only where the client is not inside an event; inside one it is left out.
TEST(EventRest, GreetingsOfTheNewConnection) {
  for (const std::string greeting : {": welcome\n\n", "retry: 3000\n\n", ": a\n: b\nretry: 5\n\n: c\n\n"}) {
    for (const std::string end : {"\n", "\r\n"}) {
      const std::string whole = stream_from("", greeting, end), hello = with_ends(greeting, end);
      unsigned left_out = 0, once_more = 0, other = 0;
      for (std::size_t cut = hello.size(); cut < whole.size(); ++cut) {
        const std::string got = healed(whole, cut, greeting, end, 3);
        left_out += got == whole;
        once_more += got == whole.substr(0, cut) + hello + whole.substr(cut);
        other += got != whole && got != whole.substr(0, cut) + hello + whole.substr(cut);
      }
      EXPECT_EQ(other, 0U) << ::testing::PrintToString(hello);
      EXPECT_EQ(once_more, 6U) << "between two events";
      EXPECT_EQ(left_out, whole.size() - hello.size() - 6);
    }
  }
}

TEST(EventRest, AStreamThatHasOnlyGreetedMayBeAskedForFromItsBeginning) {
  for (const std::string silent : {": connected\n\n", "retry: 3000\r\n\r\n", "\n\n", "event: x\n\n"}) {
    EventScanner scanner;
    scanner.feed(silent);
    EXPECT_FALSE(scanner.begun()) << silent;
  }
  for (const std::string event : {"data\n\n", "id: 1\n\n", "id\n\n", ": c\n\ndata: x\r\rd"}) {
    EventScanner scanner;
    scanner.feed(event);
    EXPECT_TRUE(scanner.begun()) << event;
  }
}

TEST(EventRest, AnotherStreamIsNotGoneOnWith) {
  EXPECT_FALSE(rest_of_events("id: 8\n", "id: 7\nda", false, false).follows);
  EXPECT_FALSE(rest_of_events(": hi\n\nid: 8\n", "id: 7\nda", false, false).follows);
  EXPECT_FALSE(rest_of_events(": hi\ndata: x\n\nid: 7\ndata", "id: 7\nda", false, false).follows) << "that is an event";
  EXPECT_FALSE(rest_of_events(": other", ": keep-al", false, false).from)
      << "it may be a comment in front of the client's";
  EXPECT_FALSE(rest_of_events("id: 7\n", "id: 7\nda", false, true).follows) << "it ends too early";
  EXPECT_EQ(rest_of_events("", "", false, true).from, 0U) << "nothing more to come";
  const std::string endless = ": " + std::string(2 * EventScanner::kPartialBytesMax, 'x');
  EXPECT_FALSE(rest_of_events(endless, "id: 7", false, false).follows);
  EXPECT_FALSE(rest_of_events(kBom + "data", kBom.substr(0, 2), false, false).follows)
      << "no byte order mark in the middle";
}

}  // namespace
}  // namespace suture
