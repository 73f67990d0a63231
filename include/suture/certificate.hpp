// X.509 node certificates: who a certificate says it is, and RAII over OpenSSL's objects. A node's id is bound by a URI
// in subjectAltName, suture://node/<id>; statesync (handshake) and proxy/pki (files) read it by the same code.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <suture/ids.hpp>

namespace suture {

template <auto Free>
struct Freer {
  template <class T>
  void operator()(T* p) const {
    Free(p);
  }
};
using BioPtr = std::unique_ptr<BIO, Freer<BIO_free_all>>;
using KeyPtr = std::unique_ptr<EVP_PKEY, Freer<EVP_PKEY_free>>;
using CertPtr = std::unique_ptr<X509, Freer<X509_free>>;
using ExtensionPtr = std::unique_ptr<X509_EXTENSION, Freer<X509_EXTENSION_free>>;
using NamesPtr = std::unique_ptr<GENERAL_NAMES, Freer<GENERAL_NAMES_free>>;
using StorePtr = std::unique_ptr<X509_STORE, Freer<X509_STORE_free>>;
using StoreContextPtr = std::unique_ptr<X509_STORE_CTX, Freer<X509_STORE_CTX_free>>;

std::string node_uri(NodeId id);  // "suture://node/7"
// Without sign, leading zero or anything else; 1 to 255.
std::optional<NodeId> node_id_from_uri(std::string_view uri);

// The id of a node certificate. None, or two different ones (it would let one node speak for another): absent.
std::optional<NodeId> node_of(const X509& cert);
std::string common_name(const X509& cert);  // of the subject; empty: none

}  // namespace suture
