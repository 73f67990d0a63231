// WHATWG HTML section 9.2: each stream at once, in two pieces cut anywhere, byte by byte, and gone on with from what
// the scanner says at any point.
#include <optional>
#include <random>
#include <vector>

#include <gtest/gtest.h>
#include <proxy/client/event_scanner.hpp>

namespace suture {
namespace {

using namespace std::string_literals;

struct View {
  std::string id;
  bool identified = false;
  std::string partial;
  bool overflowed = false;
  friend bool operator==(const View&, const View&) = default;
  friend void PrintTo(const View& v, std::ostream* out) {
    *out << "id \"" << v.id << "\" identified " << v.identified << " partial \"" << v.partial << "\" overflowed "
         << v.overflowed;
  }
};

View view_of(const EventScanner& scanner) {
  return {scanner.last_event_id(), scanner.identified(), scanner.partial(), scanner.overflowed()};
}

View scan(std::string_view content) {
  EventScanner scanner;
  scanner.feed(content);
  return view_of(scanner);
}

// The standard's words, for content that is there as a whole and passes no limit.
View reference(const std::string& content) {
  View view;
  std::size_t at = content.starts_with("\xef\xbb\xbf") ? 3 : 0;
  std::size_t block = at;
  std::optional<std::string> id;
  for (;;) {
    std::size_t end = at;
    while (end < content.size() && content[end] != '\r' && content[end] != '\n') ++end;
    if (end == content.size()) break;
    const std::string line = content.substr(at, end - at);
    at = end + (content.compare(end, 2, "\r\n") == 0 ? 2 : 1);
    if (line.empty()) {
      if (at == content.size() && content.back() == '\r') break;  // whether a LF belongs to it is not known yet
      block = at;
      if (id) view.id = *id;
      view.identified = view.identified || id;
      id.reset();
      continue;
    }
    const std::size_t colon = line.find(':');
    if (line.substr(0, colon) != "id") continue;
    std::string value = colon == std::string::npos ? "" : line.substr(colon + 1);
    if (!value.empty() && value[0] == ' ') value.erase(0, 1);
    if (value.find('\0') == std::string::npos) id = value;
  }
  view.partial = content.substr(block);
  return view;
}

struct Row {
  const char* name;
  std::string content;
  View view;
};

const std::vector<Row> kRows = {
    {"nothing", "", {"", false, ""}},
    {"LF", "id: 1\ndata: a\n\n", {"1", true, ""}},
    {"CR LF", "id: 1\r\ndata: a\r\n\r\n", {"1", true, ""}},
    {"CR, and perhaps a LF", "id: 1\rdata: a\r\r", {"", false, "id: 1\rdata: a\r\r"}},
    {"CR and no LF", "id: 1\rdata: a\r\rd", {"1", true, "d"}},
    {"CR LF, half of the last", "id: 1\r\ndata: a\r\n\r", {"", false, "id: 1\r\ndata: a\r\n\r"}},
    {"every end once", "id: 1\ndata: a\r\ndata: b\r\n\nid: 2\r\r", {"1", true, "id: 2\r\r"}},
    {"CR ends the block, LF belongs to that", "data: a\r\r\ndata: b", {"", false, "data: b"}},
    {"LF CR is two ends", "data: a\n\rdata: b", {"", false, "data: b"}},
    {"CR LF LF", "id: 4\r\n\ndata", {"4", true, "data"}},
    {"a line's CR at the end of what came", "id: 4\r", {"", false, "id: 4\r"}},
    {"... and its LF", "id: 4\r\n", {"", false, "id: 4\r\n"}},
    {"block under way", "id: 1\n\nid: 2\ndata: x\n", {"1", true, "id: 2\ndata: x\n"}},
    {"line under way", "id: 1\n\nid: 2", {"1", true, "id: 2"}},
    {"id at the last byte", "id: 1\n\nid: 2\n\n", {"2", true, ""}},
    {"id without data", "id: 9\n\n", {"9", true, ""}},
    {"id stands until the next", "id: 9\n\ndata: a\n\ndata: b\n\n", {"9", true, ""}},
    {"last of two in a block", "id: 1\nid: 2\n\n", {"2", true, ""}},
    {"empty id resets", "id: 1\n\nid:\n\n", {"", true, ""}},
    {"id without colon resets", "id: 1\n\nid\n\n", {"", true, ""}},
    {"one space is taken off", "id:  x \n\n", {" x ", true, ""}},
    {"no space", "id:x\n\n", {"x", true, ""}},
    {"colons in the id", "id: a:b\n\n", {"a:b", true, ""}},
    {"NUL: ignored", "id: 1\n\nid: 2\0003\n\n"s, {"1", true, ""}},
    {"NUL behind a good one in a block", "id: 1\nid: 2\0\n\n"s, {"1", true, ""}},
    {"comment", ": id: 3\n\n", {"", false, ""}},
    {"comment under way", "id: 1\n\n: keep-alive", {"1", true, ": keep-alive"}},
    {"other fields", "event: id\ndata: id: 4\nretry: 1000\nfoo\n\n", {"", false, ""}},
    {"not id: upper case", "ID: 3\n\n", {"", false, ""}},
    {"not id: longer name", "idx: 3\n\nids\n\n", {"", false, ""}},
    {"not id: space before", " id: 3\n\n", {"", false, ""}},
    {"not id: space behind", "id : 3\n\n", {"", false, ""}},
    {"empty lines", "\n\n\r\n\r", {"", false, "\r"}},
    {"BOM", "\xef\xbb\xbfid: 1\n\n", {"1", true, ""}},
    {"BOM, line under way", "\xef\xbb\xbfid: 1", {"", false, "id: 1"}},
    {"part of a BOM", "\xef\xbb", {"", false, "\xef\xbb"}},
    {"no BOM", "\xef\xbbid: 1\n\nid: 2\n", {"", false, "id: 2\n"}},
    {"BOM not at the beginning", "\n\xef\xbb\xbfid: 1\n\n", {"", false, ""}},
    {"two BOMs", "\xef\xbb\xbf\xef\xbb\xbfid: 1\n\n", {"", false, ""}},
    {"UTF-8 and not", "id: \xc3\xa9\xff\n\n", {"\xc3\xa9\xff", true, ""}},
};

// What the scanner says after `content`, in pieces: the same as at once. `resumable_from`: a BOM is not gone on in.
void expect_same_in_pieces(const std::string& content, const View& whole, std::size_t resumable_from) {
  // Of a long one only the ends, where its lines are.
  constexpr std::size_t kEnds = 100;
  for (std::size_t cut = 0; cut <= content.size(); ++cut) {
    if (cut == kEnds && content.size() > 3 * kEnds) cut = content.size() - kEnds;
    SCOPED_TRACE("cut at " + std::to_string(cut));
    EventScanner scanner;
    scanner.feed(std::string_view(content).substr(0, cut));
    if (cut >= resumable_from && !scanner.overflowed()) {
      EventScanner next(scanner.last_event_id(), scanner.identified(), scanner.partial());
      ASSERT_EQ(view_of(next), view_of(scanner));
      next.feed(std::string_view(content).substr(cut));
      ASSERT_EQ(view_of(next), whole);
    }
    scanner.feed(std::string_view(content).substr(cut));
    ASSERT_EQ(view_of(scanner), whole);
  }
  EventScanner scanner;
  for (const char& c : content) scanner.feed({&c, 1});
  ASSERT_EQ(view_of(scanner), whole);
}

TEST(EventScanner, RowsAtOnceInTwoByteByByteAndGoneOnWith) {
  for (const Row& row : kRows) {
    SCOPED_TRACE(row.name);
    EXPECT_EQ(scan(row.content), row.view);
    EXPECT_EQ(reference(row.content), row.view);
    expect_same_in_pieces(row.content, row.view, row.content.starts_with("\xef") ? 3 : 1);
  }
}

TEST(EventScanner, AgreesWithTheStandardsWordsOnRandomStreams) {
  std::mt19937 random(20261121);
  const std::vector<std::string> parts = {"\n", "\r",  "\r\n",         "id",       ":", " ",  "id: ", "data: x",
                                          "7",  "\0"s, "\xef\xbb\xbf", "\xef\xbb", "i", "d:", "\n\n", "\r\n\r\n"};
  unsigned identified = 0;
  for (int round = 0; round < 6000; ++round) {
    std::string content;
    for (unsigned n = random() % 16; n-- > 0;) content += parts[random() % parts.size()];
    SCOPED_TRACE(::testing::PrintToString(content));
    const View whole = reference(content);
    identified += whole.identified;
    ASSERT_EQ(scan(content), whole);
    EventScanner pieces;
    for (std::size_t at = 0; at < content.size();) {
      const std::size_t n = 1 + random() % 5;
      pieces.feed(std::string_view(content).substr(at, n));
      at = std::min(content.size(), at + n);
      ASSERT_EQ(view_of(pieces), reference(content.substr(0, at))) << "after " << at;
    }
  }
  EXPECT_GT(identified, 600U);
}

TEST(EventScanner, IdAsLongAsAllowedAndLonger) {
  for (const std::string space : {"", " "}) {
    const std::string fits(EventScanner::kIdBytesMax, 'x');
    const std::string content = "id: 1\n\nid:" + space + fits + "\n\n";
    EXPECT_EQ(scan(content), (View{fits, true, ""}));
    const std::string longer = "id: 1\n\nid:" + space + fits + "y\n\n";
    EXPECT_EQ(scan(longer), (View{"", true, "", true}));
    EXPECT_EQ(scan(longer + "data: z\n\n"), (View{"", true, "", true}));
    EXPECT_EQ(scan(longer + "id: 2\n\n"), (View{"2", true, ""}));
    expect_same_in_pieces(content, scan(content), 1);
    expect_same_in_pieces(longer, scan(longer), 1);
  }
}

TEST(EventScanner, LongIdCountsWithItsBlockOnly) {
  const std::string under_way = "id: 1\n\nid: " + std::string(5000, 'x') + "\n";
  EXPECT_EQ(scan(under_way), (View{"1", true, under_way.substr(7)}));
  EXPECT_EQ(scan(under_way + "id: 2\n\n"), (View{"2", true, ""}));
  // A NUL makes it no id, however long it is and wherever it stands.
  const std::string nul = "id: 1\n\nid: " + std::string(5000, 'x') + '\0' + "\n\n";
  EXPECT_EQ(scan(nul), (View{"1", true, ""}));
  expect_same_in_pieces(nul, scan(nul), 1);
}

TEST(EventScanner, LongBlockCannotBeResumedUntilItEnds) {
  const std::string fits(EventScanner::kPartialBytesMax, 'x');
  EXPECT_EQ(scan("id: 1\n\n" + fits), (View{"1", true, fits}));
  EXPECT_EQ(scan("id: 1\n\n" + fits + "x"), (View{"1", true, "", true}));
  EXPECT_EQ(scan("id: 1\n\n" + fits + "x\nid: 2\n\nda"), (View{"2", true, "da"}));
  EventScanner pieces;
  pieces.feed("id: 1\n\n");
  for (int i = 0; i < 100; ++i) pieces.feed(std::string(1000, 'x'));
  EXPECT_EQ(view_of(pieces), (View{"1", true, "", true}));
  pieces.feed("\r");
  EXPECT_TRUE(pieces.overflowed());
  pieces.feed("\nid: 2\r");
  EXPECT_TRUE(pieces.overflowed());
  pieces.feed("\n\r");
  EXPECT_TRUE(pieces.overflowed()) << "a LF may belong to its end";
  pieces.feed("\n");
  EXPECT_EQ(view_of(pieces), (View{"2", true, ""}));
}

TEST(EventScanner, GoesOnWithWhatARecordSays) {
  EventScanner scanner("7", true, "id: 8\r");
  EXPECT_EQ(view_of(scanner), (View{"7", true, "id: 8\r"}));
  scanner.feed("\ndata: a\r\n\r\n: x");
  EXPECT_EQ(view_of(scanner), (View{"8", true, ": x"}));
  EXPECT_EQ(view_of(EventScanner(std::string(EventScanner::kIdBytesMax + 1, 'x'), true, "")),
            (View{"", true, "", true}));
  EXPECT_TRUE(EventScanner("7", true, std::string(EventScanner::kPartialBytesMax + 1, 'x')).overflowed());
}

TEST(EventScanner, OnlySomeIdsCanBeSaidInAField) {
  const auto sendable = [](const std::string& id) { return EventScanner(id, true, "").sendable(); };
  EXPECT_TRUE(sendable("7"));
  EXPECT_TRUE(sendable("a b\tc"));
  EXPECT_TRUE(sendable("\xc3\xa9"));
  EXPECT_FALSE(sendable(""));
  EXPECT_FALSE(sendable(" 7"));
  EXPECT_FALSE(sendable("7\t"));
  EXPECT_FALSE(sendable("7\x01"));
  EXPECT_FALSE(sendable("7\x7f"));
}

}  // namespace
}  // namespace suture
