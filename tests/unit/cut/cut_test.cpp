// Cut at every byte: an exchange runs once as it is; then, for every byte of the responses and for records that lag,
// its owner "dies" there, the plan decides, another session takes over, and the client's whole view is compared.
#include <algorithm>
#include <map>
#include <set>
#include <tuple>

#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <proxy/healing/heal_plan.hpp>

#include "../client/adoption_fixture.hpp"
#include "client_view.hpp"
#include "cut_kinds.hpp"

namespace suture::test {
namespace {

struct Tally {
  int cuts = 0, continued = 0, clean = 0, reset = 0, wrong = 0;
  std::map<std::string, int> reasons;
};

// The kind, and whether its responses fit into journals.
class CutTest : public AdoptionTest, public ::testing::WithParamInterface<std::tuple<std::size_t, bool>> {
 protected:
  CutTest() : kind_(cut_kinds()[std::get<0>(GetParam())]), app_(kind_.answer) {
    if (!std::get<1>(GetParam())) {
      options.listeners[0].default_route().journal_bytes_max = kSmallJournal;
      kind_.worst = std::max(kind_.worst, kind_.worst_without_journal);
    }
    options.listeners[0].default_route().verify_tail = kind_.verify_tail;
    upstream = config::TcpEndpoint(boost::asio::ip::make_address("127.0.0.1"), app_.port());
    options.timeouts.response_ms = 3000;
    for (const std::string& request : kind_.requests) methods_.push_back(request.substr(0, request.find(' ')));
  }

  // The client: sends each request when it may, as far as the bytes so far say.
  std::size_t may_send(const std::string& view) const {
    std::size_t answered = 0, bytes = 0;
    for (const Got& got : responses_in(view, methods_, false)) answered += got.complete;
    for (std::size_t i = 0; i < kind_.requests.size(); ++i)
      if (kind_.pipelined || i <= answered) bytes += kind_.requests[i].size();
    return bytes;
  }
  std::string all_requests() const {
    std::string all;
    for (const auto& request : kind_.requests) all += request;
    return all;
  }

  // From `view` on until the end of the connection, or of the last response. True: with a RST.
  bool read_rest(const Peer& client, std::string& view, std::size_t sent, bool& ended) const {
    ended = false;
    const std::string all = all_requests();
    for (;;) {
      const std::size_t may = may_send(view);
      if (may > sent) {
        ::send(client.fd(), all.data() + sent, may - sent, MSG_NOSIGNAL);
        sent = may;
      }
      const auto got = responses_in(view, methods_, false);
      const bool last = !got.empty() && got.back().complete && got.back().close;
      if (!last && complete(view) == methods_.size()) return false;
      char buffer[16384];
      const ssize_t n = ::recv(client.fd(), buffer, sizeof buffer, 0);
      if (n < 0) {
        if (errno != ECONNRESET) view += "\x01stuck";
        return true;
      }
      if (n == 0) return ended = true, false;
      view.append(buffer, static_cast<std::size_t>(n));
    }
  }
  std::size_t complete(const std::string& view) const {
    std::size_t n = 0;
    for (const Got& got : responses_in(view, methods_, false)) n += got.complete;
    return n;
  }

  // The client's whole view of the uncut run; `records_` has what peers were told, in order.
  void run_uncut() {
    Peer client = connect();
    bool ended = false;
    ASSERT_FALSE(read_rest(client, view_, 0, ended));
    expected_ = responses_in(view_, methods_, ended);
    ASSERT_EQ(expected_.size(), methods_.size());
    for (const Got& got : expected_) ASSERT_TRUE(got.complete) << view_;
    // Whatever the owner says last of the bytes that the client has.
    ASSERT_TRUE(eventually([&] { return sink.last().out_sent >= view_.size(); }));
    records_ = sink.records();
  }

  enum class End : std::uint8_t { continued, clean, reset, wrong };
  End judge(const std::string& view, bool reset, bool ended) const {
    const auto got = responses_in(view, methods_, ended);
    for (std::size_t i = 0; i < got.size(); ++i) {
      const Got& g = got[i];
      if (g.status == -1 || i >= expected_.size()) return End::wrong;
      const Got& e = expected_[i];
      if (g.complete && g.status == 503 && e.status != 503)
        return ended && i + 1 == got.size() ? End::clean : End::wrong;
      if (!g.complete) return reset ? End::reset : End::wrong;
      // A digest in the head that is not the body's.
      if (g.field("Content-Digest") == "sha-256=:ONE:" && g.content.size() > 3 &&
          g.content.substr(g.content.size() - 3) == "two")
        return End::wrong;
      const bool other = !kind_.other_content.empty() && g.content == kind_.other_content;
      if (std::tie(g.status, g.trailers) != std::tie(e.status, e.trailers) || (g.content != e.content && !other))
        return End::wrong;
      for (const char* name : {"ETag", "Content-Type", "Content-Range", "Content-Encoding", "X-Served-By"})
        if (g.field(name) != e.field(name)) return End::wrong;
    }
    if (got.size() == expected_.size()) return End::continued;
    return reset ? End::reset : ended ? End::clean : End::wrong;
  }

  // The owner dies when the client has `cut` bytes of the responses and has sent `sent` of the requests; the record
  // that peers have is `record`. `lost`: the owner had acknowledged what the record does not know.
  void cut_at(const std::string& had, std::size_t sent, SessionRecord record, bool lost, Tally& tally, Worst worst) {
    record.facts.sack_ok = true;
    healing::ProofFacts proof;
    proof.cursor = had.size();
    proof.client_sent = sent;
    proof.lost_bytes = lost && sent > record.in_known;
    proof.received = proof.lost_bytes ? sent : record.in_known;
    proof.fenced = true;
    const Resumption plan = healing::plan_healing(record, proof);
    ++tally.cuts;
    const auto note = [&](End end, const std::string& how, const std::string& view) {
      switch (end) {
        case End::continued:
          ++tally.continued;
          break;
        case End::clean:
          ++tally.clean;
          break;
        case End::reset:
          ++tally.reset;
          break;
        case End::wrong:
          ++tally.wrong;
          break;
      }
      const bool bad = end == End::wrong || (end == End::reset && worst != Worst::reset) ||
                       (end == End::clean && worst == Worst::continued);
      if (end != End::continued) ++tally.reasons[how];
      if (bad)
        ADD_FAILURE() << kind_.name << ": cut at " << had.size() << " of " << view_.size() << ", sent " << sent
                      << ", record L " << record.in_known << " phase " << static_cast<int>(record.http->phase)
                      << (lost ? ", bytes lost" : "") << ": " << how << " (plan " << to_label(plan.rung) << ' '
                      << plan.reason << ", journal " << plan.journal << ")\n"
                      << view;
    };
    if (plan.rung == ResumeRung::reset) return note(End::reset, plan.reason, had);
    Flow f = flow();
    Adoption a;
    a.fd = f.fd;
    a.record = record;
    a.record.facts.key = f.key;
    a.resume = plan;
    adopt(a);
    std::string view = had;
    bool ended = false;
    // What the heir's socket has not got comes again.
    const bool reset = read_rest(f.client, view, proof.received, ended);
    const End end = judge(view, reset, ended);
    note(end, end == End::continued ? "" : std::string(to_label(plan.rung)) + ' ' + plan.reason + (reset ? " RST" : ""),
         view);
  }

  void print(const char* what, const Tally& t) const {
    std::string reasons;
    for (const auto& [reason, n] : t.reasons) reasons += "  " + reason + ": " + std::to_string(n);
    std::printf("[ cut      ] %-22s %s: %d cuts, %d continued, %d clean, %d reset, %d wrong%s\n", kind_.name.c_str(),
                what, t.cuts, t.continued, t.clean, t.reset, t.wrong, reasons.c_str());
  }

  CutKind kind_;
  ScriptedApplication app_;
  std::vector<std::string> methods_;
  std::string view_;
  std::vector<Got> expected_;
  std::vector<SessionRecord> records_;
};

TEST_P(CutTest, ResponseAtEveryByte) {
  start();
  run_uncut();
  if (HasFatalFailure()) return;
  // What fits into the small journal as well was gone through with the large one.
  const auto small = [](const Got& got) { return got.head.size() + got.content.size() <= kSmallJournal / 2; };
  if (!std::get<1>(GetParam()) && std::all_of(expected_.begin(), expected_.end(), small)) return;
  Tally latest, lagging;
  for (std::size_t cut = 0; cut <= view_.size(); ++cut) {
    // What is published before the byte behind the cut is written. (Whether its record is out when only bytes up to the
    // cut have left is a matter of luck: both are tried.)
    std::size_t last = 0;
    for (std::size_t i = 0; i < records_.size(); ++i)
      if (records_[i].out_sent < cut || (cut == 0 && records_[i].out_sent == 0)) last = i;
    const std::string had = view_.substr(0, cut);
    const std::size_t sent = std::max<std::size_t>(may_send(had), 1);
    const auto try_record = [&](std::size_t index, Tally& tally, Worst worst) {
      const SessionRecord& record = records_[index];
      // Records of a later time know requests that this client has not sent yet, or acknowledgements of later bytes.
      if (record.in_known > sent || record.out_acked > cut) return;
      cut_at(had, sent, record, false, tally, worst);
      if (sent > record.in_known) cut_at(had, sent, record, true, tally, Worst::reset);
    };
    try_record(last, latest, records_[last].in_known == sent ? kind_.worst : Worst::reset);
    if (cut % 5 != 0) continue;  // old records rarely lead anywhere
    for (std::size_t lag = 1; lag <= 3 && lag <= last; ++lag) try_record(last - lag, lagging, Worst::reset);
    if (HasFailure()) break;
  }
  print("responses", latest);
  print("responses, old record", lagging);
  // What was not to be executed twice was not: the owner once, its heirs never.
  for (const auto& [what, n] : app_.executed())
    if (what.substr(0, 4) == "POST" || what.substr(0, 5) == "PATCH") {
      EXPECT_EQ(n, 1) << what;
    }
}

class CutRequestTest : public CutTest {};

// The owner dies when the client has sent so many bytes of its first request, and none of the response has left.
TEST_P(CutRequestTest, AtEveryByte) {
  start();
  run_uncut();
  if (HasFatalFailure()) return;
  Tally tally;
  const std::string& request = kind_.requests.front();
  for (std::size_t cut = 1; cut < request.size() && !HasFailure(); ++cut) {
    const std::size_t before = sink.records().size();
    Peer client = connect_and_send(request.substr(0, cut));
    // Of this session alone: an earlier one may have had its port.
    const auto mine = [&] {
      auto records = sink.records();
      records.erase(records.begin(), records.begin() + static_cast<std::ptrdiff_t>(before));
      std::erase_if(records,
                    [&](const SessionRecord& r) { return client_of(r.facts.key).port() != client.local_port(); });
      return records;
    };
    const auto known = [&] {
      const auto records = mine();
      return records.empty() ? 0 : records.back().in_known;
    };
    // Of a body that nobody may repeat the record does not say how much has come.
    const auto head_end = request.find("\r\n\r\n") + 4;
    const bool said = cut <= head_end || kind_.worst == Worst::continued;
    ASSERT_TRUE(eventually([&] { return known() >= (said ? cut : head_end); })) << kind_.name << ' ' << cut;
    const std::vector<SessionRecord> records = mine();
    cut_at("", cut, records.back(), false, tally, kind_.worst);
    if (records.back().in_known < cut) cut_at("", cut, records.back(), true, tally, Worst::reset);
    if (records.size() > 1) cut_at("", cut, records[records.size() - 2], true, tally, Worst::reset);
  }
  print("first request", tally);
}

class TwoDeathsTest : public AdoptionTest {
 protected:
  // Reads until `text` has come, or nothing more for a while.
  static std::string read_until(const Peer& client, std::string view, const std::string& text, int seconds = 3) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
    timeval tv{0, 200000};
    ::setsockopt(client.fd(), SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
    while (view.find(text) == std::string::npos && std::chrono::steady_clock::now() < end) {
      char buffer[16384];
      const ssize_t n = ::recv(client.fd(), buffer, sizeof buffer, 0);
      if (n < 0 && errno == EAGAIN) continue;
      if (n <= 0)
        return view + (n < 0 ? "\x01RST"
                             : "\x01"
                               "FIN");
      view.append(buffer, static_cast<std::size_t>(n));
    }
    return view;
  }
  Flow heal(SessionRecord record, const std::string& had, Resumption* planned = nullptr) {
    record.facts.sack_ok = true;
    healing::ProofFacts proof;
    proof.cursor = had.size();
    proof.client_sent = proof.received = record.in_known;
    proof.fenced = true;
    Flow f = flow();
    Adoption a;
    a.fd = f.fd;
    a.record = record;
    a.record.facts.key = f.key;
    a.resume = healing::plan_healing(record, proof);
    if (planned) *planned = a.resume;
    if (a.resume.rung != ResumeRung::reset) adopt(a);
    return f;
  }
};

// An event stream without ids; the first owner dies behind the head, its heir behind three events.
TEST_F(TwoDeathsTest, EventsWithoutIdsAreNotHadTwice) {
  auto n = std::make_shared<std::atomic<int>>(0);
  ScriptedApplication app([n](const Asked&) {
    const int run = (*n)++;
    std::vector<std::string> out{
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"};
    if (run > 0)
      for (int i = 1; i <= 3; ++i)
        out.push_back("f\r\ndata: number " + std::to_string(i) + "\n\r\n1\r\n\n\r\n"), out.push_back("\x02");
    return out;
  });
  upstream = config::TcpEndpoint(boost::asio::ip::make_address("127.0.0.1"), app.port());
  options.timeouts.response_ms = 60000;
  start();
  const std::string request = "GET /e HTTP/1.1\r\nHost: h\r\n\r\n";
  Peer client = connect_and_send(request);
  std::string view = read_until(client, "", "\r\n\r\n");
  ASSERT_TRUE(eventually([&] { return sink.last().out_sent >= view.size(); }));
  Flow one = heal(sink.last(), view);
  view = read_until(one.client, view, "number 3\n\r\n1\r\n\n\r\n");
  ASSERT_TRUE(eventually([&] { return sink.last().out_sent >= view.size(); }));
  const SessionRecord second = sink.last();
  Resumption plan;
  heal(second, view, &plan);
  EXPECT_EQ(to_label(plan.rung), to_label(ResumeRung::reset)) << plan.reason;
}

std::string name_of(const ::testing::TestParamInfo<std::tuple<std::size_t, bool>>& row) {
  return cut_kinds()[std::get<0>(row.param)].name + (std::get<1>(row.param) ? "_journaled" : "_not_journaled");
}
const auto kEvery = ::testing::Range<std::size_t>(0, cut_kinds().size());
INSTANTIATE_TEST_SUITE_P(Kinds, CutTest, ::testing::Combine(kEvery, ::testing::Bool()), name_of);
INSTANTIATE_TEST_SUITE_P(Kinds, CutRequestTest, ::testing::Combine(kEvery, ::testing::Values(true)), name_of);

}  // namespace
}  // namespace suture::test
