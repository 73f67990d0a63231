// PeerTransport on gRPC (1.51, callback API) with mutual TLS 1.3. Each side proves its node id by a certificate with
// the URI SAN suture://node/<id>, signed by the common CA; verification is our own (tls_identity), so that each refusal
// has its reason. Certificate files are read again at every dial; the listener reads them at start.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>

#include <statesync/peer_link.hpp>

namespace suture::statesync {

struct GrpcOptions {
  NodeId id{};
  boost::asio::ip::tcp::endpoint listen;
  std::string cert_file, key_file, ca_file;  // PEM
};

// `io` is the control io_context and must outlive the transport.
std::unique_ptr<PeerTransport> make_grpc_transport(GrpcOptions options, boost::asio::io_context& io);

// To be called when every transport is gone and the process is about to end: gRPC shuts its threads down on a thread of
// its own where the last object went on one of its own, and one that is in a TLS handshake while exit() runs OpenSSL's
// cleanup uses what is freed. False: it was not done within `patience`.
bool grpc_ended(std::chrono::milliseconds patience);

}  // namespace suture::statesync
