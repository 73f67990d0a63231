// The liveness datagram (docs/wire_format.md): layout, authentication, key derivation. Integers are
// big-endian.
//
//    0                   1                   2                   3
//    0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//   +---------------+---------------+---------------+---------------+
//   |    version    |     type      |    sender     |   receiver    |
//   +---------------+---------------+---------------+---------------+
//   |                     sender's incarnation                      |
//   +---------------------------------------------------------------+
//   |                      sequence number (64)                     |
//   +---------------------------------------------------------------+
//   |     last sequence number heard from the receiver (64, 0: none)|
//   +---------------------------------------------------------------+
//   |                     sender's slot clock, ms (64)              |
//   +---------------------------------------------------------------+
//   |                 sender's monotonic clock, ms (64)             |
//   +-------------------------------+-------------------------------+
//   |             flags             |           reserved (0)        |
//   +-------------------------------+-------------------------------+
//   |  sender's monotonic clock, ms: every change of its records    |
//   |  up to then has been acknowledged by the receiver (64, 0: no) |
//   +---------------------------------------------------------------+
//   |  nodes in two-way liveness with the sender (32 bytes): id n is|
//   |  bit n mod 8, from the least significant, of byte n / 8       |
//   +---------------------------------------------------------------+
//   |   flow key (36 bytes), only in the three answers              |
//   +---------------------------------------------------------------+
//   |   tag: first 16 bytes of HMAC-SHA-256 over all of the above   |
//   +---------------------------------------------------------------+
#pragma once

#include <array>
#include <bitset>
#include <cstdint>
#include <span>

#include <boost/container/static_vector.hpp>

#include <statesync/messages.hpp>
#include <suture/ids.hpp>

namespace suture::statesync {

inline constexpr std::uint8_t kLivenessVersion = 2;
inline constexpr std::size_t kLivenessHeaderBytes = 84;
inline constexpr std::size_t kLivenessTagBytes = 16;
inline constexpr std::size_t kLivenessBytesMax = kLivenessHeaderBytes + sizeof(suture_flow_key) + kLivenessTagBytes;

// Answers to a question that a peer's datapath asked (datapath_abi.h, SUTURE_TUNNEL_ASK, or a final packet not ours).
enum class Answer : std::uint8_t { not_mine = 2, mine = 3, unknown = 4 };

enum class DatagramType : std::uint8_t {
  beat = 1,
  not_mine = static_cast<std::uint8_t>(Answer::not_mine),
  mine = static_cast<std::uint8_t>(Answer::mine),
  unknown = static_cast<std::uint8_t>(Answer::unknown),
};

using NodeSet = std::bitset<256>;  // by node id

enum LivenessFlags : std::uint16_t {
  kFlagSynced = 1 << 0,  // the sender has applied the receiver's snapshot
  kFlagDraining = 1 << 1,
  kFlagClockSettled = 1 << 2,  // the sender's slot clock is only slewed from here on
};

struct Datagram {
  DatagramType type = DatagramType::beat;
  NodeId sender{};
  NodeId receiver{};
  Incarnation incarnation = 0;
  std::uint64_t seq = 0;
  std::uint64_t echo = 0;
  std::uint64_t slot_ms = 0;
  std::uint64_t monotonic_ms = 0;
  std::uint16_t flags = 0;
  std::uint64_t delivered_ms = 0;
  NodeSet hears{};
  suture_flow_key key{};  // answers only
};

using DatagramBytes = boost::container::static_vector<std::uint8_t, kLivenessBytesMax>;

DatagramBytes encode(const Datagram& datagram, const LivenessKey& key);

enum class ParseError : std::uint8_t { none, size, version, type };
// Everything but the authenticity: the key depends on the sender.
ParseError parse(std::span<const std::uint8_t> bytes, Datagram& out);
bool authentic(std::span<const std::uint8_t> bytes, const LivenessKey& key);

// Both nodes derive the same key: HKDF-SHA-256 (RFC 5869) over the two Hello keys in order of the ids, bound to ids and
// incarnations.
LivenessKey derive_key(NodeId a, Incarnation a_incarnation, const LivenessKey& a_key, NodeId b,
                       Incarnation b_incarnation, const LivenessKey& b_key);
LivenessKey random_key();
// What a node with this secret says in its Hello to `peer`: no third node learns what these two share.
LivenessKey hello_key(const LivenessKey& secret, NodeId peer);

}  // namespace suture::statesync
