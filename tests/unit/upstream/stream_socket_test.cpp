#include <gtest/gtest.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#include <proxy/upstream/relay.hpp>
#include <proxy/upstream/stream_socket.hpp>

namespace suture {
namespace {

struct Pair {
  StreamSocket ours;
  int theirs = -1;
  Pair() {
    int fds[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    ours = StreamSocket(fds[0]);
    theirs = fds[1];
  }
  ~Pair() {
    if (theirs >= 0) ::close(theirs);
  }
};

TEST(StreamSocket, AShortReadEmptiesTheQueueUnlessThePeerHungUp) {
  Pair pair;
  char buffer[16];
  ASSERT_EQ(::write(pair.theirs, "abc", 3), 3);
  pair.ours.note_events(EPOLLIN);
  EXPECT_EQ(pair.ours.read(buffer).bytes, 3U);
  EXPECT_FALSE(pair.ours.readable());

  ASSERT_EQ(::write(pair.theirs, "d", 1), 1);
  ::close(std::exchange(pair.theirs, -1));
  pair.ours.note_events(EPOLLIN | EPOLLRDHUP);
  EXPECT_EQ(pair.ours.read(buffer).bytes, 1U);
  EXPECT_TRUE(pair.ours.readable());
  EXPECT_EQ(pair.ours.read(buffer).status, IoResult::Status::eof);
}

TEST(StreamSocket, APeekTakesNothing) {
  Pair pair;
  char buffer[16];
  pair.ours.note_events(EPOLLIN);
  EXPECT_EQ(pair.ours.peek(buffer).status, IoResult::Status::again);
  EXPECT_FALSE(pair.ours.readable());
  ASSERT_EQ(::write(pair.theirs, "abc", 3), 3);
  pair.ours.note_events(EPOLLIN);
  for (int i = 0; i < 2; ++i) EXPECT_EQ(pair.ours.peek(buffer).bytes, 3U);
  EXPECT_TRUE(pair.ours.readable());
  EXPECT_EQ(pair.ours.read({buffer, 2}).bytes, 2U);
  EXPECT_EQ(pair.ours.peek(buffer).bytes, 1U);
  EXPECT_EQ(buffer[0], 'c');
  EXPECT_EQ(pair.ours.read({buffer, 1}).bytes, 1U);
  ::close(std::exchange(pair.theirs, -1));
  EXPECT_EQ(pair.ours.peek(buffer).status, IoResult::Status::eof);
}

TEST(Backlog, PrependedBytesGoFirst) {
  Pair pair;
  Backlog backlog;
  backlog.append("head");
  backlog.prepend("");
  backlog.prepend("greeting ");
  EXPECT_EQ(backlog.view(), "greeting head");
  EXPECT_EQ(backlog.flush(pair.ours).bytes, 13U);
  EXPECT_TRUE(backlog.empty());
}

TEST(Backlog, KeepsOrderAcrossPartialWrites) {
  Pair pair;
  Backlog backlog;
  std::string expected;
  // More than a socket buffer takes: some of it must wait.
  while (backlog.empty()) {
    const std::string first(1000, static_cast<char>('a' + expected.size() % 26)), second(70000, 'z');
    ASSERT_NE(backlog.send(pair.ours, first, second).status, IoResult::Status::error);
    expected += first + second;
    ASSERT_LT(expected.size(), 64U << 20);
  }
  ASSERT_NE(backlog.send(pair.ours, "tail").status, IoResult::Status::error);
  expected += "tail";
  std::string got;
  char buffer[65536];
  for (ssize_t n = 0; got.size() < expected.size() && (n = ::read(pair.theirs, buffer, sizeof buffer)) > 0;) {
    got.append(buffer, static_cast<std::size_t>(n));
    pair.ours.note_events(EPOLLOUT);
    backlog.flush(pair.ours);
  }
  EXPECT_TRUE(got == expected);
  EXPECT_TRUE(backlog.empty());
  EXPECT_LE(backlog.capacity(), sizeof(std::string)) << "an idle backlog owns memory";
}

}  // namespace
}  // namespace suture
