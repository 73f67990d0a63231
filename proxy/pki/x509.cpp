#include <proxy/pki/x509.hpp>

#include <cerrno>
#include <cstring>
#include <ctime>

#include <openssl/err.h>
#include <openssl/pem.h>

namespace suture::pki {
namespace {

Result<BioPtr> open_for_reading(const std::string& file) {
  errno = 0;
  BioPtr bio(BIO_new_file(file.c_str(), "r"));
  if (!bio) {
    const int saved = errno;
    ERR_clear_error();
    return Error{"cannot read " + file + ": " + (saved != 0 ? std::strerror(saved) : "unknown reason"), saved};
  }
  return bio;
}

// A daemon must not stop and ask on its terminal for a passphrase.
int no_passphrase(char*, int, int, void*) {
  return -1;
}

Result<WallTime> wall_time(const ASN1_TIME* time, const std::string& file) {
  std::tm parts{};
  if (time == nullptr || ASN1_TIME_to_tm(time, &parts) != 1) {
    ERR_clear_error();
    return Error{file + ": the certificate's validity is not a time"};
  }
  return std::chrono::system_clock::from_time_t(::timegm(&parts));
}

}  // namespace

Error openssl_error(const std::string& what) {
  char reason[256] = "unknown reason";
  if (const auto code = ERR_peek_last_error(); code != 0) ERR_error_string_n(code, reason, sizeof reason);
  ERR_clear_error();
  return {what + ": " + reason};
}

std::string node_dns_name(NodeId id) {
  return "suture-node-" + std::to_string(to_int(id));
}

Result<CertPtr> read_certificate(const std::string& file) {
  auto bio = open_for_reading(file);
  if (!bio) return bio.error();
  CertPtr cert(PEM_read_bio_X509(bio->get(), nullptr, no_passphrase, nullptr));
  if (!cert) return openssl_error(file + " holds no PEM certificate");
  return cert;
}

Result<std::vector<CertPtr>> read_certificates(const std::string& file) {
  auto bio = open_for_reading(file);
  if (!bio) return bio.error();
  std::vector<CertPtr> out;
  while (X509* cert = PEM_read_bio_X509(bio->get(), nullptr, no_passphrase, nullptr)) out.emplace_back(cert);
  if (out.empty()) return openssl_error(file + " holds no PEM certificate");
  ERR_clear_error();  // the end of the file is reported as an error
  return out;
}

Result<KeyPtr> read_key(const std::string& file) {
  auto bio = open_for_reading(file);
  if (!bio) return bio.error();
  KeyPtr key(PEM_read_bio_PrivateKey(bio->get(), nullptr, no_passphrase, nullptr));
  if (!key) return openssl_error(file + " holds no PEM private key without passphrase");
  return key;
}

Result<CertificateInfo> describe(const X509& cert, const std::string& file) {
  const auto from = wall_time(X509_get0_notBefore(&cert), file);
  if (!from) return from.error();
  const auto until = wall_time(X509_get0_notAfter(&cert), file);
  if (!until) return until.error();
  return CertificateInfo{node_of(cert), common_name(cert), *from, *until};
}

Result<CertificateInfo> certificate_info(const std::string& cert_file) {
  const auto cert = read_certificate(cert_file);
  if (!cert) return cert.error();
  return describe(**cert, cert_file);
}

}  // namespace suture::pki
