// What peers are told, and when: before the bytes that it describes move on.
#include <mutex>
#include <thread>

#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "proxy_fixture.hpp"

namespace suture::test {
namespace {

class RecordTest : public ProxyTest {};

const std::string kPost = "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n";

TEST_F(RecordTest, EveryStageOfAnExchangeHasExactOffsets) {
  start();
  Peer client = connect_and_send(kPost);
  Peer app = application.accept();
  app.read_head();
  // The application has the head: the record must have been there before.
  SessionRecord record = sink.last();
  ASSERT_TRUE(record.http);
  EXPECT_EQ(record.owner, NodeId{7});
  EXPECT_EQ(record.incarnation, 42U);
  EXPECT_EQ(record.http->phase, HttpPhase::body);
  EXPECT_EQ(record.http->method, "POST");
  EXPECT_EQ(*record.http->request_head, kPost);
  EXPECT_EQ(record.http->request_start, 0U);
  EXPECT_EQ(record.http->request_head_end, kPost.size());
  EXPECT_EQ(record.http->request_length, 3U);
  EXPECT_EQ(record.in_known, kPost.size());
  EXPECT_EQ(record.out_sent, 0U);

  client.send("abc");
  app.read_bytes(3);
  app.send("HTTP/1.1 200 OK\r\nETag: \"e\"\r\nContent-Length: 4\r\n\r\nab");
  const auto head = client.read_head();
  record = sink.last();
  EXPECT_EQ(record.http->phase, HttpPhase::response);
  EXPECT_EQ(record.http->response_start, 0U);
  EXPECT_EQ(record.http->response_head_end, head.size());
  EXPECT_EQ(record.http->response_end, head.size() + 4);
  EXPECT_EQ(record.http->status, 200);
  EXPECT_EQ(record.http->etag, "\"e\"");
  app.send("cd");
  client.read_bytes(4);
  // At rest: idle, and exact once the client has acknowledged everything.
  EXPECT_TRUE(eventually([&] {
    const auto r = sink.last();
    return r.http->phase == HttpPhase::idle && r.out_acked == head.size() + 4;
  }));
  record = sink.last();
  EXPECT_EQ(record.out_sent, head.size() + 4);
  EXPECT_EQ(record.in_known, kPost.size() + 3);
  EXPECT_EQ(record.http->exchanges, 1U);
  EXPECT_FALSE(record.http->request_head);

  client.send("GET /b HTTP/1.1\r\nHost: h\r\n\r\n");
  app.read_head();
  EXPECT_EQ(sink.last().http->request_start, kPost.size() + 3);
  client.close();
}

TEST_F(RecordTest, ErasedOnceWhenTheClientLeaves) {
  start();
  Peer client = connect();
  EXPECT_TRUE(eventually([&] { return sink.records().size() == 1; }));
  client.close();
  EXPECT_TRUE(eventually([&] { return sink.erased() == 1; }));
  EXPECT_TRUE(eventually([&] { return worker->active() == 0; }));
}

TEST_F(RecordTest, AFullSinkIsAskedAgain) {
  start();
  sink.refuse_next(1);
  Peer client = connect();
  EXPECT_TRUE(eventually([&] { return sink.records().size() == 1; }));
  sink.refuse_next(3);
  client.close();
  EXPECT_TRUE(eventually([&] { return sink.erased() == 1; }));
}

TEST_F(RecordTest, LongBodiesPublishEveryMegabyte) {
  start();
  Peer client = connect_and_send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  Peer app = application.accept();
  app.read_head();
  const std::size_t size = 8 << 20;
  app.send("HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(size) + "\r\n\r\n");
  client.read_head();
  const std::string block(1 << 18, 'x');
  for (std::size_t sent = 0; sent < size; sent += block.size()) {
    app.send(block);
    client.read_bytes(block.size());
  }
  std::uint64_t last = 0, steps = 0;
  for (const auto& record : sink.records()) {
    EXPECT_GE(record.out_sent, last);
    EXPECT_LE(record.out_acked, record.out_sent);
    if (record.out_sent > last) ++steps;
    last = record.out_sent;
  }
  EXPECT_GE(steps, 7U);
}

TEST_F(RecordTest, NeverSaysThatTheClientHasWhatItHasNot) {
  start();
  Peer client = connect_and_send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  Peer app = application.accept();
  app.read_head();
  std::mutex mutex;  // what was read and what waits in the client's kernel, looked at as one
  std::uint64_t received = 0;
  std::uint64_t checked = 0;
  sink.on_upsert([&](const SessionRecord& record) {
    const std::lock_guard lock(mutex);
    int waiting = 0;
    ::ioctl(client.fd(), FIONREAD, &waiting);
    EXPECT_LE(record.out_acked, received + static_cast<std::uint64_t>(waiting));
    if (record.out_acked > 0) ++checked;
  });
  const std::size_t size = 8 << 20;
  const std::string head = "HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(size) + "\r\n\r\n";
  std::thread sender([&] { app.send(head + std::string(size, 'x')); });
  std::vector<char> buffer(1 << 16);
  while (received < size) {
    pollfd ready{client.fd(), POLLIN, 0};
    ASSERT_EQ(::poll(&ready, 1, 20000), 1);
    const std::lock_guard lock(mutex);
    const auto got = ::recv(client.fd(), buffer.data(), buffer.size(), MSG_DONTWAIT);
    ASSERT_GT(got, 0);
    received += static_cast<std::uint64_t>(got);
  }
  sender.join();
  sink.on_upsert({});
  EXPECT_GE(checked, 5U);
}

TEST_F(RecordTest, AnAnswerStaysUntilItIsAcknowledged) {
  start();
  Peer client = connect(4096);
  client.send("GET /big HTTP/1.1\r\nHost: h\r\n\r\n");
  Peer app = application.accept();
  app.read_head();
  const std::string body(100000, 'x');
  app.send("HTTP/1.1 200 OK\r\nETag: \"e\"\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body);
  // All of it is in the kernel; the client's window holds a fraction.
  ASSERT_TRUE(eventually([&] { return sink.last().http->exchanges == 1; }));
  SessionRecord record = sink.last();
  EXPECT_EQ(record.http->phase, HttpPhase::idle);
  EXPECT_FALSE(record.http->request_head);
  ASSERT_EQ(record.http->answered.size(), 1U);
  const Exchange& answered = record.http->answered[0];
  EXPECT_EQ(*answered.request_head, "GET /big HTTP/1.1\r\nHost: h\r\n\r\n");
  EXPECT_EQ(answered.method, "GET");
  EXPECT_EQ(answered.etag, "\"e\"");
  EXPECT_EQ(answered.response_length, body.size());
  EXPECT_EQ(answered.response_end, record.out_sent);
  EXPECT_EQ(answered.response_end, answered.response_head_end + body.size());
  EXPECT_LT(record.out_acked, record.out_sent);
  client.read_head();
  client.read_bytes(body.size());
  EXPECT_TRUE(eventually([&] {
    const auto r = sink.last();
    return r.http->answered.empty() && r.out_acked == r.out_sent;
  }));
}

TEST_F(RecordTest, AnswersStayInOrderAndAreBounded) {
  start();
  Peer client = connect(4096);
  std::string requests;
  constexpr std::size_t kRequests = HttpState::kAnsweredMax + 2;
  for (std::size_t i = 0; i < kRequests; ++i) requests += "GET /" + std::to_string(i) + " HTTP/1.1\r\nHost: h\r\n\r\n";
  client.send(requests);
  Peer app = application.accept();
  const std::string body(5000, 'x');
  for (std::size_t i = 0; i < kRequests; ++i) {
    app.read_head();
    app.send("HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body);
  }
  ASSERT_TRUE(eventually([&] { return sink.last().http->exchanges == kRequests; }));
  const SessionRecord record = sink.last();
  const auto& answered = record.http->answered;
  ASSERT_EQ(answered.size(), HttpState::kAnsweredMax);
  for (std::size_t i = 0; i < answered.size(); ++i) {
    EXPECT_TRUE(answered[i].request_head->starts_with("GET /" + std::to_string(i + 2) + ' '));
    EXPECT_EQ(answered[i].response_end, i + 1 < answered.size() ? answered[i + 1].response_start : record.out_sent);
    if (i > 0) {
      EXPECT_EQ(answered[i].request_start, answered[i - 1].request_head_end);
    }
  }
}

TEST_F(RecordTest, ATagIsRecordedWithTheCodingOfWhatItNames) {
  start();
  Peer client = connect_and_send("GET /1 HTTP/1.1\r\nHost: h\r\n\r\n");
  Peer app = application.accept();
  app.read_head();
  app.send("HTTP/1.1 200 OK\r\nETag: \"e\"\r\nContent-Encoding: br\r\nContent-Length: 100\r\n\r\n");
  client.read_head();
  EXPECT_EQ(sink.last().http->etag, "\"e\"");
  EXPECT_EQ(sink.last().http->content_coding, "br");
  client = connect_and_send("GET /2 HTTP/1.1\r\nHost: h\r\n\r\n");
  app = application.accept();
  app.read_head();
  app.send(
      "HTTP/1.1 200 OK\r\nETag: \"e\"\r\nContent-Encoding: br\r\nContent-Encoding: gzip\r\nContent-Length: "
      "100\r\n\r\n");
  client.read_head();
  EXPECT_EQ(sink.last().http->etag, "") << "two lines: nothing to compare";
}

// What waits behind an answered request has been swallowed: phase idle means that in_known is a boundary.
TEST_F(RecordTest, ABufferedRequestIsNotIdle) {
  start();
  const std::string first = "GET /1 HTTP/1.1\r\nHost: h\r\n\r\n", part = "GET /2 HTTP/1.1\r\nHo";
  Peer client = connect_and_send(first + part);
  Peer app = application.accept();
  app.read_head();
  app.send("HTTP/1.1 204 No Content\r\n\r\n");
  const auto head = client.read_head();
  ASSERT_TRUE(eventually([&] { return sink.last().http->exchanges == 1; }));
  for (const auto& record : sink.records()) {
    if (record.http->exchanges == 0) continue;
    EXPECT_EQ(record.http->phase, HttpPhase::head);
    EXPECT_EQ(record.http->request_start, first.size());
    EXPECT_EQ(record.in_known, first.size() + part.size());
    EXPECT_EQ(record.http->pipelined, 0U);
    EXPECT_EQ(record.http->response_end, head.size());
  }
}

// What was read of the client, `stream` in all, and is not consumed: in every record it is exactly what lies below
// in_known.
void expect_pending(const std::vector<SessionRecord>& records, const std::string& stream) {
  for (const auto& record : records) {
    const HttpState& http = *record.http;
    const std::string pending = http.pending ? *http.pending : "";
    const std::uint64_t begins = http.phase == HttpPhase::head ? http.request_start : http.request_head_end;
    EXPECT_EQ(pending, stream.substr(begins, record.in_known - begins))
        << "phase " << static_cast<int>(http.phase) << ", in_known " << record.in_known;
  }
}

TEST_F(RecordTest, TheLastByteOfHalfAHeadToo) {
  start();
  // Long enough for a record that does not leave for each byte.
  const std::string part = "GET / HTTP/1.1\r\nHost: h\r\nA: " + std::string(1100, 'a');
  Peer client = connect_and_send(part);
  ASSERT_TRUE(eventually([&] { return sink.last().in_known == part.size(); }));
  client.send("b");
  EXPECT_TRUE(eventually([&] { return sink.last().in_known == part.size() + 1; }));
  client.send("c");
  ASSERT_TRUE(eventually(
      [&] { return metric("suture_bytes_total", "direction=\"in\"") == static_cast<double>(part.size() + 2); }));
  worker->freeze(sink.last().facts.key);
  EXPECT_TRUE(eventually([&] { return sink.last().in_known == part.size() + 2; }));
  expect_pending(sink.records(), part + "bc");
}

TEST_F(RecordTest, TheLastByteOfWhatIsPipelinedToo) {
  start();
  const std::string first = "GET /1 HTTP/1.1\r\nHost: h\r\n\r\n";
  const std::string part = "\r\nGET /2 HTTP/1.1\r\nHost: h\r\nA: " + std::string(1100, 'a');
  Peer client = connect_and_send(first);
  Peer app = application.accept();
  app.read_head();
  client.send(part);
  ASSERT_TRUE(eventually([&] { return sink.last().in_known == first.size() + part.size(); }));
  client.send("b");
  EXPECT_TRUE(eventually([&] { return sink.last().in_known == first.size() + part.size() + 1; }));
  client.send("c");
  app.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab");
  client.read_until("ab");
  expect_pending(sink.records(), first + part + "bc");
}

// An empty line before a request is consumed without a record of its own (RFC 9112 section 2.2).
TEST_F(RecordTest, AnEmptyLineIsNoPartOfAHead) {
  start();
  const std::string first = "GET /1 HTTP/1.1\r\nHost: h\r\n\r\n";
  Peer client = connect_and_send(first + "\r\n");
  Peer app = application.accept();
  app.read_head();
  app.send("HTTP/1.1 204 No Content\r\n\r\n");
  client.read_head();
  ASSERT_TRUE(eventually([&] {
    const auto record = sink.last();
    return record.http->exchanges == 1 && record.out_acked == record.out_sent &&
           record.http->request_start == first.size() + 2;
  }));
  EXPECT_FALSE(sink.last().http->pending);
}

TEST_F(RecordTest, InterimResponsesHaveAnEnd) {
  start();
  Peer client = connect_and_send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  Peer app = application.accept();
  app.read_head();
  app.send("HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n");
  std::size_t size = client.read_head().size();
  SessionRecord record = sink.last();
  EXPECT_EQ(record.http->phase, HttpPhase::waiting);
  EXPECT_EQ(record.http->response_start, 0U);
  EXPECT_EQ(record.http->response_end, size);
  app.send("HTTP/1.1 103 Early Hints\r\nLink: b\r\n\r\n");
  size += client.read_head().size();
  record = sink.last();
  EXPECT_EQ(record.http->response_start, 0U);
  EXPECT_EQ(record.http->response_end, size);
  app.send("HTTP/1.1 204 No Content\r\n\r\n");
  client.read_head();
  EXPECT_EQ(sink.last().http->response_start, size);
}

TEST_F(RecordTest, AChunkedRequestHasAnEnd) {
  start();
  const std::string head = "PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
  const std::string body = "3\r\nabc\r\n0\r\n\r\n";
  Peer client = connect_and_send(head + body + "GET /next");
  Peer app = application.accept();
  app.read_until("0\r\n\r\n");
  app.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no");
  client.read_head();
  const SessionRecord record = sink.last();
  EXPECT_EQ(record.http->phase, HttpPhase::response);
  EXPECT_EQ(record.http->request_head_end + record.http->request_length, head.size() + body.size());
  EXPECT_EQ(record.in_known, head.size() + body.size() + 9);
}

TEST_F(RecordTest, MarksAreSetForAnIntendedClose) {
  options.fin_mark = 0x10000000;
  options.rst_mark = 0x20000000;
  start();
  Peer client = connect_and_send("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
  Peer app = application.accept();
  app.read_head();
  const int fd = hook.fds().front();
  const auto mark = [&] {
    std::uint32_t value = 0;
    socklen_t size = sizeof value;
    ::getsockopt(fd, SOL_SOCKET, SO_MARK, &value, &size);
    return value;
  };
  EXPECT_EQ(mark(), 0U);
  app.send("HTTP/1.1 204 No Content\r\n\r\n");
  client.read_head();
  EXPECT_TRUE(client.at_eof());
  // FIN was sent, the client has not closed: only the FIN was allowed.
  if (::geteuid() == 0) {
    EXPECT_EQ(mark(), options.fin_mark);
  }
}

TEST_F(RecordTest, StopIsSilentAndKeepsTheRecord) {
  ASSERT_EQ(::geteuid(), 0U) << "repair mode needs CAP_NET_ADMIN";
  start();
  Peer client = connect_and_send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  Peer app = application.accept();
  app.read_head();
  worker->stop();
  EXPECT_EQ(worker->active(), 0U);
  EXPECT_EQ(sink.erased(), 0U);
  char byte = 0;
  EXPECT_EQ(::recv(client.fd(), &byte, 1, MSG_DONTWAIT), -1);
  EXPECT_EQ(errno, EAGAIN) << "a FIN or RST left";
}

TEST_F(RecordTest, StopMayCloseWhereToldSo) {
  options.at_stop = [](const SessionRecord&) { return StopAction::close; };
  start();
  Peer client = connect();
  ASSERT_TRUE(eventually([&] { return worker->active() == 1; }));
  worker->stop();
  EXPECT_TRUE(client.at_eof());
  EXPECT_EQ(sink.erased(), 1U);
}

}  // namespace
}  // namespace suture::test
