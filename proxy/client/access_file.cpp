#include <proxy/client/access_file.hpp>

#include <algorithm>
#include <cerrno>
#include <climits>

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include <suture/limits.hpp>
#include <suture/log.hpp>

namespace suture {
namespace {

constexpr auto kLastWords = std::chrono::seconds(1);
constexpr int kPollMs = 100;

Result<int> open_file(const std::string& path) {
  const int fd = path == "-" ? ::fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 0)
                             : ::open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0640);
  if (fd < 0) return errno_error("cannot write the access log " + path);
  return fd;
}

// A pipe takes PIPE_BUF bytes at once without blocking when poll(2) says so (pipe(7)); of a file all may be written.
std::size_t step_of(int fd) {
  struct stat info {};
  return ::fstat(fd, &info) == 0 && S_ISREG(info.st_mode) ? SSIZE_MAX : PIPE_BUF;
}

}  // namespace

Result<std::unique_ptr<AccessFile>> AccessFile::open(std::string path) {
  const auto fd = open_file(path);
  if (!fd) return fd.error();
  return std::unique_ptr<AccessFile>(new AccessFile(std::move(path), *fd));
}

AccessFile::AccessFile(std::string path, int fd) : path_(std::move(path)), fd_(fd), thread_([this] { run(); }) {}

AccessFile::~AccessFile() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    stop_at_ = std::chrono::steady_clock::now() + kLastWords;
  }
  changed_.notify_one();
  thread_.join();
  if (next_fd_ >= 0) ::close(next_fd_);
  ::close(fd_);
}

bool AccessFile::write(std::string_view line) {
  {
    const std::lock_guard lock(mutex_);
    if (queued_.size() + line.size() > limits::access_queue_bytes) {
      lost_full_.add();
      return false;
    }
    queued_.append(line);
  }
  changed_.notify_one();
  return true;
}

Result<void> AccessFile::reopen() {
  const auto fd = open_file(path_);
  if (!fd) return fd.error();
  {
    const std::lock_guard lock(mutex_);
    if (next_fd_ >= 0) ::close(next_fd_);
    next_fd_ = *fd;
  }
  changed_.notify_one();
  return {};
}

void AccessFile::reopen_and_log() {
  if (const auto reopened = reopen())
    log::info("access_log_reopened", {{"file", path_}});
  else
    log::error("access_log_not_reopened", {{"reason", reopened.error().message}});
}

void AccessFile::register_metrics(MetricsRegistry& registry) {
  const char* help = "Lines that are not in the access log: the queue was full, or the file could not be written.";
  registry.counter("suture_access_log_lost_total", help, "reason=\"queue\"", lost_full_);
  registry.counter("suture_access_log_lost_total", help, "reason=\"write\"", lost_error_);
}

void AccessFile::run() {
  pthread_setname_np(pthread_self(), "suture-access");
  std::string lines;
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return stopping_ || !queued_.empty() || next_fd_ >= 0; });
    const int next = std::exchange(next_fd_, -1);
    const bool last = stopping_;
    lines.clear();
    lines.swap(queued_);
    lock.unlock();
    // What waits was said before the file was moved away, or at that moment: either file is right.
    if (next >= 0) {
      ::close(fd_);
      fd_ = next;
      torn_ = false;
    }
    write_out(lines);
    if (last) return;
    lock.lock();
  }
}

bool AccessFile::may_wait() const {
  const std::lock_guard lock(mutex_);
  return !stopping_ || std::chrono::steady_clock::now() < stop_at_;
}

void AccessFile::write_out(std::string_view lines) {
  if (lines.empty()) return;
  const std::size_t step = step_of(fd_);
  bool new_line = torn_;
  while (!lines.empty()) {
    pollfd ready{fd_, POLLOUT, 0};
    if (::poll(&ready, 1, kPollMs) == 0) {
      if (may_wait()) continue;
      break;
    }
    if (new_line && ::write(fd_, "\n", 1) != 1) break;
    new_line = false;
    const auto written = ::write(fd_, lines.data(), std::min(lines.size(), step));
    if (written < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (written <= 0) break;
    torn_ = lines[static_cast<std::size_t>(written) - 1] != '\n';
    lines.remove_prefix(static_cast<std::size_t>(written));
  }
  // The rest of a line whose beginning is in the file counts as well.
  lost_error_.add(static_cast<std::uint64_t>(std::count(lines.begin(), lines.end(), '\n')));
}

}  // namespace suture
