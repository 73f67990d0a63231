// The cluster's own small PKI: one certificate authority per cluster, one certificate per node that binds the node's id
// (PROTOCOL.md: "ids 1 to 255, bound to the node certificate"). Used by `suture pki`, by the start-up check, and by
// statesync to learn a peer's id from its certificate.
//
// Keys: EC P-256, PEM (PKCS #8), mode 0600, never overwritten. A node certificate (RFC 5280) carries
//   CN=<name>; subjectAltName URI:suture://node/<id>, DNS:<name>, DNS:suture-node-<id>, the given IP addresses;
//   extendedKeyUsage serverAuth and clientAuth (both ends of a statesync stream present it).
// The id counts only from the URI: names are free text, DNS names are for TLS libraries that insist on one.
//
// All functions are synchronous and touch only the named files. OpenSSL 3 EVP/X509 API.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <boost/asio/ip/address.hpp>

#include <suture/ids.hpp>
#include <suture/metrics.hpp>
#include <suture/result.hpp>

namespace suture::pki {

using WallTime = std::chrono::system_clock::time_point;  // certificates are the one place where wall time decides

struct Validity {
  WallTime not_before;
  WallTime not_after;
};
// From one hour ago (nodes' clocks differ) until `days` from now.
Validity valid_for_days(unsigned days, WallTime now = std::chrono::system_clock::now());

inline constexpr unsigned ca_days = 3650;
inline constexpr unsigned node_days = 365;

struct KeyPairFiles {
  std::string cert_file;
  std::string key_file;
};

// Makes DIR (0700) if missing, then DIR/ca.key and DIR/ca.pem. An existing one of the two is an error, never replaced.
Result<KeyPairFiles> init_ca(const std::string& dir, const Validity& validity);

struct NodeRequest {
  std::string name;  // 1..63 of [A-Za-z0-9._-], begins with a letter or digit; becomes file name, CN and DNS name
  NodeId id{};       // 1..255
  std::vector<boost::asio::ip::address> addresses;  // subjectAltName IP, optional
  Validity validity{};
};
// Signs with DIR/ca.key, writes DIR/NAME.key and DIR/NAME.pem. Existing files are an error, never replaced.
Result<KeyPairFiles> issue_node(const std::string& dir, const NodeRequest& request);

struct CertificateInfo {
  std::optional<NodeId> node;  // absent: no (or no valid) URI:suture://node/<id>
  std::string name;            // CN
  WallTime not_before;
  WallTime not_after;
};
// Of the first certificate in a PEM file.
Result<CertificateInfo> certificate_info(const std::string& cert_file);

// The start-up check: readable, key belongs to the certificate, signed by the CA (as server and as client), valid at
// `now`, and issued for `id`. The error says which of these failed and what would help.
Result<CertificateInfo> check_node_certificate(const std::string& cert_file, const std::string& key_file,
                                               const std::string& ca_file, NodeId id,
                                               WallTime now = std::chrono::system_clock::now());

std::string node_dns_name(NodeId id);  // "suture-node-7": what a TLS client checks the peer's certificate for

// suture_certificate_expiry_seconds: from now until `not_after`; negative once expired.
void register_expiry_metric(MetricsRegistry& registry, WallTime not_after);

}  // namespace suture::pki
