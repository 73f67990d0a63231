#include <gtest/gtest.h>

#include <statesync/tls_identity.hpp>

#include "test_pki.hpp"

namespace suture::statesync::test {
namespace {

class TlsIdentity : public ::testing::Test {
 protected:
  KeyPair ca = make_ca("good CA");
  std::shared_ptr<const TlsVerifier> verifier = *TlsVerifier::create(ca.cert);

  Refusal reason(const NodeCertificate& what, bool is_server = true) const {
    const auto outcome = verifier->verify(make_certificate(ca, what).cert, is_server);
    return outcome ? Refusal::count_ : outcome.error().reason;
  }
};

TEST_F(TlsIdentity, proves_the_node_id) {
  const auto outcome = verifier->verify(make_certificate(ca, {.name = "ams", .uri = "suture://node/200"}).cert, true);
  ASSERT_TRUE(outcome);
  EXPECT_EQ(outcome->id, NodeId{200});
  EXPECT_EQ(outcome->name, "ams");
}

TEST_F(TlsIdentity, refuses_what_names_no_node) {
  for (const char* uri : {"", "suture://node/", "suture://node/0", "suture://node/256", "suture://node/1x",
                          "https://node/1", "suture://node/1,URI:suture://node/2"}) {
    EXPECT_EQ(reason({.uri = uri}), Refusal::bad_certificate) << uri;
  }
}

TEST_F(TlsIdentity, tells_expired_from_wrong_ca_from_wrong_purpose) {
  EXPECT_EQ(reason({.uri = "suture://node/1", .not_before_s = -7200, .not_after_s = -3600}), Refusal::expired);
  EXPECT_EQ(reason({.uri = "suture://node/1", .not_before_s = 3600, .not_after_s = 7200}), Refusal::expired);
  EXPECT_EQ(reason({.uri = "suture://node/1", .extended_usage = "clientAuth"}), Refusal::bad_certificate);
  EXPECT_EQ(reason({.uri = "suture://node/1", .extended_usage = "clientAuth"}, false), Refusal::count_);
  const auto other = make_certificate(make_ca("other CA"), {.uri = "suture://node/1"});
  EXPECT_EQ(verifier->verify(other.cert, true).error().reason, Refusal::wrong_ca);
  // Same name of the CA, another key.
  const auto forged = make_certificate(make_ca("good CA"), {.uri = "suture://node/1"});
  EXPECT_FALSE(verifier->verify(forged.cert, true));
}

TEST_F(TlsIdentity, refuses_garbage_and_nothing) {
  EXPECT_EQ(verifier->verify("", true).error().reason, Refusal::bad_certificate);
  EXPECT_EQ(verifier->verify("-----BEGIN CERTIFICATE-----\nAAAA\n", true).error().reason, Refusal::bad_certificate);
  EXPECT_FALSE(TlsVerifier::create("no certificate"));
}

}  // namespace
}  // namespace suture::statesync::test
