#include "test_pki.hpp"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <stdexcept>

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

namespace suture::statesync::test {
namespace {

struct Free {
  void operator()(EVP_PKEY* p) const { EVP_PKEY_free(p); }
  void operator()(X509* p) const { X509_free(p); }
  void operator()(BIO* p) const { BIO_free_all(p); }
};
using Key = std::unique_ptr<EVP_PKEY, Free>;
using Cert = std::unique_ptr<X509, Free>;
using Bio = std::unique_ptr<BIO, Free>;

std::string text_of(BIO* bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  return {data, static_cast<std::size_t>(size)};
}

void extend(X509* cert, X509* issuer, int nid, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer, cert, nullptr, nullptr, 0);
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str());
  if (!extension) throw std::runtime_error("extension " + value);
  X509_add_ext(cert, extension, -1);
  X509_EXTENSION_free(extension);
}

KeyPair issue(const KeyPair* ca, const NodeCertificate& what) {
  static long serial = 1;
  const Key key(EVP_EC_gen("P-256"));
  const Cert cert(X509_new());
  X509_set_version(cert.get(), 2);
  ASN1_INTEGER_set(X509_get_serialNumber(cert.get()), serial++);
  X509_gmtime_adj(X509_getm_notBefore(cert.get()), what.not_before_s);
  X509_gmtime_adj(X509_getm_notAfter(cert.get()), what.not_after_s);
  X509_set_pubkey(cert.get(), key.get());
  X509_NAME_add_entry_by_txt(X509_get_subject_name(cert.get()), "CN", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>(what.name.c_str()), -1, -1, 0);
  Cert issuer;
  Key issuer_key;
  if (ca) {
    const Bio cert_bio(BIO_new_mem_buf(ca->cert.data(), static_cast<int>(ca->cert.size())));
    const Bio key_bio(BIO_new_mem_buf(ca->key.data(), static_cast<int>(ca->key.size())));
    issuer.reset(PEM_read_bio_X509(cert_bio.get(), nullptr, nullptr, nullptr));
    issuer_key.reset(PEM_read_bio_PrivateKey(key_bio.get(), nullptr, nullptr, nullptr));
    extend(cert.get(), issuer.get(), NID_basic_constraints, "critical,CA:FALSE");
    if (what.extended_usage) extend(cert.get(), issuer.get(), NID_ext_key_usage, what.extended_usage);
    if (!what.uri.empty()) extend(cert.get(), issuer.get(), NID_subject_alt_name, "URI:" + what.uri + what.more_names);
  } else {
    extend(cert.get(), cert.get(), NID_basic_constraints, "critical,CA:TRUE");
    extend(cert.get(), cert.get(), NID_key_usage, "critical,keyCertSign,cRLSign");
  }
  X509_set_issuer_name(cert.get(), X509_get_subject_name(issuer ? issuer.get() : cert.get()));
  X509_sign(cert.get(), issuer_key ? issuer_key.get() : key.get(), EVP_sha256());
  const Bio cert_out(BIO_new(BIO_s_mem())), key_out(BIO_new(BIO_s_mem()));
  PEM_write_bio_X509(cert_out.get(), cert.get());
  PEM_write_bio_PrivateKey(key_out.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr);
  return {text_of(cert_out.get()), text_of(key_out.get())};
}

}  // namespace

KeyPair make_ca(const std::string& name) {
  NodeCertificate what;
  what.name = name;
  return issue(nullptr, what);
}

KeyPair make_certificate(const KeyPair& ca, const NodeCertificate& what) {
  return issue(&ca, what);
}

TempDir::TempDir() {
  std::string pattern = std::filesystem::temp_directory_path() / "suture-ss-XXXXXX";
  if (!mkdtemp(pattern.data())) throw std::runtime_error("mkdtemp");
  path_ = pattern;
}

TempDir::~TempDir() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::string TempDir::write(const std::string& name, const std::string& text) const {
  const std::string path = path_ + '/' + name;
  std::ofstream(path) << text;
  return path;
}

}  // namespace suture::statesync::test
