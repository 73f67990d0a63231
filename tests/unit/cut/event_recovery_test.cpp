// Event streams of which the record cannot hold all that is on its way: meanwhile nobody continues them, and once the
// client has everything they can be continued again. Whatever the record says of the stream's bytes is true.
#include <random>

#include <proxy/client/event_scanner.hpp>
#include <proxy/client/known_bytes.hpp>
#include <proxy/client/response_writer.hpp>

#include "heir_fixture.hpp"

namespace suture::test {
namespace {

const std::string kGet = "GET /e HTTP/1.1\r\nHost: h\r\n\r\n";
const std::string kHead = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

std::string event(int id, std::size_t data_bytes = 20) {
  return "id: " + std::to_string(id) + "\ndata: " + std::string(data_bytes, 'd') + "\n\n";
}

// An owner that passes an event stream on, every byte of it, and what peers are told of that.
class Stream {
 public:
  Stream(std::size_t journal_bytes_max, std::size_t budget_bytes)
      : budget(budget_bytes), journal_max_(journal_bytes_max) {
    writer_.emplace(budget);
    writer_->begin(journal_max_);
    writer_->head(0, kHead);
    wire = kHead;
    exchange.method = "GET";
    exchange.replayable = true;
    exchange.request_head = std::make_shared<const std::string>(kGet);
    exchange.request_head_end = kGet.size();
    exchange.response_head_end = kHead.size();
    exchange.response_framing = BodyFraming::chunked;
    exchange.status = 200;
    ResponseWriter::Body body;
    body.framing = BodyFraming::chunked;
    body.events = true;
    writer_->body(kHead.size(), body);
    writer_->store(exchange, acked);
  }

  void send(const std::string& content) {
    std::string buffer(ResponseWriter::kRoom, ' ');
    buffer += content;
    wire += writer_->chunk(wire.size(), buffer);
    content_ += content;
    writer_->store(exchange, acked);
    EXPECT_EQ(wrong(), "");
  }
  void acknowledge_all() { acked = wire.size(); }
  // An heir goes on at the end of what was sent.
  void heal() {
    ASSERT_EQ(to_label(plan_at(wire.size()).rung), to_label(ResumeRung::events));
    writer_.emplace(budget);
    writer_->resume_events(exchange, journal_max_);
    acknowledge_all();
    writer_->store(exchange, acked);
    EXPECT_EQ(wrong(), "");
  }

  SessionRecord record() const {
    SessionRecord out;
    out.mode = SessionMode::http;
    out.in_known = kGet.size();
    out.out_acked = acked;
    out.out_sent = wire.size();
    HttpState& http = out.http.emplace();
    static_cast<Exchange&>(http) = exchange;
    http.phase = HttpPhase::response;
    return out;
  }
  Resumption plan_at(std::uint64_t cursor) const { return plan_for(record(), {cursor}); }
  // Wherever the client can stand, it is told what comes next.
  bool goes_on_everywhere() const {
    for (std::uint64_t at = acked; at <= wire.size(); ++at)
      if (plan_at(at).rung != ResumeRung::events) return false;
    return true;
  }
  // Nowhere but where the client has everything.
  bool goes_on_before_the_end() const {
    for (std::uint64_t at = acked; at < wire.size(); ++at)
      if (plan_at(at).rung != ResumeRung::reset) return true;
    return false;
  }
  bool goes_on_at_the_end() const { return plan_at(wire.size()).rung == ResumeRung::events; }

  // What the record says is what was sent.
  std::string wrong() const {
    if (!exchange.body) return "no track";
    if (exchange.journal) {
      const std::string& journal = *exchange.journal;
      if (exchange.journal_start + journal.size() != wire.size())
        return "the journal does not end where the stream does";
      if (wire.compare(exchange.journal_start, journal.size(), journal) != 0) return "the journal has other bytes";
    }
    const auto complete = content_.rfind("\n\n");
    const std::string partial = complete == std::string::npos ? content_ : content_.substr(complete + 2);
    const auto named = content_.rfind("id: ", complete);
    const std::string id =
        named == std::string::npos ? "" : content_.substr(named + 4, content_.find('\n', named) - named - 4);
    for (std::uint64_t at = acked; at <= wire.size(); at += 1 + (wire.size() - acked) / 50) {
      const Resumption plan = plan_at(at);
      if (plan.rung == ResumeRung::reset) continue;
      const std::string where = " at " + std::to_string(at) + " of " + std::to_string(wire.size());
      if (plan.rung != ResumeRung::events) return std::string(to_label(plan.rung)) + where;
      std::string known;
      known_behind(*record().http, at, [&](std::string_view bytes) { known.append(bytes); });
      known.resize(std::min<std::size_t>(known.size(), plan.journal));
      if (wire.compare(at, std::string::npos, known) != 0) return "not the rest" + where;
      if (exchange.body->partial_event != partial) return "another event is under way" + where;
      if (complete != std::string::npos && exchange.body->last_event_id != id) return "another id" + where;
    }
    return "";
  }

  JournalBudget budget;
  Exchange exchange;
  std::string wire;  // all that was written: `out` from 0 on
  // From the head on: who has nothing gets a stream from its beginning.
  std::uint64_t acked = kHead.size();

 private:
  std::size_t journal_max_;
  std::optional<ResponseWriter> writer_;
  std::string content_;
};

TEST(EventRecovery, MoreOnItsWayThanAJournalHolds) {
  Stream stream(1000, 1 << 20);
  int id = 0;
  for (int round = 0; round < 3; ++round) {
    while (stream.wire.size() - stream.acked <= 900) {
      stream.send(event(++id));
      ASSERT_TRUE(stream.goes_on_everywhere()) << id;
    }
    const std::uint64_t missing = stream.wire.size();
    for (int n = 0; n < 5; ++n) stream.send(event(++id));
    for (std::uint64_t at = stream.acked; at < missing; ++at)
      ASSERT_EQ(to_label(stream.plan_at(at).rung), to_label(ResumeRung::reset)) << at;
    // Nothing is told anew by an acknowledgement alone.
    EXPECT_TRUE(stream.goes_on_at_the_end());
    stream.acknowledge_all();
    EXPECT_TRUE(stream.goes_on_everywhere());
    stream.send(event(++id));
    EXPECT_TRUE(stream.goes_on_everywhere());
    if (round == 1) stream.heal();
  }
}

TEST(EventRecovery, OneThatIsLargerThanTheJournal) {
  Stream stream(1000, 1 << 20);
  stream.send(event(1));
  stream.send(event(2, 5000));
  EXPECT_FALSE(stream.goes_on_before_the_end());
  EXPECT_TRUE(stream.goes_on_at_the_end());
  stream.acknowledge_all();
  stream.send(event(3));
  EXPECT_TRUE(stream.goes_on_everywhere());
}

TEST(EventRecovery, AnEventThatIsTooLongToBeKept) {
  Stream stream(1 << 20, 1 << 20);
  stream.send(event(1));
  ASSERT_TRUE(stream.goes_on_everywhere());
  for (int round = 0; round < 2; ++round) {
    const std::string large = event(2 + round, EventScanner::kPartialBytesMax + 1000);
    stream.send(large.substr(0, large.size() / 2));
    ASSERT_TRUE(stream.goes_on_at_the_end());
    stream.send(large.substr(large.size() / 2, large.size() / 2 - 2));
    EXPECT_FALSE(stream.goes_on_at_the_end()) << "what an heir would have to compare is not in the record";
    stream.acknowledge_all();
    EXPECT_FALSE(stream.goes_on_at_the_end());
    stream.send(large.substr(large.size() / 2 + large.size() / 2 - 2));
    EXPECT_TRUE(stream.goes_on_everywhere()) << "its end, and its id";
    if (round == 0) stream.heal();
  }
}

TEST(EventRecovery, ABudgetThatIsSpentForAWhile) {
  Stream stream(1000, 3000);
  stream.send(event(1));
  ASSERT_TRUE(stream.goes_on_everywhere());
  std::vector<std::shared_ptr<const std::string>> others;
  const auto spend = [&] {
    others.push_back(
        stream.budget.make(std::string(3000 - static_cast<std::size_t>(stream.budget.used().value()), 'x')));
  };
  spend();
  stream.send(event(2));
  EXPECT_FALSE(stream.goes_on_before_the_end());
  stream.acknowledge_all();
  EXPECT_TRUE(stream.goes_on_at_the_end()) << "the client lacks nothing";
  spend();
  stream.send(event(3));
  EXPECT_FALSE(stream.goes_on_before_the_end());
  EXPECT_EQ(stream.budget.refused().value(), 2U);
  others.clear();
  stream.send(event(4));
  stream.acknowledge_all();
  stream.send(event(5));
  EXPECT_TRUE(stream.goes_on_everywhere());
}

// The journal alone tells where the client stands.
TEST(EventRecovery, MoreChunksThanARecordLists) {
  Stream stream(1 << 20, 1 << 22);
  const std::string all = event(1, 400) + event(2, 400) + event(3, 400) + event(4, 400);
  for (const char c : all) stream.send(std::string(1, c));
  ASSERT_GT(all.size(), BodyTrack::kChunksMax);
  EXPECT_LE(stream.exchange.body->chunks.size(), BodyTrack::kChunksMax);
  EXPECT_TRUE(stream.goes_on_everywhere());
  stream.acknowledge_all();
  stream.send(event(5));
  EXPECT_TRUE(stream.goes_on_everywhere());
  stream.heal();
  stream.send(event(6));
  EXPECT_TRUE(stream.goes_on_everywhere());
}

TEST(EventRecovery, WithoutIdsThereIsNone) {
  Stream stream(1000, 1 << 20);
  for (int i = 0; i < 100; ++i) stream.send("data: " + std::to_string(i) + "\n\n");
  stream.acknowledge_all();
  EXPECT_FALSE(stream.goes_on_at_the_end());
}

TEST(EventRecovery, AnyPiecesAcknowledgementsAndBudgets) {
  for (unsigned seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    const auto up_to = [&](std::uint64_t most) {
      return std::uniform_int_distribution<std::uint64_t>(0, most)(random);
    };
    Stream stream(200 + up_to(3000), 4000 + up_to(6000));
    std::string coming;
    int id = 0;
    std::shared_ptr<const std::string> others;
    std::size_t ends = 0;
    for (int step = 0; step < 150 && !::testing::Test::HasFailure(); ++step) {
      if (coming.size() < 100) coming += event(++id, up_to(10) == 0 ? 2000 : up_to(80));
      const std::size_t n = 1 + up_to(std::min<std::size_t>(coming.size(), 300) - 1);
      stream.send(coming.substr(0, n));
      coming.erase(0, n);
      stream.acked += up_to(stream.wire.size() - stream.acked);
      if (up_to(10) == 0) others = others ? nullptr : stream.budget.make(std::string(3500, 'x'));
      if (stream.goes_on_at_the_end()) ++ends;
      if (up_to(20) == 0 && stream.goes_on_at_the_end()) stream.heal();
    }
    EXPECT_GT(ends, 50U);
  }
}

class EventSessionTest : public HeirTest {
 protected:
  void start(std::uint32_t journal_bytes_max) {
    start_with([&] { options.listeners[0].default_route().journal_bytes_max = journal_bytes_max; });
  }
  static std::string chunk_of(const std::string& content) {
    return size_line(static_cast<std::uint32_t>(content.size())) + content + "\r\n";
  }
  // So much content, in whole chunks; `end` goes with it.
  static std::string read_content(Peer& client, std::size_t bytes, std::uint64_t& end) {
    std::string content;
    while (content.size() < bytes) {
      const std::string line = client.read_until("\r\n");
      if (line.empty()) break;
      const std::size_t size = std::stoul(line, nullptr, 16);
      content += client.read_bytes(size + 2).substr(0, size);
      end += line.size() + size + 2;
    }
    return content;
  }
  bool told(const suture_flow_key& key, std::uint64_t sent) {
    return eventually([&] {
      const SessionRecord record = last_of(key);
      return record.http && record.out_sent >= sent && record.http->body &&
             record.http->journal_start + (record.http->journal ? record.http->journal->size() : 0) >= sent;
    });
  }
  // The application of an heir, which was asked for what comes behind `id`.
  Peer asked_behind(int id) {
    Peer app = application.accept();
    const std::string head = app.read_head();
    EXPECT_NE(head.find("\r\nLast-Event-ID: " + std::to_string(id) + "\r\n"), std::string::npos) << head;
    return app;
  }
};

// A client that does not read for a while.
TEST_F(EventSessionTest, RecoversOnceTheClientHasEverything) {
  constexpr int kEvents = 2000;
  start(2000);
  Peer client = connect(1);
  client.send(kGet);
  Peer app = application.accept();
  app.read_head();
  app.send(kHead);
  std::string content;
  for (int id = 1; id <= kEvents; ++id) content += event(id, 50);
  for (std::size_t at = 0; at < content.size(); at += 5000) app.send(chunk_of(content.substr(at, 5000)));
  // All of it is with the kernel, or waits in front of it.
  const auto last = [&] { return sink.last(); };
  ASSERT_TRUE(eventually(
      [&] { return last().http && last().http->body && last().http->body->last_event_id == std::to_string(kEvents); }));
  const SessionRecord stuck = last();
  ASSERT_LT(stuck.out_acked + 4000, stuck.http->journal_start) << "the client was to lack more than a journal holds";
  for (const std::uint64_t c : {stuck.out_acked, stuck.out_acked + 1000, stuck.http->journal_start - 1})
    EXPECT_EQ(to_label(plan_for(stuck, {c}).rung), to_label(ResumeRung::reset)) << c;

  std::uint64_t end = client.read_head().size();
  EXPECT_TRUE(read_content(client, content.size(), end) == content);
  ASSERT_TRUE(told(stuck.facts.key, end));
  SessionRecord record = last_of(stuck.facts.key);
  // No event since: what was told when the last one left is good enough.
  for (int heir = 1, id = kEvents; heir <= 3; ++heir) {
    Heir next = heal(record, {end + static_cast<std::uint64_t>(heir - 1) * chunk_of(event(id, 50)).size()});
    ASSERT_EQ(to_label(next.plan.rung), to_label(ResumeRung::events)) << heir << ": " << next.plan.reason;
    Peer again = asked_behind(id);
    ++id;
    again.send(kHead + chunk_of(event(id, 50)));
    const std::string expected = chunk_of(event(id, 50));
    EXPECT_EQ(next.flow.client.read_bytes(expected.size()), expected);
    EXPECT_EQ(to_label(outcome_of(next).rung), to_label(ResumeRung::events));
    ASSERT_TRUE(told(next.flow.key, next.plan.cursor + expected.size()));
    record = last_of(next.flow.key);
  }
}

TEST_F(EventSessionTest, RecoversBehindAnEventThatIsTooLong) {
  start(1 << 20);
  Peer client = connect_and_send(kGet);
  Peer app = application.accept();
  app.read_head();
  app.send(kHead + chunk_of(event(1)));
  std::uint64_t end = client.read_head().size();
  read_content(client, event(1).size(), end);
  const std::string large = event(2, EventScanner::kPartialBytesMax + 1000);
  app.send(chunk_of(large.substr(0, large.size() - 2)));
  read_content(client, large.size() - 2, end);
  const auto key = sink.last().facts.key;
  ASSERT_TRUE(told(key, end));
  EXPECT_EQ(to_label(plan_for(last_of(key), {end}).rung), to_label(ResumeRung::reset));
  app.send(chunk_of("\n\n"));
  read_content(client, 2, end);
  ASSERT_TRUE(told(key, end));
  Heir heir = heal(last_of(key), {end});
  ASSERT_EQ(to_label(heir.plan.rung), to_label(ResumeRung::events)) << heir.plan.reason;
  Peer again = asked_behind(2);
  again.send(kHead + chunk_of(event(3)));
  EXPECT_EQ(read_content(heir.flow.client, event(3).size(), end), event(3));
}

}  // namespace
}  // namespace suture::test
