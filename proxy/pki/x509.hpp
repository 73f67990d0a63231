// PEM files in and out. Internal to proxy/pki.
#pragma once

#include <string>
#include <vector>

#include <proxy/pki/pki.hpp>
#include <suture/certificate.hpp>
#include <suture/result.hpp>

namespace suture::pki {

// "what: <OpenSSL's newest reason>"; empties OpenSSL's error queue of this thread.
Error openssl_error(const std::string& what);

Result<CertPtr> read_certificate(const std::string& file);                // the first
Result<std::vector<CertPtr>> read_certificates(const std::string& file);  // all; at least one
Result<KeyPtr> read_key(const std::string& file);                         // without a passphrase

Result<CertificateInfo> describe(const X509& cert, const std::string& file);

}  // namespace suture::pki
