#include <proxy/upstream/relay.hpp>

namespace suture {

IoResult Backlog::flush(StreamSocket& to) {
  IoResult total;
  while (!empty() && to.writable()) {
    const auto sent = to.write(view());
    if (sent.status == IoResult::Status::again) break;
    if (sent.status != IoResult::Status::ok) return sent;
    total.bytes += sent.bytes;
    consume(sent.bytes);
  }
  return total;
}

IoResult Backlog::send(StreamSocket& to, std::string_view first, std::string_view second) {
  IoResult result;
  if (empty() && to.writable()) {
    result = to.write(first, second);
    if (result.status == IoResult::Status::again) result = {};
    if (result.status != IoResult::Status::ok) return result;
  }
  if (result.bytes < first.size()) {
    append(first.substr(result.bytes));
    append(second);
  } else {
    append(second.substr(result.bytes - first.size()));
  }
  return result;
}

}  // namespace suture
