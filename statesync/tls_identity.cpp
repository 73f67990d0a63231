#include <statesync/tls_identity.hpp>

#include <fstream>
#include <sstream>
#include <vector>

#include <openssl/err.h>
#include <openssl/pem.h>

#include <suture/certificate.hpp>

namespace suture::statesync {
namespace {

std::vector<CertPtr> parse_pem(const std::string& pem) {
  std::vector<CertPtr> out;
  const BioPtr bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  while (X509* cert = PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr)) out.emplace_back(cert);
  ERR_clear_error();  // the end of the file is reported as an error
  return out;
}

Refusal reason_of(int error) {
  switch (error) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
    case X509_V_ERR_CERT_NOT_YET_VALID:
      return Refusal::expired;
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_CERT_SIGNATURE_FAILURE:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
      return Refusal::wrong_ca;
    default:
      return Refusal::bad_certificate;
  }
}

class OpensslVerifier final : public TlsVerifier {
 public:
  explicit OpensslVerifier(StorePtr store) : store_(std::move(store)) {}

  boost::system::result<Identity, LinkError> verify(const std::string& chain_pem, bool is_server) const override {
    const auto chain = parse_pem(chain_pem);
    if (chain.empty()) return LinkError{Refusal::bad_certificate, "no certificate was presented"};
    X509* leaf = chain.front().get();
    auto* untrusted = sk_X509_new_null();
    for (std::size_t i = 1; i < chain.size(); ++i) sk_X509_push(untrusted, chain[i].get());
    const StoreContextPtr context(X509_STORE_CTX_new());
    int error = X509_V_ERR_UNSPECIFIED;
    if (context && X509_STORE_CTX_init(context.get(), store_.get(), leaf, untrusted) == 1) {
      X509_STORE_CTX_set_purpose(context.get(), is_server ? X509_PURPOSE_SSL_SERVER : X509_PURPOSE_SSL_CLIENT);
      const bool good = X509_verify_cert(context.get()) == 1;
      error = good ? X509_V_OK : X509_STORE_CTX_get_error(context.get());
    }
    sk_X509_free(untrusted);
    ERR_clear_error();
    const std::string name = common_name(*leaf);
    if (error != X509_V_OK) {
      return LinkError{reason_of(error), "certificate of " + name + ": " + X509_verify_cert_error_string(error)};
    }
    const auto id = node_of(*leaf);
    if (!id) {
      return LinkError{
          Refusal::bad_certificate,
          "certificate of " + name + " names no node (URI suture://node/<id>; make one with `suture pki node`)"};
    }
    return Identity{*id, name};
  }

 private:
  StorePtr store_;  // read only from here on; X509_STORE is thread-safe for look-ups
};

}  // namespace

Result<std::shared_ptr<const TlsVerifier>> TlsVerifier::create(const std::string& ca_pem) {
  const auto certificates = parse_pem(ca_pem);
  if (certificates.empty()) return Error{"the CA file holds no certificate", 0};
  StorePtr store(X509_STORE_new());
  for (const auto& certificate : certificates) X509_STORE_add_cert(store.get(), certificate.get());
  return std::shared_ptr<const TlsVerifier>(std::make_shared<OpensslVerifier>(std::move(store)));
}

Result<std::string> read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return errno_error("cannot read " + path);
  std::ostringstream text;
  text << in.rdbuf();
  // Named, because Error could be made of a string as well.
  return Result<std::string>(boost::system::in_place_value, text.str());
}

}  // namespace suture::statesync
