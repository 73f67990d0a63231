// Applications with a strong entity tag that know nothing of Range: their 200 in answer to it is compared by the
// checkpoints, and its rest goes on.
#include <memory>
#include <mutex>

#include "heir_fixture.hpp"
#include "scripted_application.hpp"

namespace suture::test {
namespace {

const std::string kGet = "GET /f HTTP/1.1\r\nHost: h\r\n\r\n";

std::string content_of(std::size_t size) {
  std::string out;
  for (std::size_t i = 0; out.size() < size; ++i) out += std::to_string(i) + ' ';
  out.resize(size);
  return out;
}

std::string whole(const std::string& content, const std::string& fields = "ETag: \"v1\"\r\n") {
  return "HTTP/1.1 200 OK\r\n" + fields + "Content-Length: " + std::to_string(content.size()) + "\r\n\r\n" + content;
}

class WholeForRangeTest : public HeirTest {
 protected:
  // Of two pieces: the first read of the owner brings the head and kFirst bytes of the content, and so does its record.
  static constexpr std::size_t kFirst = 20'000, kAll = 50'000;
  static inline const std::string content = content_of(kAll);

  // The owner's session up to kFirst, for whose sake the record says what it says.
  void own(const std::string& answer) {
    start_with([&] { options.listeners[0].default_route().journal_bytes_max = 0; });
    const std::size_t head = answer.find("\r\n\r\n") + 4;
    client_ = connect_and_send(kGet);
    app_ = application.accept();
    app_.read_head();
    app_.send(answer.substr(0, head + kFirst));
    head_ = client_.read_head();
    ASSERT_TRUE(client_.read_bytes(kFirst) == answer.substr(head, kFirst));
    const auto all_known = [&] {
      for (const SessionRecord& r : sink.records())
        if (r.out_acked <= head_.size() && r.http && r.http->phase == HttpPhase::response) record = r;
      return record.http.has_value();
    };
    ASSERT_TRUE(eventually(all_known));
    record.out_acked = 0;
    ASSERT_EQ(record.http->response_head_end, head_.size());
    ASSERT_FALSE(record.http->journal);
  }
  std::uint64_t at(std::uint64_t of_content) const { return head_.size() + of_content; }
  // The heir's application, asked for the rest, gives `answer`.
  void answers(const Heir& heir, const std::string& answer, std::uint64_t has) {
    ASSERT_EQ(to_label(heir.plan.rung), to_label(ResumeRung::range)) << heir.plan.reason;
    Peer app = application.accept();
    const std::string asked = app.read_head();
    EXPECT_NE(asked.find("\r\nRange: bytes=" + std::to_string(has) + "-\r\n"), std::string::npos) << asked;
    EXPECT_NE(asked.find("\r\nIf-Range: \"v1\"\r\n"), std::string::npos) << asked;
    // Each heir with a connection of its own. Who finds other bytes reads no more.
    std::string said = answer;
    said.insert(said.find("\r\n"), "\r\nConnection: close");
    for (std::string_view rest = said; !rest.empty();) {
      const ssize_t n = ::send(app.fd(), rest.data(), rest.size(), MSG_NOSIGNAL);
      if (n <= 0) break;
      rest.remove_prefix(static_cast<std::size_t>(n));
    }
    apps_.push_back(std::move(app));
  }
  void expect_rest(Heir& heir, std::uint64_t has) {
    EXPECT_TRUE(heir.flow.client.read_bytes(kAll - has) == content.substr(has)) << "at " << has;
    const Outcome outcome = outcome_of(heir);
    EXPECT_EQ(to_label(outcome.rung), to_label(ResumeRung::refetch)) << "at " << has;
    EXPECT_EQ(outcome.reason, "");
  }
  void expect_reset(Heir& heir, const char* reason) {
    EXPECT_EQ(heir.flow.client.read_all(), "");
    EXPECT_EQ(heir.flow.client.last_errno(), ECONNRESET);
    const Outcome outcome = outcome_of(heir);
    EXPECT_EQ(to_label(outcome.rung), to_label(ResumeRung::reset));
    EXPECT_EQ(outcome.reason, reason);
  }

  SessionRecord record;

 private:
  Peer client_, app_;
  std::string head_;
  std::vector<Peer> apps_;
};

TEST_F(WholeForRangeTest, TheSameAgainGoesOn) {
  own(whole(content));
  ASSERT_TRUE(record.http->body);
  ASSERT_FALSE(record.http->body->marks.empty());
  const std::uint64_t marked = record.http->body->marks.back().content;
  ASSERT_GT(marked, 0U);
  for (const std::uint64_t has : {std::uint64_t{0}, std::uint64_t{1}, marked / 2, marked - 1, marked}) {
    Heir heir = heal(record, {at(has)});
    EXPECT_TRUE(heir.plan.refetch);
    answers(heir, whole(content), has);
    expect_rest(heir, has);
  }
}

// What follows is a session like any other.
TEST_F(WholeForRangeTest, TheNextRequestIsAnswered) {
  own(whole(content));
  Heir heir = heal(record, {at(100)});
  ASSERT_EQ(to_label(heir.plan.rung), to_label(ResumeRung::range));
  Peer app = application.accept();
  app.read_head();
  app.send(whole(content));
  expect_rest(heir, 100);
  heir.flow.client.send("GET /next HTTP/1.1\r\nHost: h\r\n\r\n");
  const std::string next = app.read_head();
  EXPECT_EQ(next.substr(0, 9), "GET /next");
  EXPECT_EQ(next.find("Range:"), std::string::npos);
  app.send(whole("ok"));
  EXPECT_EQ(heir.flow.client.read_head().substr(0, 12), "HTTP/1.1 200");
  EXPECT_EQ(heir.flow.client.read_bytes(2), "ok");
}

TEST_F(WholeForRangeTest, ThePartGoesOnAsWell) {
  own(whole(content));
  Heir heir = heal(record, {at(100)});
  answers(heir,
          "HTTP/1.1 206 Partial Content\r\nETag: \"v1\"\r\nContent-Range: bytes 100-" + std::to_string(kAll - 1) + '/' +
              std::to_string(kAll) + "\r\nContent-Length: " + std::to_string(kAll - 100) + "\r\n\r\n" +
              content.substr(100),
          100);
  EXPECT_TRUE(heir.flow.client.read_bytes(kAll - 100) == content.substr(100));
  EXPECT_EQ(to_label(outcome_of(heir).rung), to_label(ResumeRung::range));
}

TEST_F(WholeForRangeTest, AnotherByteBeforeTheCursorIsAReset) {
  own(whole(content));
  const std::uint64_t marked = record.http->body->marks.back().content;
  for (const std::uint64_t has : {std::uint64_t{1}, marked / 2, marked}) {
    for (const std::uint64_t changed : {std::uint64_t{0}, has / 2, has - 1}) {
      std::string other = content;
      other[changed] = other[changed] == 'x' ? 'y' : 'x';
      Heir heir = heal(record, {at(has)});
      answers(heir, whole(other), has);
      expect_reset(heir, heal_reason::other_response);
    }
  }
}

TEST_F(WholeForRangeTest, AnotherRepresentationIsAReset) {
  own(whole(content));
  for (const std::uint64_t has : {0U, 100U})
    for (const std::string& answer :
         {whole(content, "ETag: \"v2\"\r\n"), whole(content, ""), whole(content, "ETag: W/\"v1\"\r\n"),
          whole(content, "ETag: \"v1\"\r\nContent-Encoding: gzip\r\n"), whole(content + "x"),
          whole(content.substr(1))}) {
      Heir heir = heal(record, {at(has)});
      answers(heir, answer, has);
      expect_reset(heir, heal_reason::other_response);
    }
}

TEST_F(WholeForRangeTest, OtherStatusesAreRefused) {
  own(whole(content));
  for (const std::string& answer : {std::string("HTTP/1.1 416 Range Not Satisfiable\r\nContent-Length: 0\r\n\r\n"),
                                    std::string("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"),
                                    std::string("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")}) {
    Heir heir = heal(record, {at(100)});
    answers(heir, answer, 100);
    expect_reset(heir, heal_reason::range_refused);
  }
}

// The client holds bytes above a hole: they are of the same response, if its beginning is up to there.
TEST_F(WholeForRangeTest, AboveWhatIsHeldOutOfOrder) {
  ASSERT_EQ(::geteuid(), 0U) << "repair mode needs CAP_NET_ADMIN";
  own(whole(content));
  const std::uint64_t marked = record.http->body->marks.back().content;
  for (const std::uint64_t has : {std::uint64_t{0}, std::uint64_t{100}}) {
    Stand stand{at(has)};
    stand.sack_edge = at(marked / 2);
    Heir heir = heal(record, stand);
    EXPECT_TRUE(heir.plan.refetch);
    answers(heir, whole(content), has);
    expect_rest(heir, has);

    std::string other = content;
    other[marked / 2 - 1] = 'x';  // what it holds
    Heir wrong = heal(record, stand);
    answers(wrong, whole(other), has);
    expect_reset(wrong, heal_reason::other_response);
  }
  // Above all that the record can vouch for.
  Stand beyond{at(100)};
  beyond.sack_edge = at(marked + 1);
  Heir heir = heal(record, beyond);
  EXPECT_FALSE(heir.plan.refetch);
  answers(heir, whole(content), 100);
  expect_reset(heir, heal_reason::range_refused);
}

// The first heir's record is as good as the owner's.
TEST_F(WholeForRangeTest, ASecondHeir) {
  own(whole(content));
  Heir first = heal(record, {at(100)});
  answers(first, whole(content).substr(0, whole(content).size() - 10'000), 100);
  EXPECT_TRUE(first.flow.client.read_bytes(kAll - 10'100) == content.substr(100, kAll - 10'100));
  EXPECT_EQ(to_label(outcome_of(first).rung), to_label(ResumeRung::refetch));
  ASSERT_TRUE(eventually([&] { return last_of(first.flow.key).out_sent >= at(kAll - 10'000); }));
  SessionRecord told = last_of(first.flow.key);
  for (const std::uint64_t has : {kAll - 10'000, kAll - 10'001}) {
    told.out_acked = std::min(told.out_acked, at(has));
    Heir second = heal(told, {at(has)});
    EXPECT_TRUE(second.plan.refetch);
    answers(second, whole(content), has);
    expect_rest(second, has);
  }
}

TEST_F(WholeForRangeTest, WhoServesRangesIsHeldToThem) {
  const std::string fields = "ETag: \"v1\"\r\nAccept-Ranges: bytes\r\n";
  own(whole(content, fields));
  EXPECT_FALSE(record.http->body) << "nothing to compare with";
  for (const std::uint64_t has : {0U, 100U}) {
    Heir heir = heal(record, {at(has)});
    EXPECT_FALSE(heir.plan.refetch);
    answers(heir, whole(content, fields), has);
    expect_reset(heir, heal_reason::range_refused);
  }
}

}  // namespace
}  // namespace suture::test
