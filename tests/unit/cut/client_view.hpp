// What a client makes of the bytes that it got: a parser of its own, so that the product's is not its own judge.
#pragma once

#include <string>
#include <vector>

namespace suture::test {

struct Got {
  int status = 0;
  std::string head;  // from the status line on
  std::string content;
  std::string trailers;
  bool complete = false;
  bool close = false;   // announced, or implied by its framing
  std::size_t end = 0;  // of what is there of it, in the bytes that were parsed

  std::string field(const std::string& name) const {
    const auto at = head.find("\r\n" + name + ": ");
    if (at == std::string::npos) return "";
    const auto from = at + name.size() + 4;
    return head.substr(from, head.find("\r\n", from) - from);
  }
};

// `methods` of the requests in order; interim responses are left out. `ended`: the stream ended with a FIN.
inline std::vector<Got> responses_in(const std::string& bytes, const std::vector<std::string>& methods, bool ended) {
  std::vector<Got> out;
  std::size_t at = 0;
  while (at < bytes.size()) {
    Got got;
    const auto head_end = bytes.find("\r\n\r\n", at);
    if (head_end == std::string::npos) {
      got.head = bytes.substr(at);
      out.push_back(got);
      break;
    }
    got.head = bytes.substr(at, head_end + 4 - at);
    at = head_end + 4;
    if (got.head.size() < 13 || got.head.substr(0, 9) != "HTTP/1.1 ") {
      got.status = -1;  // no response begins like that
      out.push_back(got);
      break;
    }
    got.status = std::stoi(got.head.substr(9, 3));
    if (got.status < 200) continue;
    got.close = got.field("Connection") == "close";
    const std::string method = out.size() < methods.size() ? methods[out.size()] : "GET";
    if (method == "HEAD" || got.status == 204 || got.status == 304) {
      got.complete = true;
    } else if (got.field("Transfer-Encoding") == "chunked") {
      for (;;) {
        const auto line = bytes.find("\r\n", at);
        if (line == std::string::npos) break;
        const std::size_t size = std::stoul("0" + bytes.substr(at, line - at), nullptr, 16);
        if (size == 0) {
          auto rest = line + 2;
          for (auto next = bytes.find("\r\n", rest); next != std::string::npos; next = bytes.find("\r\n", rest)) {
            if (next == rest) {
              got.complete = true;
              rest += 2;
              break;
            }
            got.trailers += bytes.substr(rest, next + 2 - rest);
            rest = next + 2;
          }
          at = got.complete ? rest : bytes.size();
          break;
        }
        got.content += bytes.substr(line + 2, size);
        if (bytes.size() < line + 2 + size + 2) break;
        if (bytes.compare(line + 2 + size, 2, "\r\n") != 0) {
          got.status = -1;
          break;
        }
        at = line + 2 + size + 2;
      }
    } else if (const std::string length = got.field("Content-Length"); !length.empty()) {
      const std::size_t size = std::stoul(length);
      got.content = bytes.substr(at, size);
      got.complete = got.content.size() == size;
      at += got.content.size();
    } else {
      got.content = bytes.substr(at);
      got.complete = ended;
      got.close = true;
      at = bytes.size();
    }
    got.end = at;
    out.push_back(got);
    if (!got.complete) break;
  }
  return out;
}

}  // namespace suture::test
