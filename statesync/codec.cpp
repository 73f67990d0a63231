#include <statesync/codec.hpp>

#include <algorithm>
#include <array>
#include <cstring>

#include <arpa/inet.h>

#include <proto/statesync.pb.h>
#include <statesync/codec_http.hpp>

namespace suture::statesync {
namespace {

// FlowKey
// --------------------------------------------------------------------------------------------------------------

constexpr std::array<std::uint8_t, 12> kMapped{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

std::string bytes_of(const suture_addr& addr) {
  const auto* bytes = reinterpret_cast<const char*>(addr.b);
  const bool v4 = std::memcmp(addr.b, kMapped.data(), kMapped.size()) == 0;
  return v4 ? std::string(bytes + 12, 4) : std::string(bytes, 16);
}

bool address_of(const std::string& bytes, suture_addr& out) {
  if (bytes.size() == 4) {
    std::memcpy(out.b, kMapped.data(), kMapped.size());
    std::memcpy(out.b + 12, bytes.data(), 4);
    return true;
  }
  if (bytes.size() != 16) return false;
  std::memcpy(out.b, bytes.data(), 16);
  return true;
}

void encode_key(const suture_flow_key& key, v1::FlowKey& out) {
  out.set_client(bytes_of(key.client));
  out.set_vip(bytes_of(key.vip));
  out.set_client_port(ntohs(key.client_port));
  out.set_vip_port(ntohs(key.vip_port));
}

Result<suture_flow_key> decode_key(const v1::FlowKey& in) {
  suture_flow_key key{};
  if (!address_of(in.client(), key.client) || !address_of(in.vip(), key.vip)) {
    return bad("an address of neither 4 nor 16 bytes");
  }
  if (in.client_port() == 0 || in.client_port() > 65535 || in.vip_port() == 0 || in.vip_port() > 65535) {
    return bad("a port out of range");
  }
  key.client_port = htons(static_cast<std::uint16_t>(in.client_port()));
  key.vip_port = htons(static_cast<std::uint16_t>(in.vip_port()));
  return key;
}

void encode_proxied(const suture_flow_key& proxied, v1::Proxied& out) {
  out.set_source(bytes_of(proxied.client));
  out.set_destination(bytes_of(proxied.vip));
  out.set_source_port(ntohs(proxied.client_port));
  out.set_destination_port(ntohs(proxied.vip_port));
}

Result<suture_flow_key> decode_proxied(const v1::Proxied& in) {
  suture_flow_key out{};
  if (!address_of(in.source(), out.client) || !address_of(in.destination(), out.vip)) {
    return bad("a proxied address of neither 4 nor 16 bytes");
  }
  if (in.source_port() > 65535 || in.destination_port() > 65535) return bad("a proxied port out of range");
  out.client_port = htons(static_cast<std::uint16_t>(in.source_port()));
  out.vip_port = htons(static_cast<std::uint16_t>(in.destination_port()));
  return out;
}

Result<LivenessKey> decode_liveness_key(const std::string& bytes) {
  LivenessKey key;
  if (bytes.size() != key.size()) return bad("a liveness key that is not 32 bytes long");
  std::memcpy(key.data(), bytes.data(), key.size());
  return key;
}

bool is_node(std::uint32_t id) {
  return id >= 1 && id <= 255;
}

}  // namespace

// Record
// ---------------------------------------------------------------------------------------------------------------

void encode(const SessionRecord& record, v1::Record& out) {
  const ConnFacts& facts = record.facts;
  encode_key(facts.key, *out.mutable_key());
  out.set_iss(facts.iss);
  out.set_irs(facts.irs);
  out.set_mss(facts.mss);
  out.set_snd_wscale(facts.snd_wscale);
  out.set_rcv_wscale(facts.rcv_wscale);
  out.set_wscale_ok(facts.wscale_ok);
  out.set_sack_ok(facts.sack_ok);
  out.set_timestamps(facts.timestamps);
  out.set_hint(facts.hint);
  out.set_ts_offset(facts.ts_offset);
  out.set_flow_label(facts.flow_label);
  out.set_owner(to_int(record.owner));
  out.set_incarnation(record.incarnation);
  out.set_epoch(record.epoch);
  out.set_session_id(record.session_id);
  out.set_mode(static_cast<std::uint32_t>(record.mode));
  out.set_ts_advance(record.ts_advance);
  // Only timestamps can fence (PROTOCOL.md).
  if (record.fenced && facts.timestamps) {
    out.set_fenced(true);
    out.set_fence(record.fence);
  }
  out.set_in_known(record.in_known);
  // Each position was read at a time of its own; what was acknowledged has been sent.
  out.set_out_sent(std::max(record.out_sent, record.out_acked));
  out.set_out_acked(record.out_acked);
  out.set_in_closed(record.in_closed);
  out.set_out_closed(record.out_closed);
  if (record.proxied) encode_proxied(*record.proxied, *out.mutable_proxied());
  if (record.http && consistent(*record.http)) encode_http(*record.http, *out.mutable_http());
}

Result<SessionRecord> decode(const v1::Record& in) {
  if (!in.has_key()) return bad("a record without a key");
  auto key = decode_key(in.key());
  if (!key) return key.error();
  if (!is_node(in.owner())) return bad("an owner that is not 1 to 255");
  if (in.incarnation() == 0) return bad("incarnation 0");
  if (in.mode() != static_cast<std::uint32_t>(SessionMode::tcp) &&
      in.mode() != static_cast<std::uint32_t>(SessionMode::http)) {
    return bad("an unknown session mode");
  }
  if (in.mss() > 65535) return bad("an MSS above 65535");
  if (in.snd_wscale() > 14 || in.rcv_wscale() > 14) return bad("a window scale above 14 (RFC 7323 section 2.3)");
  if (in.flow_label() > 0xfffff) return bad("a flow label of more than 20 bits");
  if (in.out_acked() > in.out_sent()) return bad("more acknowledged than sent");
  if (in.fenced() && !in.timestamps()) return bad("a fence without timestamps");
  if (in.fence() != 0 && !in.fenced()) return bad("a fence's timestamp without a fence");
  SessionRecord record;
  ConnFacts& facts = record.facts;
  facts.key = *key;
  facts.iss = in.iss();
  facts.irs = in.irs();
  facts.mss = static_cast<std::uint16_t>(in.mss());
  facts.snd_wscale = static_cast<std::uint8_t>(in.snd_wscale());
  facts.rcv_wscale = static_cast<std::uint8_t>(in.rcv_wscale());
  facts.wscale_ok = in.wscale_ok();
  facts.sack_ok = in.sack_ok();
  facts.timestamps = in.timestamps();
  facts.hint = in.hint();
  facts.ts_offset = in.ts_offset();
  facts.flow_label = in.flow_label();
  record.owner = NodeId{static_cast<std::uint8_t>(in.owner())};
  record.incarnation = in.incarnation();
  record.epoch = in.epoch();
  record.session_id = in.session_id();
  record.mode = static_cast<SessionMode>(in.mode());
  record.ts_advance = in.ts_advance();
  record.fenced = in.fenced();
  record.fence = in.fence();
  record.in_known = in.in_known();
  record.out_sent = in.out_sent();
  record.out_acked = in.out_acked();
  record.in_closed = in.in_closed();
  record.out_closed = in.out_closed();
  if (in.has_proxied()) {
    auto proxied = decode_proxied(in.proxied());
    if (!proxied) return proxied.error();
    record.proxied = *proxied;
  }
  if (in.has_http()) {
    auto http = decode_http(in.http());
    if (!http) return http.error();
    record.http = std::move(*http);
  }
  return record;
}

// Stream messages
// ------------------------------------------------------------------------------------------------------

namespace {

void encode_batch(const Batch& batch, v1::Batch& out) {
  out.set_seq(batch.seq);
  for (const auto& change : batch.changes) {
    auto& to = *out.add_changes();
    if (const auto* record = std::get_if<SessionRecord>(&change)) {
      encode(*record, *to.mutable_upsert());
    } else {
      encode_key(std::get<Erase>(change).key, *to.mutable_erase()->mutable_key());
    }
  }
}

Result<ToReceiver> decode_batch(const v1::Batch& in) {
  if (in.seq() == 0) return bad("batch number 0");
  if (in.changes_size() > static_cast<int>(kBatchChangesMax)) return bad("a batch of too many changes");
  Batch batch;
  batch.seq = in.seq();
  batch.changes.reserve(static_cast<std::size_t>(in.changes_size()));
  for (const auto& change : in.changes()) {
    if (change.has_upsert()) {
      auto record = decode(change.upsert());
      if (!record) return record.error();
      batch.changes.emplace_back(std::move(*record));
    } else if (change.has_erase()) {
      auto key = decode_key(change.erase().key());
      if (!key) return key.error();
      batch.changes.emplace_back(Erase{*key});
    } else {
      return bad("a change that is neither upsert nor erase");
    }
  }
  return ToReceiver(std::move(batch));
}

Result<ToReceiver> decode_hello(const v1::Hello& in) {
  if (!is_node(in.node())) return bad("a node id that is not 1 to 255");
  if (in.incarnation() == 0) return bad("incarnation 0");
  if (in.name().size() > kNameBytesMax || in.liveness_endpoint().size() > kNameBytesMax) return bad("a name too long");
  auto key = decode_liveness_key(in.liveness_key());
  if (!key) return key.error();
  Hello hello;
  hello.version_min = in.version_min();
  hello.version_max = in.version_max();
  hello.node = NodeId{static_cast<std::uint8_t>(in.node())};
  hello.name = in.name();
  hello.incarnation = in.incarnation();
  hello.liveness_key = *key;
  hello.liveness_endpoint = in.liveness_endpoint();
  hello.capabilities = in.capabilities();
  return ToReceiver(std::move(hello));
}

Result<ToSender> decode_hello_ack(const v1::HelloAck& in) {
  if (!is_node(in.node())) return bad("a node id that is not 1 to 255");
  if (in.incarnation() == 0) return bad("incarnation 0");
  if (in.name().size() > kNameBytesMax) return bad("a name too long");
  auto key = decode_liveness_key(in.liveness_key());
  if (!key) return key.error();
  HelloAck ack;
  ack.version = in.version();
  ack.node = NodeId{static_cast<std::uint8_t>(in.node())};
  ack.name = in.name();
  ack.incarnation = in.incarnation();
  ack.liveness_key = *key;
  if (in.has_resume_from()) ack.resume_from = in.resume_from();
  ack.capabilities = in.capabilities();
  return ToSender(std::move(ack));
}

template <class... F>
struct Overloaded : F... {
  using F::operator()...;
};
template <class... F>
Overloaded(F...) -> Overloaded<F...>;  // clang 14 cannot do without

}  // namespace

void encode(const ToReceiver& message, v1::ToReceiver& out) {
  std::visit(Overloaded{[&](const Hello& hello) {
                          auto& to = *out.mutable_hello();
                          to.set_version_min(hello.version_min);
                          to.set_version_max(hello.version_max);
                          to.set_node(to_int(hello.node));
                          to.set_name(hello.name);
                          to.set_incarnation(hello.incarnation);
                          to.set_liveness_key(hello.liveness_key.data(), hello.liveness_key.size());
                          to.set_liveness_endpoint(hello.liveness_endpoint);
                          to.set_capabilities(hello.capabilities);
                        },
                        [&](const SnapshotBegin&) { out.mutable_snapshot_begin(); },
                        [&](const SnapshotEnd&) { out.mutable_snapshot_end(); },
                        [&](const Batch& batch) { encode_batch(batch, *out.mutable_batch()); },
                        [&](const Heartbeat& beat) { out.mutable_heartbeat()->set_last_seq(beat.last_seq); }},
             message);
}

void encode(const ToSender& message, v1::ToSender& out) {
  std::visit(Overloaded{[&](const HelloAck& ack) {
                          auto& to = *out.mutable_hello_ack();
                          to.set_version(ack.version);
                          to.set_node(to_int(ack.node));
                          to.set_name(ack.name);
                          to.set_incarnation(ack.incarnation);
                          to.set_liveness_key(ack.liveness_key.data(), ack.liveness_key.size());
                          if (ack.resume_from) to.set_resume_from(*ack.resume_from);
                          to.set_capabilities(ack.capabilities);
                        },
                        [&](const Ack& ack) { out.mutable_ack()->set_seq(ack.seq); },
                        [&](const Refused& refused) {
                          out.mutable_refused()->set_reason(static_cast<std::uint32_t>(refused.reason));
                          out.mutable_refused()->set_text(refused.text);
                        }},
             message);
}

Result<ToReceiver> decode(const v1::ToReceiver& in) {
  if (in.has_hello()) return decode_hello(in.hello());
  if (in.has_snapshot_begin()) return ToReceiver(SnapshotBegin{});
  if (in.has_snapshot_end()) return ToReceiver(SnapshotEnd{});
  if (in.has_batch()) return decode_batch(in.batch());
  if (in.has_heartbeat()) return ToReceiver(Heartbeat{in.heartbeat().last_seq()});
  return bad("a message of no known kind");
}

Result<ToSender> decode(const v1::ToSender& in) {
  if (in.has_hello_ack()) return decode_hello_ack(in.hello_ack());
  if (in.has_ack()) return ToSender(Ack{in.ack().seq()});
  if (!in.has_refused()) return bad("a message of no known kind");
  // A newer peer may know reasons that we do not.
  const auto reason = in.refused().reason();
  const bool known = reason >= 1 && reason < static_cast<std::uint32_t>(Refusal::count_);
  return ToSender(Refused{known ? static_cast<Refusal>(reason) : Refusal::bad_message,
                          in.refused().text().substr(0, 4 * kNameBytesMax)});
}

}  // namespace suture::statesync
