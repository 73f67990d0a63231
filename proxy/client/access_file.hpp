// The access log's file, written by a thread of its own: workers hand lines over and go on.
//
//   open(path)   "-": standard output
//   write()      from any thread; waits for nothing but other writers' copying. False: the queue is full
//   reopen()     after logrotate(8) has moved the file away; what was written before goes to the old one
//   destructor   writes what is left, for a second at most: a pipe that nobody reads must not keep the process
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include <proxy/client/access_log.hpp>
#include <suture/metrics.hpp>
#include <suture/result.hpp>

namespace suture {

class AccessFile final : public AccessSink {
 public:
  static Result<std::unique_ptr<AccessFile>> open(std::string path);
  ~AccessFile() override;

  bool write(std::string_view line) override;
  // An error leaves everything as it was.
  Result<void> reopen();
  void reopen_and_log();
  void register_metrics(MetricsRegistry& registry);

 private:
  AccessFile(std::string path, int fd);
  void run();
  void write_out(std::string_view lines);
  bool may_wait() const;

  const std::string path_;
  Counter lost_full_, lost_error_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::string queued_;  // whole lines
  int next_fd_ = -1;    // reopened: from the next line on
  bool stopping_ = false;
  std::chrono::steady_clock::time_point stop_at_{};

  // The thread's own.
  int fd_;
  bool torn_ = false;  // the file ends within a line
  std::thread thread_;
};

}  // namespace suture
