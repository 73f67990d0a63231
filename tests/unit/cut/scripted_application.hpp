// An application that answers by a script: each connection in a thread of its own, each complete request counted.
#pragma once

#include <atomic>
#include <cctype>
#include <chrono>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

namespace suture::test {

struct Asked {
  std::string method, target, head, body;
  // Of the field, whatever its case; "" without one.
  std::string field(const std::string& name) const {
    const auto lower = [](std::string s) {
      for (char& c : s) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
      return s;
    };
    const auto at = lower(head).find("\r\n" + lower(name) + ": ");
    if (at == std::string::npos) return "";
    const auto from = at + name.size() + 4;
    return head.substr(from, head.find("\r\n", from) - from);
  }
};

// Pieces of the response, sent one by one; a last piece kHangUp closes the connection.
using Answer = std::function<std::vector<std::string>(const Asked&)>;
inline const std::string kHangUp = "\x01hang up";

class ScriptedApplication {
 public:
  explicit ScriptedApplication(Answer answer) : answer_(std::move(answer)) {
    listening_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in name{};
    name.sin_family = AF_INET;
    name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ::bind(listening_, reinterpret_cast<sockaddr*>(&name), sizeof name);
    ::listen(listening_, 256);
    socklen_t size = sizeof name;
    ::getsockname(listening_, reinterpret_cast<sockaddr*>(&name), &size);
    port_ = ntohs(name.sin_port);
    accepting_ = std::thread([this] { accept_all(); });
  }
  ~ScriptedApplication() {
    ::shutdown(listening_, SHUT_RDWR);
    accepting_.join();
    {
      const std::lock_guard lock(mutex_);
      for (const int fd : open_) ::shutdown(fd, SHUT_RDWR);
    }
    for (auto& thread : serving_) thread.join();
    ::close(listening_);
  }
  std::uint16_t port() const { return port_; }
  // Complete requests by method and target.
  std::map<std::string, int> executed() const {
    const std::lock_guard lock(mutex_);
    return executed_;
  }

 private:
  void accept_all() {
    for (;;) {
      const int fd = ::accept4(listening_, nullptr, nullptr, SOCK_CLOEXEC);
      if (fd < 0) return;
      const int on = 1;
      ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
      const std::lock_guard lock(mutex_);
      open_.push_back(fd);
      serving_.emplace_back([this, fd] { serve(fd); });
    }
  }
  void serve(int fd) {
    std::string in;
    Asked asked;
    while (read_request(fd, in, asked)) {
      {
        const std::lock_guard lock(mutex_);
        ++executed_[asked.method + ' ' + asked.target];
      }
      bool hang_up = false;
      for (const std::string& piece : answer_(asked)) {
        if ((hang_up = piece == kHangUp)) break;
        if (piece == "\x02") {
          std::this_thread::sleep_for(std::chrono::milliseconds(10));
          continue;
        }
        if (::send(fd, piece.data(), piece.size(), MSG_NOSIGNAL) < 0) break;
        std::this_thread::yield();
      }
      if (hang_up) break;
    }
    const std::lock_guard lock(mutex_);
    std::erase(open_, fd);
    ::close(fd);
  }
  static bool fill(int fd, std::string& in) {
    char buffer[16384];
    const ssize_t n = ::recv(fd, buffer, sizeof buffer, 0);
    if (n <= 0) return false;
    in.append(buffer, static_cast<std::size_t>(n));
    return true;
  }
  static bool read_request(int fd, std::string& in, Asked& out) {
    std::size_t end = 0;
    while ((end = in.find("\r\n\r\n")) == std::string::npos)
      if (!fill(fd, in)) return false;
    out = {};
    out.head = in.substr(0, end + 4);
    in.erase(0, end + 4);
    out.method = out.head.substr(0, out.head.find(' '));
    const auto from = out.method.size() + 1;
    out.target = out.head.substr(from, out.head.find(' ', from) - from);
    if (const std::string length = out.field("Content-Length"); !length.empty()) {
      while (in.size() < std::stoul(length))
        if (!fill(fd, in)) return false;
      out.body = in.substr(0, std::stoul(length));
      in.erase(0, std::stoul(length));
    } else if (out.field("Transfer-Encoding") == "chunked") {
      for (std::size_t size = 1; size != 0;) {
        while ((end = in.find("\r\n")) == std::string::npos)
          if (!fill(fd, in)) return false;
        size = std::stoul(in.substr(0, end), nullptr, 16);
        while (in.size() < end + 2 + size + 2)
          if (!fill(fd, in)) return false;
        out.body += in.substr(end + 2, size);
        in.erase(0, end + 2 + size + 2);
      }
    }
    return true;
  }

  Answer answer_;
  int listening_ = -1;
  std::uint16_t port_ = 0;
  std::thread accepting_;
  mutable std::mutex mutex_;
  std::vector<int> open_;
  std::vector<std::thread> serving_;
  std::map<std::string, int> executed_;
};

}  // namespace suture::test
