// Certificates for tests, made with OpenSSL in the way of `suture pki`, and in ways it would never do.
#pragma once

#include <string>

namespace suture::statesync::test {

struct KeyPair {
  std::string cert, key;  // PEM
};
KeyPair make_ca(const std::string& name);
struct NodeCertificate {
  std::string name = "node";
  std::string uri;              // e.g. "suture://node/1"; empty: none
  std::string more_names = {};  // ",DNS:..."
  long not_before_s = -3600;    // relative to now
  long not_after_s = 3600;
  const char* extended_usage = "serverAuth,clientAuth";
};
KeyPair make_certificate(const KeyPair& ca, const NodeCertificate& what);

// A directory that is removed in the end.
class TempDir {
 public:
  TempDir();
  ~TempDir();
  std::string write(const std::string& name, const std::string& text) const;  // the path

 private:
  std::string path_;
};

}  // namespace suture::statesync::test
