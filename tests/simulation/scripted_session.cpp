#include "tests/simulation/scripted_session.hpp"

namespace suture::sim {

// What lies below was read by a former owner: finished, refused or lost, but never executed here.
void ScriptedSession::begin(Socket& socket) {
  const auto& all = world_.ledger.requests;
  for (; next_request_ < all.size() && all[next_request_].end <= socket.received(); ++next_request_)
    if (socket.start().instance > 0) socket.write(40);
}

void ScriptedSession::read(Socket& socket, std::uint64_t, std::uint64_t until) {
  node_.publish();  // before anything is passed on
  const Socket::Start& start = socket.start();
  for (auto& all = world_.ledger.requests; next_request_ < all.size() && all[next_request_].end <= until;
       ++next_request_) {
    const Request& request = all[next_request_];
    // The S rule.
    if (start.instance > 0 && request.end <= start.client_sent && !request.may_replay) {
      ++world_.totals.refused;
      socket.write(40);
      continue;
    }
    if (start.instance > 0 && request.end <= start.client_sent) ++world_.totals.replayed;
    world_.ledger.executed(next_request_, start.instance);
    socket.write(request.response_bytes);
  }
  node_.publish();
  socket.pump();
}

}  // namespace suture::sim
