// What goes to the client and what of it the record holds; tests/unit/cut has it with sessions around it.
#include <gtest/gtest.h>
#include <proxy/client/content_matcher.hpp>
#include <proxy/client/response_writer.hpp>

namespace suture::test {
namespace {

const std::string kHead = "HTTP/1.1 200 OK\r\n\r\n";  // 19 bytes

class ResponseWriterTest : public ::testing::Test {
 protected:
  void begin(BodyFraming framing, std::uint64_t length = 0, bool checkpoints = true) {
    writer.begin(100);
    writer.head(1000, kHead);
    exchange.response_head_end = 1000 + kHead.size();
    exchange.response_framing = framing;
    ResponseWriter::Body body;
    body.framing = framing;
    body.length = length;
    body.checkpoints = checkpoints;
    writer.body(exchange.response_head_end, body);
    out = exchange.response_head_end;
  }
  std::string chunk(const std::string& content, const std::string* trailers = nullptr) {
    std::string buffer(ResponseWriter::kRoom, ' ');
    buffer += content;
    const std::string wire(writer.chunk(out, buffer, trailers));
    out += wire.size();
    return wire;
  }
  std::string journal() const { return exchange.journal ? *exchange.journal : "none"; }

  JournalBudget budget{1000};
  ResponseWriter writer{budget};
  Exchange exchange;
  std::uint64_t out = 0;
};

TEST_F(ResponseWriterTest, JournalHoldsWhatTheClientLacks) {
  begin(BodyFraming::length, 20, false);
  writer.content(out, "0123456789");
  writer.store(exchange, 0);
  EXPECT_EQ(journal(), kHead + "0123456789");
  EXPECT_EQ(exchange.journal_start, 1000U);
  EXPECT_EQ(budget.used().value(), static_cast<std::int64_t>(kHead.size() + 10));
  writer.content(out + 10, "abcdefghij");
  EXPECT_TRUE(writer.due());
  writer.store(exchange, out + 4);
  EXPECT_EQ(journal(), "456789abcdefghij");
  EXPECT_EQ(exchange.journal_start, out + 4);
  EXPECT_FALSE(writer.due());
  exchange.journal.reset();
  EXPECT_EQ(budget.used().value(), 0);
}

TEST_F(ResponseWriterTest, OfALargeAnswerTheHeadAloneUntilTheClientHasIt) {
  begin(BodyFraming::length, 5000, false);
  writer.content(out, "0123456789");
  writer.store(exchange, 0);
  EXPECT_EQ(journal(), kHead);
  writer.store(exchange, out);
  EXPECT_EQ(journal(), "none");
}

TEST_F(ResponseWriterTest, OneThatTurnsOutToBeLargeToo) {
  begin(BodyFraming::until_close);
  writer.content(out, std::string(70, 'a'));
  writer.store(exchange, 0);
  EXPECT_EQ(journal(), kHead + std::string(70, 'a'));
  writer.content(out + 70, std::string(70, 'b'));
  writer.store(exchange, 0);
  EXPECT_EQ(journal(), kHead);
}

TEST_F(ResponseWriterTest, WithoutBudgetThereIsNoJournal) {
  const auto all = budget.make(std::string(999, 'x'));
  begin(BodyFraming::length, 3, false);
  writer.content(out, "abc");
  writer.store(exchange, 0);
  EXPECT_EQ(journal(), "none");
  EXPECT_EQ(budget.refused().value(), 1U);
  writer.content(out + 3, "def");
  EXPECT_FALSE(writer.due());
}

TEST_F(ResponseWriterTest, ChunksAreOursAndTheRecordCanTellEveryPlace) {
  begin(BodyFraming::chunked);
  const std::uint64_t start = out;
  const std::string trailers = "X-Sum: 7\r\n";
  std::string wire = chunk("hello");
  wire += chunk(std::string(16, 'w'));
  wire += chunk("", &trailers);
  EXPECT_EQ(wire, "5\r\nhello\r\n10\r\n" + std::string(16, 'w') + "\r\n0\r\nX-Sum: 7\r\n\r\n");
  writer.store(exchange, 0);
  const BodyTrack& track = *exchange.body;
  EXPECT_EQ(chunks_end(track), start + 32);
  EXPECT_EQ(track.tail, "0\r\nX-Sum: 7\r\n\r\n");
  std::string content = "hello" + std::string(16, 'w');
  for (std::uint64_t at = 0; at <= 32; ++at) {
    const auto place = place_of(track, start + at);
    ASSERT_TRUE(place) << at;
    const std::uint64_t line = at < 10 ? 3 : 14, size = at < 10 ? 5 : 16, before = at < 10 ? 0 : 5;
    EXPECT_EQ(place->content, before + (at < line ? 0 : std::min(at - line, size))) << at;
  }
  EXPECT_FALSE(place_of(track, start + 33));
  ASSERT_EQ(track.marks.size(), 2U);
  ContentDigest digest;
  digest.update("hello");
  EXPECT_EQ(track.marks[0], (BodyMark{start + 10, 5, digest.value()}));
}

TEST_F(ResponseWriterTest, AnotherStreamHasItsOwnIds) {
  const auto stream = [&] {
    writer.begin(1000);
    exchange = {};
    writer.head(out, kHead);
    exchange.response_head_end = out + kHead.size();
    exchange.response_framing = BodyFraming::chunked;
    ResponseWriter::Body body;
    body.framing = BodyFraming::chunked;
    body.events = true;
    writer.body(exchange.response_head_end, body);
    out = exchange.response_head_end;
  };
  stream();
  chunk("id: 7\ndata: a\n\ndata: half");
  writer.store(exchange, 0);
  ASSERT_TRUE(exchange.body);
  EXPECT_TRUE(exchange.body->identified);
  EXPECT_EQ(exchange.body->last_event_id, "7");
  EXPECT_EQ(exchange.body->partial_event, "data: half");
  stream();
  writer.store(exchange, 0);
  ASSERT_TRUE(exchange.body);
  EXPECT_EQ(exchange.body->last_event_id, "");
  EXPECT_EQ(exchange.body->partial_event, "");
}

TEST_F(ResponseWriterTest, MarksAndChunksAreBounded) {
  begin(BodyFraming::chunked);
  std::uint64_t content = 0;
  for (std::size_t i = 0; i < BodyTrack::kChunksMax; ++i, content += 2) {
    chunk("ab");
    writer.store(exchange, 0);
    ASSERT_LE(exchange.body->marks.size(), BodyTrack::kMarksMax);
    ASSERT_TRUE(mark_beyond(*exchange.body, out, content)) << "the last mark covers all that was sent";
  }
  chunk("ab");
  content += 2;
  writer.store(exchange, 0);
  ASSERT_TRUE(exchange.body);
  EXPECT_TRUE(exchange.body->chunks.empty()) << "too many chunks on their way: inside them nobody knows his place";
  EXPECT_FALSE(place_of(*exchange.body, out - 1));
  ASSERT_TRUE(place_of(*exchange.body, out));
  EXPECT_EQ(place_of(*exchange.body, out)->content, content);
  const std::uint64_t behind = out;
  chunk("cde");
  writer.store(exchange, behind);
  ASSERT_TRUE(place_of(*exchange.body, out)) << "behind them they do again";
  EXPECT_EQ(place_of(*exchange.body, out)->content, content + 3);
  EXPECT_TRUE(mark_beyond(*exchange.body, out, content + 3));
}

// From every place: the bytes behind it are the same, however the new content is cut.
TEST_F(ResponseWriterTest, GoesOnInTheFramingThatTheClientKnows) {
  begin(BodyFraming::chunked);
  const std::uint64_t start = out;
  const std::string content = "hello, world and all the rest of it";
  std::string wire = chunk(content.substr(0, 7));
  wire += chunk(content.substr(7, 1));
  wire += chunk(content.substr(8));
  writer.store(exchange, 0);
  for (std::uint64_t at = 0; at <= wire.size(); ++at)
    for (const std::size_t piece : {1U, 3U, 100U}) {
      const auto place = place_of(*exchange.body, start + at);
      const BodyMark* mark = &exchange.body->marks.back();
      ContentMatcher matcher(*mark, place->content);
      for (std::size_t i = 0; i < content.size(); i += piece) matcher.feed(std::string_view(content).substr(i, piece));
      ASSERT_EQ(matcher.status(), ContentMatcher::Status::matched) << at;
      ResponseWriter heir(budget);
      heir.resume_body(exchange, 0, start + at, matcher.verified(), matcher.digest());
      std::string got;
      const std::string rest = matcher.take();
      for (std::size_t i = 0; i < rest.size(); i += piece) {
        std::string buffer(ResponseWriter::kRoom, ' ');
        buffer += rest.substr(i, piece);
        got += heir.chunk(start + at + got.size(), buffer);
      }
      EXPECT_FALSE(heir.short_of_framing());
      std::string buffer(ResponseWriter::kRoom, ' ');
      const std::string none;
      got += heir.chunk(start + at + got.size(), buffer, &none);
      EXPECT_EQ(got, wire.substr(at) + "0\r\n\r\n") << at << " by " << piece;
    }
}

TEST(ContentMatcher, OtherContentIsAMismatchAndNothingIsGivenAway) {
  ContentDigest digest;
  digest.update("0123456789");
  const BodyMark mark{10, 10, digest.value()};
  for (std::uint64_t from = 0; from <= 10; ++from) {
    ContentMatcher matcher(mark, from);
    EXPECT_EQ(matcher.feed("01234"), ContentMatcher::Status::more);
    EXPECT_EQ(matcher.feed("x6789 and more"), ContentMatcher::Status::mismatch);
    ContentMatcher same(mark, from);
    EXPECT_EQ(same.feed("0123456789 and more"), ContentMatcher::Status::matched);
    EXPECT_EQ(same.take(), std::string("0123456789 and more").substr(from));
  }
}

}  // namespace
}  // namespace suture::test
