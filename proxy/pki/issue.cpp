#include <proxy/pki/x509.hpp>

#include <algorithm>
#include <cerrno>
#include <filesystem>

#include <fcntl.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <sys/stat.h>
#include <unistd.h>

namespace suture::pki {
namespace {

constexpr int x509_v3 = 2;  // RFC 5280 section 4.1.2.1: v3 is 2

Result<void> refuse_existing(const std::string& file) {
  if (::access(file.c_str(), F_OK) == 0) {
    return Error{file + " exists and is never overwritten; choose another name or directory, or move it away", EEXIST};
  }
  return {};
}

// O_EXCL: also nobody who creates the file between check and write is overwritten, and no symlink is followed.
Result<void> write_new_file(const std::string& file, BIO& content, mode_t mode) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(&content, &data);
  const int fd = ::open(file.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
  if (fd < 0) return errno_error("cannot create " + file);
  for (long done = 0; done < size;) {
    const ssize_t n = ::write(fd, data + done, static_cast<std::size_t>(size - done));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      const Error error = errno_error("cannot write " + file);
      ::close(fd);
      ::unlink(file.c_str());
      return error;
    }
    done += n;
  }
  // A key lost in a power cut after the certificate was handed out would be a nuisance for a year.
  const bool synced = ::fsync(fd) == 0;
  if (::close(fd) != 0 || !synced) return errno_error("cannot write " + file);
  return {};
}

Result<void> write_pair(const KeyPairFiles& files, EVP_PKEY& key, X509& cert) {
  const BioPtr key_text(BIO_new(BIO_s_mem()));
  const BioPtr cert_text(BIO_new(BIO_s_mem()));
  if (!key_text || !cert_text ||
      PEM_write_bio_PKCS8PrivateKey(key_text.get(), &key, nullptr, nullptr, 0, nullptr, nullptr) != 1 ||
      PEM_write_bio_X509(cert_text.get(), &cert) != 1) {
    return openssl_error("cannot encode the key pair");
  }
  if (auto written = write_new_file(files.key_file, *key_text, 0600); !written) return written;
  auto written = write_new_file(files.cert_file, *cert_text, 0644);
  if (!written) ::unlink(files.key_file.c_str());  // ours, made a moment ago: half a pair would block the next try
  return written;
}

bool add_extension(X509& cert, X509V3_CTX& context, int nid, const std::string& value) {
  const ExtensionPtr extension(X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str()));
  return extension && X509_add_ext(&cert, extension.get(), -1) == 1;
}

bool set_validity(X509& cert, const Validity& validity) {
  return ASN1_TIME_set(X509_getm_notBefore(&cert), std::chrono::system_clock::to_time_t(validity.not_before)) !=
             nullptr &&
         ASN1_TIME_set(X509_getm_notAfter(&cert), std::chrono::system_clock::to_time_t(validity.not_after)) != nullptr;
}

// 127 random bits, positive (RFC 5280 section 4.1.2.2 allows 20 octets).
bool set_random_serial(X509& cert) {
  unsigned char bytes[16];
  if (RAND_bytes(bytes, sizeof bytes) != 1) return false;
  bytes[0] = static_cast<unsigned char>((bytes[0] & 0x7fU) | 0x40U);
  const std::unique_ptr<BIGNUM, Freer<BN_free>> number(BN_bin2bn(bytes, sizeof bytes, nullptr));
  return number && BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(&cert)) != nullptr;
}

bool add_name(X509_NAME& name, const char* field, const std::string& value) {
  return X509_NAME_add_entry_by_txt(&name, field, MBSTRING_UTF8, reinterpret_cast<const unsigned char*>(value.data()),
                                    static_cast<int>(value.size()), -1, 0) == 1;
}

struct Extension {
  int nid;
  std::string value;
};

// `issuer` null: self-signed.
Result<CertPtr> make_certificate(const std::string& name, EVP_PKEY& key, const Validity& validity, X509* issuer,
                                 EVP_PKEY& signing_key, const std::vector<Extension>& extensions) {
  CertPtr cert(X509_new());
  const bool filled =
      cert && X509_set_version(cert.get(), x509_v3) == 1 && set_random_serial(*cert) && set_validity(*cert, validity) &&
      X509_set_pubkey(cert.get(), &key) == 1 && add_name(*X509_get_subject_name(cert.get()), "O", "Suture") &&
      add_name(*X509_get_subject_name(cert.get()), "CN", name) &&
      X509_set_issuer_name(cert.get(), X509_get_subject_name(issuer != nullptr ? issuer : cert.get())) == 1;
  if (!filled) return openssl_error("cannot make the certificate of " + name);
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer != nullptr ? issuer : cert.get(), cert.get(), nullptr, nullptr, 0);
  for (const auto& extension : extensions) {
    if (!add_extension(*cert, context, extension.nid, extension.value)) {
      return openssl_error("cannot add " + extension.value + " to the certificate of " + name);
    }
  }
  if (X509_sign(cert.get(), &signing_key, EVP_sha256()) == 0)
    return openssl_error("cannot sign the certificate of " + name);
  return cert;
}

bool valid_name(const std::string& name) {
  const auto alnum = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'); };
  return !name.empty() && name.size() <= 63 && alnum(name.front()) && name != "ca" &&
         std::all_of(name.begin(), name.end(), [&](char c) { return alnum(c) || c == '.' || c == '_' || c == '-'; });
}

Result<void> check_request(const NodeRequest& request) {
  if (!valid_name(request.name)) {
    return Error{"'" + request.name +
                 "' cannot name a node's files; wanted 1 to 63 letters, digits, '.', '_' or '-', "
                 "the first a letter or digit, and not 'ca'"};
  }
  if (to_int(request.id) == 0) return Error{"0 is no node id; wanted 1 to 255"};
  return {};
}

}  // namespace

Validity valid_for_days(unsigned days, WallTime now) {
  return {now - std::chrono::hours(1), now + std::chrono::hours(24) * days};
}

Result<KeyPairFiles> init_ca(const std::string& directory, const Validity& validity) {
  std::string dir = directory;
  while (dir.size() > 1 && dir.back() == '/') dir.pop_back();
  std::error_code error;
  if (!std::filesystem::is_directory(dir, error)) {
    const auto parent = std::filesystem::path(dir).parent_path();
    if (!parent.empty()) std::filesystem::create_directories(parent, error);
    if (::mkdir(dir.c_str(), 0700) != 0) return errno_error("cannot make the directory " + dir);
  }
  const KeyPairFiles files{dir + "/ca.pem", dir + "/ca.key"};
  for (const auto& file : {files.key_file, files.cert_file}) {
    if (auto fresh = refuse_existing(file); !fresh) return fresh.error();
  }
  const KeyPtr key(EVP_EC_gen("P-256"));
  if (!key) return openssl_error("cannot make a P-256 key");
  const auto cert = make_certificate("Suture cluster CA", *key, validity, nullptr, *key,
                                     {{NID_basic_constraints, "critical,CA:TRUE,pathlen:0"},
                                      {NID_key_usage, "critical,keyCertSign,cRLSign"},
                                      {NID_subject_key_identifier, "hash"}});
  if (!cert) return cert.error();
  if (auto written = write_pair(files, *key, **cert); !written) return written.error();
  return files;
}

Result<KeyPairFiles> issue_node(const std::string& dir, const NodeRequest& request) {
  if (auto valid = check_request(request); !valid) return valid.error();
  const KeyPairFiles files{dir + '/' + request.name + ".pem", dir + '/' + request.name + ".key"};
  for (const auto& file : {files.key_file, files.cert_file}) {
    if (auto fresh = refuse_existing(file); !fresh) return fresh.error();
  }
  const auto ca = read_certificate(dir + "/ca.pem");
  if (!ca) return Error{ca.error().message + "; is this the directory of suture pki init?", ca.error().errno_value};
  const auto ca_key = read_key(dir + "/ca.key");
  if (!ca_key) return ca_key.error();
  if (X509_check_private_key(ca->get(), ca_key->get()) != 1) {
    ERR_clear_error();
    return Error{dir + "/ca.key does not belong to " + dir + "/ca.pem"};
  }
  const KeyPtr key(EVP_EC_gen("P-256"));
  if (!key) return openssl_error("cannot make a P-256 key");
  std::string names = "URI:" + node_uri(request.id) + ",DNS:" + request.name + ",DNS:" + node_dns_name(request.id);
  for (const auto& address : request.addresses) names += ",IP:" + address.to_string();
  const auto cert = make_certificate(request.name, *key, request.validity, ca->get(), **ca_key,
                                     {{NID_basic_constraints, "critical,CA:FALSE"},
                                      {NID_key_usage, "critical,digitalSignature"},
                                      {NID_ext_key_usage, "serverAuth,clientAuth"},
                                      {NID_subject_alt_name, names},
                                      {NID_subject_key_identifier, "hash"},
                                      {NID_authority_key_identifier, "keyid"}});
  if (!cert) return cert.error();
  if (auto written = write_pair(files, *key, **cert); !written) return written.error();
  return files;
}

}  // namespace suture::pki
