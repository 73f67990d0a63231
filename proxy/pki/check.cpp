#include <proxy/pki/x509.hpp>

#include <ctime>

#include <openssl/err.h>
#include <openssl/x509_vfy.h>

namespace suture::pki {
namespace {

std::string utc(WallTime time) {
  const std::time_t seconds = std::chrono::system_clock::to_time_t(time);
  std::tm parts{};
  ::gmtime_r(&seconds, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

// The chain alone: validity is judged apart, with words of our own. `issuer`: the CA certificate that it ends at.
Result<void> verify_chain(X509& cert, const std::vector<CertPtr>& cas, int purpose, const std::string& what,
                          CertPtr& issuer) {
  const StorePtr store(X509_STORE_new());
  const StoreContextPtr context(X509_STORE_CTX_new());
  bool added = store && context;
  for (const auto& ca : cas) added = added && X509_STORE_add_cert(store.get(), ca.get()) == 1;
  if (!added || X509_STORE_CTX_init(context.get(), store.get(), &cert, nullptr) != 1) {
    return openssl_error("cannot set up the verification of " + what);
  }
  X509_VERIFY_PARAM* parameters = X509_STORE_CTX_get0_param(context.get());
  X509_VERIFY_PARAM_set_flags(parameters, X509_V_FLAG_NO_CHECK_TIME);
  X509_VERIFY_PARAM_set_purpose(parameters, purpose);
  if (X509_verify_cert(context.get()) == 1) {
    const auto* chain = X509_STORE_CTX_get0_chain(context.get());
    issuer.reset(sk_X509_value(chain, sk_X509_num(chain) - 1));
    X509_up_ref(issuer.get());
    return {};
  }
  const std::string why = X509_verify_cert_error_string(X509_STORE_CTX_get_error(context.get()));
  ERR_clear_error();
  return Error{what + ": " + why};
}

Result<void> check_validity(const CertificateInfo& info, const std::string& file, const char* renewal, WallTime now) {
  if (now > info.not_after) return Error{file + " expired at " + utc(info.not_after) + "; " + renewal};
  if (now < info.not_before) {
    return Error{file + " is valid only from " + utc(info.not_before) + "; is this host's clock right?"};
  }
  return {};
}

}  // namespace

Result<CertificateInfo> check_node_certificate(const std::string& cert_file, const std::string& key_file,
                                               const std::string& ca_file, NodeId id, WallTime now) {
  const auto cert = read_certificate(cert_file);
  if (!cert) return cert.error();
  const auto key = read_key(key_file);
  if (!key) return key.error();
  const auto cas = read_certificates(ca_file);
  if (!cas) return cas.error();

  if (X509_check_private_key(cert->get(), key->get()) != 1) {
    ERR_clear_error();
    return Error{"the key in " + key_file + " does not belong to the certificate in " + cert_file +
                 "; wanted both files of one `suture pki node`"};
  }
  CertPtr issuer;
  for (const int purpose : {X509_PURPOSE_SSL_SERVER, X509_PURPOSE_SSL_CLIENT}) {
    const auto chain = verify_chain(**cert, *cas, purpose,
                                    cert_file + " does not verify against " + ca_file +
                                        " (wanted: issued by this CA, suture pki node DIR NAME " +
                                        std::to_string(to_int(id)) + " in its directory)",
                                    issuer);
    if (!chain) return chain.error();
  }
  auto info = describe(**cert, cert_file);
  if (!info) return info;
  if (!info->node) {
    return Error{cert_file + " names no node (no subjectAltName URI " + node_uri(id) +
                 "); make one with: suture pki node DIR NAME " + std::to_string(to_int(id))};
  }
  if (*info->node != id) {
    return Error{cert_file + " was issued for node " + std::to_string(to_int(*info->node)) + ", but node.id is " +
                 std::to_string(to_int(id)) + "; wanted that node's files, or its id here"};
  }
  const auto own = check_validity(*info, cert_file, "issue a new one with suture pki node", now);
  if (!own) return own.error();
  const auto authority = describe(*issuer, ca_file);
  if (!authority) return authority.error();
  const auto root = check_validity(*authority, ca_file, "a new CA and new node certificates are needed", now);
  if (!root) return root.error();
  return info;
}

void register_expiry_metric(MetricsRegistry& registry, WallTime not_after) {
  registry.computed(
      "suture_certificate_expiry_seconds", "Time until the node certificate expires; negative once it has.",
      MetricsRegistry::Type::gauge, "",
      [not_after] { return std::chrono::duration<double>(not_after - std::chrono::system_clock::now()).count(); });
}

}  // namespace suture::pki
