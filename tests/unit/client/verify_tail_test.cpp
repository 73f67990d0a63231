// A route's verify_tail: of a body that Range continues, at least so many bytes before the client's cursor are fetched
// again and compared. The owner's marks, and what an heir makes of them.
#include <algorithm>
#include <random>

#include <poll.h>
#include <proxy/client/content_digest.hpp>
#include <proxy/client/response_writer.hpp>

#include "adoption_fixture.hpp"

namespace suture::test {
namespace {

constexpr std::uint64_t kHeadEnd = 1000;
constexpr std::uint64_t kStep = ResponseWriter::kTailStep;

// No two stretches of it are alike.
std::string content_of(std::size_t size) {
  std::string out;
  for (std::size_t i = 0; out.size() < size; ++i) out += std::to_string(i) + ' ';
  out.resize(size);
  return out;
}

std::array<std::uint8_t, 16> digest_of(std::string_view bytes) {
  ContentDigest digest;
  digest.update(bytes);
  return digest.value();
}

// An owner that passes on a body of known length.
struct Owner {
  explicit Owner(std::uint64_t length, std::uint32_t verify_tail) {
    writer.begin(0);
    exchange.response_head_end = kHeadEnd;
    exchange.response_framing = BodyFraming::length;
    exchange.response_length = length;
    ResponseWriter::Body body;
    body.framing = BodyFraming::length;
    body.length = length;
    body.verify_tail = verify_tail;
    writer.body(kHeadEnd, body);
  }
  void pass(std::string_view piece, std::uint64_t acked = 0) {
    writer.content(kHeadEnd + sent, piece);
    sent += piece.size();
    writer.store(exchange, kHeadEnd + acked);
  }

  JournalBudget budget{1 << 20};
  ResponseWriter writer{budget};
  Exchange exchange;
  std::uint64_t sent = 0;  // of the content
};

// Empty: a cursor at `at` finds what it needs.
std::string wrong_at(const Owner& owner, std::string_view content, std::uint64_t at, std::uint32_t verify_tail) {
  if (!owner.exchange.body) return "no track";
  const BodyMark* mark = mark_beyond(*owner.exchange.body, kHeadEnd + at, at);
  if (!mark) return "no mark";
  if (mark->wire != kHeadEnd + mark->content) return "a mark whose offsets do not agree";
  if (mark->content > owner.sent) return "a mark of what was not sent";
  if (mark->from > at - std::min<std::uint64_t>(at, verify_tail))
    return "the mark begins at " + std::to_string(mark->from);
  if (mark->digest != digest_of(content.substr(mark->from, mark->content - mark->from))) return "another digest";
  return "";
}

struct Pieces {
  std::size_t least, most;  // bytes of one
  std::size_t in_all;
};

class VerifyTailMarks : public ::testing::TestWithParam<std::tuple<Pieces, std::uint32_t>> {};

TEST_P(VerifyTailMarks, CoverTheBytesBeforeEveryCursor) {
  const auto& [pieces, verify_tail] = GetParam();
  const std::string content = content_of(pieces.in_all);
  for (const bool acknowledging : {false, true}) {
    std::mt19937 random(1);
    const auto up_to = [&](std::uint64_t most) {
      return std::uniform_int_distribution<std::uint64_t>(0, most)(random);
    };
    Owner owner(content.size(), verify_tail);
    std::uint64_t acked = 0, checked = 0;
    while (owner.sent < content.size()) {
      const std::size_t size = pieces.least + up_to(pieces.most - pieces.least);
      owner.pass(std::string_view(content).substr(owner.sent, size), acked);
      if (owner.sent >= checked) {
        std::vector<std::uint64_t> places{acked, owner.sent, owner.sent - 1, acked + (owner.sent - acked) / 2};
        for (int i = 0; i < 12; ++i) places.push_back(acked + up_to(owner.sent - acked));
        for (const BodyMark& mark : owner.exchange.body->marks)
          for (const std::uint64_t at : {mark.content - 1, mark.content, mark.content + 1})
            if (at >= acked && at <= owner.sent) places.push_back(at);
        for (const std::uint64_t at : places)
          ASSERT_EQ(wrong_at(owner, content, at, verify_tail), "") << "cursor " << at << " of " << owner.sent;
        checked = owner.sent + content.size() / 12;
      }
      if (acknowledging) acked += up_to(owner.sent - acked);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Sizes, VerifyTailMarks,
    ::testing::Combine(::testing::Values(Pieces{1, 1, 140'000}, Pieces{7, 7, 200'000}, Pieces{1, 3000, 600'000},
                                         Pieces{kStep - 1, kStep - 1, 600'000}, Pieces{kStep, kStep, 600'000},
                                         Pieces{kStep + 1, kStep + 1, 600'000}, Pieces{200'000, 200'000, 900'000},
                                         Pieces{1, 200'000, 1'500'000}),
                       ::testing::Values(1U, 500U, 100'000U, 1U << 20)),
    [](const auto& row) {
      const Pieces& pieces = std::get<0>(row.param);
      return std::to_string(pieces.least) + "_to_" + std::to_string(pieces.most) + "_tail_" +
             std::to_string(std::get<1>(row.param));
    });

TEST(VerifyTail, MarksCloserThanAStepBecomeOne) {
  const std::string content = content_of(4 * kStep);
  Owner owner(content.size(), 500);
  constexpr std::size_t kPiece = 64;
  while (owner.sent < 3 * kStep) {
    owner.pass(std::string_view(content).substr(owner.sent, kPiece));
    ASSERT_EQ(owner.exchange.body->marks.size(), (owner.sent + kStep - 1) / kStep) << owner.sent;
  }
  EXPECT_EQ(owner.exchange.body->marks[0].content, kStep);
  EXPECT_EQ(owner.exchange.body->marks[1].content, 2 * kStep);
  EXPECT_EQ(owner.exchange.body->marks[1].from, kStep - 500);
}

// The record: the owner has passed on some steps of `content`, in one piece each, and the client has the beginning.
class VerifyTailTest : public AdoptionTest {
 protected:
  static constexpr std::uint32_t kTail = 500;
  static inline const std::string content = content_of(24 * kStep);

  void start(std::uint32_t verify_tail = kTail) {
    start_with([&] { options.listeners[0].default_route().verify_tail = verify_tail; });
  }
  static Adoption standing_at(const Flow& f, std::uint64_t at, std::uint32_t verify_tail = kTail) {
    Owner owner(content.size(), verify_tail);
    while (owner.sent < 2 * kStep || owner.sent < at) owner.pass(std::string_view(content).substr(owner.sent, kStep));
    Adoption a = response_at(f, "GET /f HTTP/1.1\r\nHost: h\r\n\r\n");
    HttpState& http = *a.record.http;
    http.response_start = kHeadEnd - 50;
    http.response_head_end = kHeadEnd;
    http.response_length = content.size();
    http.response_end = kHeadEnd + content.size();
    http.body = owner.exchange.body;
    a.record.out_sent = a.record.out_acked = a.resume.cursor = kHeadEnd + at;
    return a;
  }
  // The application has been asked: where the range begins.
  static std::uint64_t asked_from(const std::string& head) {
    const std::string field = "\r\nRange: bytes=";
    const auto at = head.find(field);
    EXPECT_NE(at, std::string::npos) << head;
    return at == std::string::npos ? 0 : std::stoull(head.substr(at + field.size()));
  }
  static std::string partial(const std::string& representation, std::uint64_t from) {
    const std::string size = std::to_string(representation.size());
    return "HTTP/1.1 206 Partial Content\r\nETag: \"e\"\r\nContent-Range: bytes " + std::to_string(from) + '-' +
           std::to_string(representation.size() - 1) + '/' + size +
           "\r\nContent-Length: " + std::to_string(representation.size() - from) + "\r\n\r\n" +
           representation.substr(from);
  }
  // Who finds other bytes reads no more.
  static void send_as_taken(const Peer& app, std::string_view data) {
    for (ssize_t n = 1; n > 0 && !data.empty(); data.remove_prefix(static_cast<std::size_t>(std::max<ssize_t>(n, 0))))
      n = ::send(app.fd(), data.data(), data.size(), MSG_NOSIGNAL);
  }
  // A session at `at`, whose application has `other` now, under the same tag.
  struct Healed {
    Flow flow;
    Peer app;
    std::uint64_t from = 0;
  };
  Healed healed_with(const std::string& other, std::uint64_t at) {
    Healed out{flow(), Peer(), 0};
    adopt(standing_at(out.flow, at));
    out.app = application.accept();
    out.from = asked_from(out.app.read_head());
    EXPECT_LE(out.from, at - kTail);
    send_as_taken(out.app, partial(other, out.from));
    return out;
  }
  std::string with_other_byte(std::uint64_t at) const {
    std::string other = content;
    other[at] = other[at] == 'x' ? 'y' : 'x';
    return other;
  }
};

struct Stand {
  const char* what;
  std::uint64_t at;
};
class VerifyTailStand : public VerifyTailTest, public ::testing::WithParamInterface<Stand> {};

TEST_P(VerifyTailStand, EqualBytesGoOnExactly) {
  start();
  const std::uint64_t at = GetParam().at;
  Healed healed = healed_with(content, at);
  EXPECT_TRUE(healed.flow.client.read_bytes(content.size() - at) == content.substr(at));
  expect_outcome(ResumeRung::range);
}

TEST_P(VerifyTailStand, AnotherByteWithinTheTailIsAResetAndNoByte) {
  const std::uint64_t at = GetParam().at;
  start();
  int resets = 0;
  for (const std::uint64_t changed : {at - kTail, at - kTail / 2, at - 1}) {
    Healed healed = healed_with(with_other_byte(changed), at);
    EXPECT_EQ(healed.flow.client.read_all(), "") << changed;
    EXPECT_EQ(healed.flow.client.last_errno(), ECONNRESET) << changed;
    ++resets;
    EXPECT_TRUE(
        eventually([&] { return metric("suture_heal_failures_total", "reason=\"other_response\"") == resets; }));
  }
}

INSTANTIATE_TEST_SUITE_P(Places, VerifyTailStand,
                         ::testing::Values(Stand{"early_in_the_first_step", 1000},
                                           Stand{"early_in_the_second_step", kStep + 1000},
                                           Stand{"just_behind_a_mark", kStep + 1}, Stand{"at_a_mark", kStep},
                                           Stand{"at_the_last_mark", 2 * kStep}),
                         [](const auto& row) { return row.param.what; });

// docs/healing.md: so many bytes are compared, and no more are promised.
TEST_F(VerifyTailTest, OtherBytesFarBeforeTheTailAreNotSeen) {
  start();
  const std::uint64_t at = kStep + 1000;
  Healed healed = healed_with(with_other_byte(kStep - kTail - 1), at);
  EXPECT_EQ(healed.from, kStep - kTail);
  EXPECT_TRUE(healed.flow.client.read_bytes(content.size() - at) == content.substr(at));
  expect_outcome(ResumeRung::range);
}

// What the record says of a body is worth nothing where the route asks for more than the former owner's did.
TEST_F(VerifyTailTest, AMarkThatCoversLessThanTheRouteAsksForIsNone) {
  start(2 * kTail);
  Flow f = flow();
  adopt(standing_at(f, kStep + 1));
  EXPECT_EQ(f.client.read_all(), "");
  expect_outcome(ResumeRung::reset, heal_reason::no_checkpoint);
}

struct TwoHeirs {
  const char* what;
  std::uint32_t verify_tail;
  std::uint64_t at;  // where the first one goes on
};
class VerifyTailHeirs : public VerifyTailTest, public ::testing::WithParamInterface<TwoHeirs> {
 protected:
  // The second one takes over where the client has so many bytes more.
  void heal_twice(std::uint64_t passed) {
    const auto& [what, verify_tail, at] = GetParam();
    start(verify_tail);
    Flow first = flow();
    adopt(standing_at(first, at, verify_tail));
    Peer app = application.accept();
    const std::string answer = partial(content, asked_from(app.read_head()));
    const std::uint64_t end = at + passed;
    app.send(answer.substr(0, answer.size() - (content.size() - end)));
    // What is compared goes on at its mark, and not before: the rest of the answer brings it there.
    ASSERT_TRUE(first.client.read_bytes(passed) == content.substr(at, passed));
    ASSERT_TRUE(eventually([&] { return sink.last().out_sent >= kHeadEnd + end; }));
    const SessionRecord record = sink.last();
    ASSERT_TRUE(record.http->body);
    for (const std::uint64_t stands : {end, end - 1, end - passed / 2})
      for (const bool changed : {true, false}) go_on(record, stands, changed);
  }
  void go_on(const SessionRecord& record, std::uint64_t stands, bool changed) {
    const std::uint32_t verify_tail = GetParam().verify_tail;
    const std::size_t before = outcomes().size();
    Flow second = flow();
    Adoption a = standing_at(second, stands, verify_tail);
    a.record.http = record.http;
    adopt(a);
    // Without an answer it would have failed on its own.
    if (eventually([&] { return outcomes().size() > before || waits(); }) && outcomes().size() > before) {
      ADD_FAILURE() << "at " << stands << ": " << outcomes().back().reason;
      return;
    }
    Peer app = application.accept();
    const std::uint64_t begins = asked_from(app.read_head());
    EXPECT_LE(begins, stands - std::min<std::uint64_t>(stands, verify_tail));
    send_as_taken(app, partial(changed ? with_other_byte(stands - 1) : content, begins));
    if (changed)
      EXPECT_EQ(second.client.read_all(), "");
    else
      EXPECT_TRUE(second.client.read_bytes(content.size() - stands) == content.substr(stands));
    ASSERT_TRUE(eventually([&] { return outcomes().size() > before; }));
    EXPECT_EQ(to_label(outcomes().back().rung), to_label(changed ? ResumeRung::reset : ResumeRung::range));
    EXPECT_EQ(outcomes().back().reason, changed ? heal_reason::other_response : "");
  }
  bool waits() const {
    pollfd asked{application.fd(), POLLIN, 0};
    return ::poll(&asked, 1, 0) == 1;
  }
};

// The first heir's record leads the second one on: its marks begin in front of its own cursor.
TEST_P(VerifyTailHeirs, ASecondHeirGoesOnFromTheFirst) {
  heal_twice(2 * kStep);
}
TEST_P(VerifyTailHeirs, ASecondHeirGoesOnWhereTheFirstHadJustBegun) {
  heal_twice(kStep);
}

const auto what_of = [](const ::testing::TestParamInfo<TwoHeirs>& row) { return row.param.what; };
INSTANTIATE_TEST_SUITE_P(Stands, VerifyTailHeirs,
                         ::testing::Values(TwoHeirs{"one_byte", 1, kStep + 1000}, TwoHeirs{"early", 500, 1000},
                                           TwoHeirs{"in_the_second_step", 500, kStep + 1000},
                                           TwoHeirs{"more_than_a_step", 100'000, 4 * kStep + 1000},
                                           TwoHeirs{"as_much_as_may_be", 1U << 20, 18 * kStep + 1000}),
                         what_of);
// All of the content before the cursor is compared.
INSTANTIATE_TEST_SUITE_P(ComparedWhole, VerifyTailHeirs,
                         ::testing::Values(TwoHeirs{"more_than_there_is", 1U << 20, kStep + 1000},
                                           TwoHeirs{"early_with_a_long_tail", 60'000, 62'000}),
                         what_of);

}  // namespace
}  // namespace suture::test
