#include <proxy/client/access_file.hpp>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>
#include <suture/limits.hpp>

namespace suture {
namespace {

class AccessFileTest : public ::testing::Test {
 protected:
  AccessFileTest() {
    char name[] = "/tmp/suture-access-XXXXXX";
    folder = ::mkdtemp(name);
    path = folder + "/access.log";
  }
  ~AccessFileTest() override { std::filesystem::remove_all(folder); }
  std::unique_ptr<AccessFile> open(const std::string& where) {
    auto opened = AccessFile::open(where);
    EXPECT_TRUE(opened);
    (*opened)->register_metrics(registry);
    return std::move(*opened);
  }
  static std::string text_of(const std::string& file) {
    std::ifstream in(file);
    std::ostringstream out;
    out << in.rdbuf();
    return out.str();
  }
  double lost(const std::string& reason) const {
    for (const auto& family : registry.collect())
      for (const auto& sample : family.samples)
        if (sample.name == "suture_access_log_lost_total" && sample.labels == "reason=\"" + reason + '"')
          return sample.value;
    return -1;
  }
  template <class Condition>
  static bool eventually(Condition condition) {
    for (int i = 0; i < 5000; ++i) {
      if (condition()) return true;
      ::usleep(1000);
    }
    return false;
  }
  std::string folder, path;
  MetricsRegistry registry;
};

TEST_F(AccessFileTest, LinesInOrderAndAllOfThemAtTheEnd) {
  auto file = open(path);
  std::string expected;
  for (int i = 0; i < 10000; ++i) {
    const std::string line = std::to_string(i) + '\n';
    expected += line;
    ASSERT_TRUE(file->write(line));
  }
  file.reset();
  EXPECT_EQ(text_of(path), expected);
  open(path)->write("more\n");
  EXPECT_EQ(text_of(path), expected + "more\n") << "appended";
}

TEST_F(AccessFileTest, ReopenedAfterALogrotate) {
  auto file = open(path);
  file->write("one\n");
  ASSERT_TRUE(eventually([&] { return text_of(path) == "one\n"; }));
  std::filesystem::rename(path, path + ".1");
  file->write("two\n");
  ASSERT_TRUE(eventually([&] { return text_of(path + ".1") == "one\ntwo\n"; })) << "until it is told";
  ASSERT_TRUE(file->reopen());
  file->write("three\n");
  ASSERT_TRUE(eventually([&] { return text_of(path) == "three\n"; }));
  EXPECT_EQ(text_of(path + ".1"), "one\ntwo\n");
}

TEST_F(AccessFileTest, AReopenThatFailsChangesNothing) {
  auto file = open(path);
  file->write("one\n");
  ASSERT_TRUE(eventually([&] { return text_of(path) == "one\n"; }));
  std::filesystem::rename(path, path + ".1");
  std::filesystem::create_directory(path);
  const auto reopened = file->reopen();
  ASSERT_FALSE(reopened);
  EXPECT_NE(reopened.error().message.find(path), std::string::npos);
  file->write("two\n");
  file.reset();
  EXPECT_EQ(text_of(path + ".1"), "one\ntwo\n");
}

TEST_F(AccessFileTest, AFolderThatIsMissing) {
  const auto opened = AccessFile::open("/nowhere/access.log");
  ASSERT_FALSE(opened);
  EXPECT_NE(opened.error().message.find("/nowhere/access.log: No such file"), std::string::npos);
}

// A reader that stands still costs lines, never a worker's time, and not the process's end.
TEST_F(AccessFileTest, WhatDoesNotFitIsLostAndCounted) {
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  const int reader = ::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  auto file = open(path);
  const std::string line = std::string(1023, 'x') + '\n';
  std::size_t written = 0, refused = 0;
  for (std::size_t i = 0; i < 2 * limits::access_queue_bytes / line.size(); ++i)
    file->write(line) ? ++written : ++refused;
  EXPECT_GT(refused, 0U);
  EXPECT_EQ(lost("queue"), static_cast<double>(refused));
  const auto began = std::chrono::steady_clock::now();
  file.reset();
  EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(4));
  ::close(reader);
}

TEST_F(AccessFileTest, AFullDiskIsCounted) {
  auto file = open("/dev/full");
  file->write("one\n");
  file->write("two\n");
  EXPECT_TRUE(eventually([&] { return lost("write") == 2; }));
}

}  // namespace
}  // namespace suture
