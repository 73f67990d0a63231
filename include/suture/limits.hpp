// Every bound of the program that is not configuration, with the reason for its number.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>

namespace suture::limits {

using namespace std::chrono_literals;

// One direction of one session. Two reads of a full socket buffer's usual burst; larger gains nothing measurable.
inline constexpr std::size_t relay_buffer_bytes = 64 * 1024;

// Record updates a worker may have under way to the control thread. At 2 ms flush this is 8 million updates a second;
// when it is full the worker keeps the session marked dirty and tries again at its next event.
inline constexpr std::size_t worker_queue_records = 16 * 1024;

// Descriptors that accepting leaves alone: the upstream connections of sessions that were just accepted, health checks,
// state sync, admin. Without it a session is accepted with the last one and reset for want of a second.
inline constexpr unsigned descriptors_reserved = 64;

// Of one route: those that were tried are the bits of a number (proxy/upstream/group.hpp).
inline constexpr std::size_t upstreams_per_route_max = 16;

// An upstream that could not be connected to is passed over for so long where its route has others. An application that
// is started again takes seconds; the connection that finds out too early costs one client a `connect_ms`.
inline constexpr std::chrono::milliseconds upstream_avoided = 10s;

// Access log lines that wait for the file's thread: 13,000 of 300 bytes, what two workers write in a tenth of a second.
// What does not fit is lost and counted.
inline constexpr std::size_t access_queue_bytes = 4U << 20;

// A relay (mode tcp, upgraded connections) of which one side has said FIN and nothing moves any more: the other side is
// far more often gone than thinking, and `tcp_idle_ms` (an hour) is meant for connections that both sides want.
inline constexpr std::chrono::milliseconds half_closed_idle = 5min;

// A session's record is sent again after so many bytes, either way.
inline constexpr std::uint64_t record_step_bytes = 1 << 20;

// Records in one batch message: about 64 kB, well below gRPC's 4 MB, small enough to interleave with acks.
inline constexpr std::size_t batch_records_max = 256;
// Batches sent and not yet acknowledged, per peer. Beyond it the peer's dirty set waits (it coalesces by session).
// Enough for a path of 300 ms and the 3000 flushes a second of a busy node; what bounds memory is their bytes.
inline constexpr std::size_t batches_in_flight_max = 1024;

// Deletions remembered for a peer that does not take them; beyond it the peer gets a snapshot.
inline constexpr std::size_t tombstones_max = 256 * 1024;

// PROTOCOL.md, slot clock.
inline constexpr auto clock_hint_apart_max = 60s;
inline constexpr std::uint64_t clock_claim_apart_max_ms = 1ULL << 21;

// Punted packets held while the peers are asked: per flow, and in all. A client's initial window is 10 segments.
inline constexpr std::size_t held_packets_per_flow = 16;
inline constexpr std::size_t held_packets_total = 4096;

// Flows between two owners at one node, at once; a stray of one more is dropped, and the client sends it again. As many
// as the kernel's map of them takes.
inline constexpr std::size_t claims_max = 65536;

// What all clients together may make user space look at (suture_node_state.punt_total_*): per second, and at once.
// Random sources have a prefix's bucket each; heartbeats and liveness run on the thread that reads what they punt.
inline constexpr std::uint32_t punt_total_per_second = 20000;
inline constexpr std::uint32_t punt_total_burst = 20000;

// How often what we put into the kernel is looked after, besides every notification of the kernel's that concerns it.
inline constexpr auto kernel_check_interval = 1s;
// At least so long after such a notification: a burst of them is one look.
inline constexpr auto kernel_check_delay = 20ms;

// While the beginning of a response is fetched again its client waits: so long, and a second more for each megabyte.
inline constexpr auto refetch_patience = 10s;
inline constexpr std::uint64_t refetch_bytes_per_ms_min = 1000;
inline constexpr std::chrono::milliseconds refetch_patience_max = 1h;  // a peer's word is no reason to wait longer

// Small things that travel in the record so that an heir needs nobody else: a request's body, what waits behind it.
inline constexpr std::size_t recorded_bytes_max = 64 * 1024;
// A record goes as a whole. What grows byte by byte is sent again at once while it is small, then by eighths: a client
// that drips cannot make state sync carry more than some ten times what it sends.
constexpr bool worth_sending_again(std::size_t sent, std::size_t now) {
  return now <= 1024 || now >= sent + sent / 8 + 512;
}
// All responses' journals of a worker at once (client/journal.hpp).
inline constexpr std::size_t journals_bytes_max = 64U << 20;

// What a healed download may have to gather before the socket goes on (client/priming.hpp): a client's window.
inline constexpr std::size_t primed_bytes_max = 16U << 20;

}  // namespace suture::limits
