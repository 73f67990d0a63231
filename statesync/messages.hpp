// What nodes say to each other on a StateSync stream, as plain values. The codec turns them into protobuf messages
// (proto/statesync.proto mirrors this file); in-memory links of tests pass them as they are.
//
//   dialer (sends its records)                  listener (receives them)
//     Hello                             →
//                                       ←       HelloAck{resume_from | snapshot wanted}  or Refused
//     SnapshotBegin, Batch..., SnapshotEnd →                  (only without resume)
//                                       ←       Ack{seq}
//     Batch{seq + 1}, Heartbeat, ...    →
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include <statesync/record.hpp>
#include <suture/ids.hpp>

namespace suture::statesync {

inline constexpr std::uint32_t kVersionMin = 1;
inline constexpr std::uint32_t kVersionMax = 1;

using LivenessKey = std::array<std::uint8_t, 32>;

// Why a connection, a stream or a message was refused. Also the label of suture_statesync_refused_total.
enum class Refusal : std::uint8_t {
  bad_message = 1,     // does not decode, or holds impossible values
  out_of_sequence,     // message that the protocol does not allow here, gap in the batch numbers
  version,             // no common protocol version
  unknown_node,        // its id is not among our peers
  own_id,              // it claims our own id
  duplicate_id,        // another incarnation of its id is alive
  incarnation_reused,  // another process had the same id and incarnation
  identity_mismatch,   // Hello's id is not the certificate's
  wrong_ca,            // certificate not signed by our CA
  expired,             // certificate expired or not yet valid
  bad_certificate,     // no suture://node/<id> in it, wrong purpose, unreadable
  wrong_certificate,   // a valid certificate, but of another id than the peer that we dialed
  connect,             // not reachable, connection reset, TLS failure on the other side
  silent,              // nothing came for too long
  count_
};
std::string_view to_string(Refusal reason);
// Refusals that concern who we are: they do not go away by trying again soon.
bool concerns_identity(Refusal reason);

// First message of the dialer.
struct Hello {
  std::uint32_t version_min = kVersionMin;
  std::uint32_t version_max = kVersionMax;
  NodeId node{};
  std::string name;
  Incarnation incarnation = 0;
  LivenessKey liveness_key{};      // hello_key(): of these two nodes only; TLS protects it on the way
  std::string liveness_endpoint;   // "198.18.0.1:7101", for logs and checks
  std::uint64_t capabilities = 0;  // bits unknown to the receiver are ignored
};

struct HelloAck {
  std::uint32_t version = kVersionMax;
  NodeId node{};
  std::string name;
  Incarnation incarnation = 0;
  LivenessKey liveness_key{};
  std::optional<std::uint64_t> resume_from;  // last batch applied; absent: snapshot wanted
  std::uint64_t capabilities = 0;
};

struct SnapshotBegin {};
struct SnapshotEnd {};

struct Erase {
  suture_flow_key key{};
};
using Change = std::variant<SessionRecord, Erase>;

struct Batch {
  std::uint64_t seq = 0;  // resume_from + 1, or 1, at the stream's start; then one more each
  std::vector<Change> changes;
};

struct Heartbeat {
  std::uint64_t last_seq = 0;  // of the last batch sent
};

struct Ack {
  std::uint64_t seq = 0;  // everything up to it is applied
};

struct Refused {
  Refusal reason{};
  std::string text;
};

using ToReceiver = std::variant<Hello, SnapshotBegin, SnapshotEnd, Batch, Heartbeat>;
using ToSender = std::variant<HelloAck, Ack, Refused>;

}  // namespace suture::statesync
