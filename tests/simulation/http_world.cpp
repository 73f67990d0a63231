#include "tests/simulation/http_world.hpp"

#include "tests/simulation/client.hpp"

namespace suture::sim {

HttpWorld::HttpWorld(World& world) : world_(world), conversation_(world) {
  Rng& r = world.rng;
  const auto loopback = boost::asio::ip::make_address("127.0.0.1");
  options_.vips = {loopback};
  options_.listeners.resize(1);
  config::Listener& listener = options_.listeners[0];
  listener.port = 80;
  listener.mode = SessionMode::http;
  config::Route& route = listener.default_route();
  constexpr std::array<std::uint32_t, 5> kJournals{65536, 65536, 4096, 300, 0};
  route.journal_bytes_max = kJournals[r.below(kJournals.size())];
  route.verify_tail = r.chance(0.3) ? 50 : 0;
  route.checkpoints = !r.chance(0.1);
  route.websocket.ping_ms = r.chance(0.5) ? 2000 : 0;
  options_.lease = Millis{200};
  journals_bytes_max_ = r.chance(0.1) ? 6000 : 1U << 20;
  send_buffer_ = r.chance(0.3) ? 4000 : 64 * 1024;
  if (r.chance(0.2)) sink_full_ = 0.1;
}

Content HttpWorld::begin_stream(std::uint64_t base) {
  const Content content = world_.contents++;
  streams_[content].base = base;
  return content;
}

void HttpWorld::accepted(std::uint64_t from, std::uint64_t until, Content content) {
  const auto it = streams_.find(content);
  if (it == streams_.end()) return world_.ledger.violation("the client's application read a nudge's garbage");
  const Stream& s = it->second;
  const std::uint64_t end = s.base + s.bytes.size();
  if (from < s.base || until > end + (s.fin ? 1 : 0))
    return world_.ledger.violation("the client's application read bytes that nobody wrote");
  if (const std::uint64_t bytes_end = std::min(until, end); from < bytes_end)
    conversation_.received(std::string_view(s.bytes).substr(from - s.base, bytes_end - from));
  if (s.fin && until > *s.fin) conversation_.ended();
}

}  // namespace suture::sim
