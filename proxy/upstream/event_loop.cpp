#include <proxy/upstream/event_loop.hpp>

#include <algorithm>
#include <array>
#include <cerrno>

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

namespace suture {

EventLoop::EventLoop() : epoll_fd_(::epoll_create1(EPOLL_CLOEXEC)), wake_fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (epoll_fd_ < 0 || wake_fd_ < 0) throw_error(errno_error("cannot create the event loop"));
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.ptr = nullptr;
  if (::epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, wake_fd_, &event) != 0) throw_error(errno_error("epoll_ctl"));
}

EventLoop::~EventLoop() {
  disposed_.clear();
  ::close(epoll_fd_);
  ::close(wake_fd_);
}

Result<void> EventLoop::add(int fd, EventHandler& handler) {
  epoll_event event{};
  event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
  event.data.ptr = &handler;
  if (::epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, fd, &event) != 0) return errno_error("cannot watch a descriptor");
  return {};
}

void EventLoop::remove(int fd, EventHandler& handler) {
  ::epoll_ctl(epoll_fd_, EPOLL_CTL_DEL, fd, nullptr);
  if (handler.resume_queued_) {
    std::erase(resumed_, &handler);
    std::replace(resuming_.begin(), resuming_.end(), &handler, static_cast<EventHandler*>(nullptr));
    handler.resume_queued_ = false;
  }
}

void EventLoop::resume(EventHandler& handler) {
  if (handler.resume_queued_ || handler.disposed_) return;
  handler.resume_queued_ = true;
  resumed_.push_back(&handler);
}

void EventLoop::dispose(std::unique_ptr<EventHandler> handler) {
  handler->disposed_ = true;
  disposed_.push_back(std::move(handler));
}

void EventLoop::stop() {
  stopping_.store(true);
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto n = ::write(wake_fd_, &one, sizeof one);
}

void EventLoop::post(std::function<void()> task) {
  {
    const std::lock_guard lock(posted_mutex_);
    posted_.push_back(std::move(task));
  }
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto n = ::write(wake_fd_, &one, sizeof one);
}

void EventLoop::run_posted() {
  std::uint64_t value = 0;
  [[maybe_unused]] const auto n = ::read(wake_fd_, &value, sizeof value);
  std::vector<std::function<void()>> tasks;
  {
    const std::lock_guard lock(posted_mutex_);
    tasks.swap(posted_);
  }
  for (auto& task : tasks) task();
}

void EventLoop::run_resumed() {
  resuming_.swap(resumed_);
  for (std::size_t i = 0; i < resuming_.size(); ++i) {
    EventHandler* handler = resuming_[i];
    if (!handler) continue;
    handler->resume_queued_ = false;
    if (!handler->disposed_) handler->on_events(0);
  }
  resuming_.clear();
}

// `at`: null: the clock says. False: nothing was ready.
bool EventLoop::round(int wait_ms, const TimePoint* at) {
  std::array<epoll_event, 256> events;
  const bool resumed = !resumed_.empty();
  const int n = ::epoll_wait(epoll_fd_, events.data(), events.size(), resumed ? 0 : wait_ms);
  now_ = at ? *at : Clock::now();
  ticks_.fetch_add(1, std::memory_order_relaxed);
  for (int i = 0; i < n; ++i) {
    auto* handler = static_cast<EventHandler*>(events[i].data.ptr);
    if (!handler)
      run_posted();
    else if (!handler->disposed_)
      handler->on_events(events[i].events);
  }
  if (!resumed_.empty()) run_resumed();
  if (now_ >= next_tick_) {
    next_tick_ = now_ + Millis(kTickMs);
    if (tick_) tick_();
  }
  // A destructor may dispose of more (a session its upstream connection).
  while (!disposed_.empty()) {
    auto done = std::move(disposed_);
    disposed_.clear();
    done.clear();
  }
  return n > 0 || resumed;
}

void EventLoop::run() {
  while (!stopping_.load(std::memory_order_relaxed)) round(kTickMs, nullptr);
  run_posted();
}

bool EventLoop::poll(TimePoint now) {
  return round(0, &now);
}

}  // namespace suture
