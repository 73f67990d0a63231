#include <statesync/record_queue.hpp>

#include <thread>

#include "support.hpp"

namespace suture::statesync::test {
namespace {

TEST(RecordQueueTest, refuses_when_full_and_wakes_once_per_drain) {
  int wakes = 0;
  RecordQueue queue([&] { ++wakes; }, 2);
  EXPECT_TRUE(queue.upsert(record(1, kA)));
  EXPECT_TRUE(queue.erase(key(2), 9));
  EXPECT_FALSE(queue.upsert(record(3, kA)));
  EXPECT_EQ(wakes, 1);
  EXPECT_EQ(queue.full().value(), 1u);
  std::vector<QueuedRecord> got;
  const auto take = [&](QueuedRecord&& r) { got.push_back(std::move(r)); };
  EXPECT_TRUE(queue.drain(1, take)) << "one more waits";
  EXPECT_TRUE(queue.upsert(record(4, kA)));
  EXPECT_EQ(wakes, 1) << "the consumer comes back by itself";
  EXPECT_FALSE(queue.drain(10, take));
  ASSERT_EQ(got.size(), 3u);
  EXPECT_TRUE(got[1].erased);
  EXPECT_EQ(got[1].record.session_id, 9u);
  EXPECT_TRUE(queue.upsert(record(5, kA)));
  EXPECT_EQ(wakes, 2);
}

TEST(RecordQueueTest, whoever_waits_is_told_when_what_was_drained_has_left) {
  int hurries = 0, told = 0;
  RecordQueue queue([] {});
  queue.set_on_hurry([&] { ++hurries; });
  queue.set_on_left([&] { ++told; });
  const auto take = [](QueuedRecord&&) {};
  ASSERT_TRUE(queue.upsert(record(1, kA)));
  EXPECT_EQ(queue.hurry(), 0u) << "no peer listens";
  EXPECT_EQ(hurries, 0);
  queue.set_listened(true);
  const auto first = queue.hurry();
  EXPECT_EQ(hurries, 1);
  EXPECT_FALSE(queue.left(first));
  ASSERT_TRUE(queue.upsert(record(2, kA)));
  const auto second = queue.hurry();
  EXPECT_EQ(hurries, 1) << "one drain serves both";
  queue.leave();
  EXPECT_EQ(told, 0) << "nothing was drained";
  EXPECT_TRUE(queue.drain(1, take));
  queue.leave();
  EXPECT_EQ(told, 1);
  EXPECT_TRUE(queue.left(first));
  EXPECT_FALSE(queue.left(second));
  EXPECT_FALSE(queue.drain(9, take));
  queue.leave();
  EXPECT_EQ(told, 2);
  EXPECT_TRUE(queue.left(second));
  ASSERT_TRUE(queue.upsert(record(3, kA)));
  const auto third = queue.hurry();
  EXPECT_EQ(hurries, 2);
  EXPECT_FALSE(queue.left(third));
  queue.set_listened(false);
  EXPECT_EQ(told, 3);
  EXPECT_TRUE(queue.left(third)) << "nobody is left to be told";
  queue.rest();
  queue.set_listened(true);
  EXPECT_FALSE(queue.drain(9, take));
  queue.leave();
  EXPECT_EQ(told, 3) << "nobody waits";
}

TEST(RecordQueueTest, nothing_is_lost_between_two_threads) {
  boost::asio::io_context io;
  constexpr std::uint64_t kRecords = 20000;
  std::uint64_t next = 0;
  RecordQueue* queue_ptr = nullptr;
  std::function<void()> drain = [&] {
    const auto take = [&](QueuedRecord&& r) { EXPECT_EQ(r.record.session_id, next++); };
    if (queue_ptr->drain(64, take)) boost::asio::post(io, drain);
  };
  RecordQueue queue([&] { boost::asio::post(io, drain); }, 128);
  queue_ptr = &queue;
  std::thread worker([&] {
    auto r = record(1, kA);
    r.http.emplace();
    r.http->request_head = std::make_shared<const std::string>("GET / HTTP/1.1\r\n\r\n");
    for (r.session_id = 0; r.session_id < kRecords;) {
      if (queue.upsert(r)) {
        ++r.session_id;
      } else {
        std::this_thread::yield();
      }
    }
  });
  EXPECT_TRUE(run_until(io, [&] { return next == kRecords; }));
  worker.join();
}

}  // namespace
}  // namespace suture::statesync::test
