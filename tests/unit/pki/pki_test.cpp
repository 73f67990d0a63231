#include <proxy/pki/pki.hpp>

#include <filesystem>
#include <fstream>
#include <sstream>

#include <gtest/gtest.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>
#include <suture/certificate.hpp>

namespace suture::pki {
namespace {

using namespace std::chrono_literals;
namespace fs = std::filesystem;

std::string content(const std::string& file) {
  std::ifstream in(file);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

class PkiTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/suture-pki-XXXXXX";
    root_ = ::mkdtemp(name);
    dir_ = root_ + "/pki";
    ASSERT_TRUE(init_ca(dir_, valid_for_days(ca_days)));
  }
  void TearDown() override { fs::remove_all(root_); }

  KeyPairFiles issue(const std::string& name, unsigned id, Validity validity = valid_for_days(node_days)) {
    const NodeRequest request{name, NodeId{static_cast<std::uint8_t>(id)}, {}, validity};
    const auto files = issue_node(dir_, request);
    EXPECT_TRUE(files) << files.error().message;
    return files ? *files : KeyPairFiles{};
  }
  std::string failure(const KeyPairFiles& files, unsigned id) const {
    const auto info = check_node_certificate(files.cert_file, files.key_file, dir_ + "/ca.pem",
                                             NodeId{static_cast<std::uint8_t>(id)});
    return info ? "" : info.error().message;
  }

  std::string root_, dir_;
};

// One TLS 1.3 handshake over memory: does each end accept the other?
struct End {
  SSL_CTX* context;
  SSL* ssl = nullptr;
  End(const SSL_METHOD* method, const KeyPairFiles& own, const std::string& ca) : context(SSL_CTX_new(method)) {
    SSL_CTX_use_certificate_chain_file(context, own.cert_file.c_str());
    SSL_CTX_use_PrivateKey_file(context, own.key_file.c_str(), SSL_FILETYPE_PEM);
    SSL_CTX_load_verify_locations(context, ca.c_str(), nullptr);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
    ssl = SSL_new(context);
    SSL_set_bio(ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
  }
  ~End() {
    SSL_free(ssl);
    SSL_CTX_free(context);
  }
  void hand_over(End& to) {
    char data[16384];
    for (int n = 0; (n = BIO_read(SSL_get_wbio(ssl), data, sizeof data)) > 0;) BIO_write(SSL_get_rbio(to.ssl), data, n);
  }
};

bool handshake(const KeyPairFiles& client_files, const KeyPairFiles& server_files, const std::string& client_ca,
               const std::string& server_ca, const std::string& expected_host) {
  End client(TLS_client_method(), client_files, client_ca);
  End server(TLS_server_method(), server_files, server_ca);
  SSL_set1_host(client.ssl, expected_host.c_str());
  SSL_set_connect_state(client.ssl);
  SSL_set_accept_state(server.ssl);
  int client_done = 0, server_done = 0;
  for (int i = 0; i < 10 && !(client_done == 1 && server_done == 1); ++i) {
    client_done = SSL_do_handshake(client.ssl);
    client.hand_over(server);
    server_done = SSL_do_handshake(server.ssl);
    server.hand_over(client);
  }
  return client_done == 1 && server_done == 1;
}

TEST_F(PkiTest, KeysAreForTheirOwnerOnly) {
  const auto files = issue("pop1", 1);
  for (const auto& file : {dir_ + "/ca.key", files.key_file}) {
    struct stat info {};
    ASSERT_EQ(::stat(file.c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777U, 0600U) << file;
  }
  struct stat info {};
  ASSERT_EQ(::stat(dir_.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777U, 0700U);
}

TEST_F(PkiTest, CertificateNamesItsNode) {
  const auto info = certificate_info(issue("pop-7.example", 7).cert_file);
  ASSERT_TRUE(info) << info.error().message;
  EXPECT_EQ(info->name, "pop-7.example");
  EXPECT_EQ(info->node, NodeId{7});
  const auto left = info->not_after - std::chrono::system_clock::now();
  EXPECT_GT(left, 364 * 24h);
  EXPECT_LT(left, 366 * 24h);
  EXPECT_LT(info->not_before, std::chrono::system_clock::now() - 30min);  // clocks differ
}

TEST_F(PkiTest, TheCaIsNoNode) {
  const auto info = certificate_info(dir_ + "/ca.pem");
  ASSERT_TRUE(info);
  EXPECT_FALSE(info->node.has_value());
}

TEST_F(PkiTest, NodesAcceptEachOther) {
  const auto one = issue("pop1", 1), two = issue("pop2", 2);
  const std::string ca = dir_ + "/ca.pem";
  EXPECT_EQ(failure(one, 1), "");
  EXPECT_TRUE(handshake(one, two, ca, ca, node_dns_name(NodeId{2})));
  EXPECT_TRUE(handshake(one, two, ca, ca, "pop2"));
  EXPECT_FALSE(handshake(one, two, ca, ca, node_dns_name(NodeId{3})));
}

TEST_F(PkiTest, AnotherCaIsRefusedByBothEnds) {
  const auto one = issue("pop1", 1);
  const std::string other_dir = root_ + "/other/";  // a trailing slash is fine
  ASSERT_TRUE(init_ca(other_dir, valid_for_days(1)));
  const auto stranger = issue_node(root_ + "/other", {"pop2", NodeId{2}, {}, valid_for_days(1)});
  ASSERT_TRUE(stranger);
  const std::string ca = dir_ + "/ca.pem", other = root_ + "/other/ca.pem";
  EXPECT_FALSE(handshake(one, *stranger, ca, ca, "pop2"));        // the client refuses
  EXPECT_FALSE(handshake(one, *stranger, other, other, "pop2"));  // the server refuses
  EXPECT_TRUE(handshake(one, *stranger, other, ca, "pop2"));      // nothing else was wrong
  const auto info = check_node_certificate(stranger->cert_file, stranger->key_file, ca, NodeId{2});
  ASSERT_FALSE(info);
  EXPECT_NE(info.error().message.find("does not verify against"), std::string::npos) << info.error().message;
}

TEST_F(PkiTest, AddressesGoIn) {
  const auto files =
      issue_node(dir_, {"pop1",
                        NodeId{1},
                        {boost::asio::ip::make_address("198.18.0.1"), boost::asio::ip::make_address("fd00:5::1")},
                        valid_for_days(1)});
  ASSERT_TRUE(files) << files.error().message;
  BIO* bio = BIO_new_file(files->cert_file.c_str(), "r");
  X509* cert = PEM_read_bio_X509(bio, nullptr, nullptr, nullptr);
  EXPECT_EQ(X509_check_ip_asc(cert, "198.18.0.1", 0), 1);
  EXPECT_EQ(X509_check_ip_asc(cert, "fd00:5::1", 0), 1);
  EXPECT_EQ(X509_check_ip_asc(cert, "198.18.0.2", 0), 0);
  X509_free(cert);
  BIO_free(bio);
}

TEST_F(PkiTest, NothingIsOverwritten) {
  const auto files = issue("pop1", 1);
  const auto ca_key = content(dir_ + "/ca.key"), key = content(files.key_file);
  const auto again = init_ca(dir_, valid_for_days(1));
  ASSERT_FALSE(again);
  EXPECT_NE(again.error().message.find("never overwritten"), std::string::npos);
  const auto twice = issue_node(dir_, {"pop1", NodeId{2}, {}, valid_for_days(1)});
  ASSERT_FALSE(twice);
  EXPECT_NE(twice.error().message.find("pop1.key exists"), std::string::npos) << twice.error().message;
  EXPECT_EQ(content(dir_ + "/ca.key"), ca_key);
  EXPECT_EQ(content(files.key_file), key);
}

TEST_F(PkiTest, HalfAPairIsNotCompleted) {
  std::ofstream(dir_ + "/pop1.pem") << "mine";
  EXPECT_FALSE(issue_node(dir_, {"pop1", NodeId{1}, {}, valid_for_days(1)}));
  EXPECT_FALSE(fs::exists(dir_ + "/pop1.key"));
  EXPECT_EQ(content(dir_ + "/pop1.pem"), "mine");
}

TEST_F(PkiTest, BadNamesAndIds) {
  for (const char* name : {"", "../x", "a/b", ".hidden", "-x", "a b", "ca", "a\nb", "x,DNS:evil"}) {
    EXPECT_FALSE(issue_node(dir_, {name, NodeId{1}, {}, valid_for_days(1)})) << name;
  }
  EXPECT_FALSE(issue_node(dir_, {std::string(64, 'a'), NodeId{1}, {}, valid_for_days(1)}));
  EXPECT_FALSE(issue_node(dir_, {"pop0", NodeId{0}, {}, valid_for_days(1)}));
  EXPECT_FALSE(issue_node(root_ + "/none", {"pop1", NodeId{1}, {}, valid_for_days(1)}));
}

TEST_F(PkiTest, StartUpCheckSaysWhatIsWrong) {
  const auto one = issue("pop1", 1), two = issue("pop2", 2);
  EXPECT_NE(failure(one, 2).find("was issued for node 1, but node.id is 2"), std::string::npos) << failure(one, 2);
  EXPECT_NE(failure({one.cert_file, two.key_file}, 1).find("does not belong to"), std::string::npos);
  EXPECT_NE(failure({one.cert_file, root_ + "/none"}, 1).find("cannot read"), std::string::npos);
  EXPECT_NE(failure({one.key_file, one.key_file}, 1).find("no PEM certificate"), std::string::npos);
  EXPECT_NE(failure({one.cert_file, one.cert_file}, 1).find("no PEM private key"), std::string::npos);
  const KeyPairFiles ca{dir_ + "/ca.pem", dir_ + "/ca.key"};
  EXPECT_NE(failure(ca, 1), "");  // the CA is no node

  const auto now = std::chrono::system_clock::now();
  const auto old = issue("old", 3, {now - 48h, now - 24h});
  EXPECT_NE(failure(old, 3).find("expired at 20"), std::string::npos) << failure(old, 3);
  const auto early = issue("early", 4, {now + 24h, now + 48h});
  EXPECT_NE(failure(early, 4).find("valid only from"), std::string::npos) << failure(early, 4);
}

TEST(Pki, NodeUris) {
  EXPECT_EQ(node_id_from_uri(node_uri(NodeId{255})), NodeId{255});
  for (const char* bad :
       {"", "suture://node/", "suture://node/0", "suture://node/256", "suture://node/01", "suture://node/1/",
        "suture://node/-1", "suture://node/4294967297", "http://node/1", "suture://node/1 "}) {
    EXPECT_FALSE(node_id_from_uri(bad).has_value()) << bad;
  }
}

TEST(Pki, ExpiryMetric) {
  MetricsRegistry registry;
  register_expiry_metric(registry, std::chrono::system_clock::now() + 1h);
  const auto families = registry.collect();
  ASSERT_EQ(families.size(), 1U);
  EXPECT_EQ(families[0].name, "suture_certificate_expiry_seconds");
  EXPECT_NEAR(families[0].samples[0].value, 3600, 60);
}

}  // namespace
}  // namespace suture::pki
