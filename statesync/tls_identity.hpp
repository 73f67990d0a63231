// Who is at the other end of a TLS connection: the certificate's chain, validity, purpose and node id, each with its
// own reason for refusal. Used inside the TLS handshake, on gRPC's threads: thread-safe.
#pragma once

#include <memory>
#include <string>

#include <statesync/peer_link.hpp>

namespace suture::statesync {

// What verification says: the proven id, or why not.
struct Identity {
  NodeId id{};
  std::string name;  // CN
};

class TlsVerifier {
 public:
  // `ca_pem`: one or more CA certificates.
  static Result<std::shared_ptr<const TlsVerifier>> create(const std::string& ca_pem);
  virtual ~TlsVerifier() = default;
  // `chain_pem`: the peer's certificate first. `is_server`: the peer plays the TLS server.
  virtual boost::system::result<Identity, LinkError> verify(const std::string& chain_pem, bool is_server) const = 0;
};

Result<std::string> read_file(const std::string& path);

[[noreturn]] inline void throw_exception_from_error(const LinkError& e, const boost::source_location&) {
  throw_error({e.text, 0});
}

}  // namespace suture::statesync
