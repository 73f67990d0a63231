// A directory with certificates of node 1, and the smallest configuration that loads.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <string>

#include <gtest/gtest.h>

#include <proxy/pki/pki.hpp>

namespace suture::config {

class ConfigTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    char name[] = "/tmp/suture-config-XXXXXX";
    dir() = ::mkdtemp(name);
    ASSERT_TRUE(pki::init_ca(dir(), pki::valid_for_days(1)));
    ASSERT_TRUE(pki::issue_node(dir(), {"pop1", NodeId{1}, {}, pki::valid_for_days(1)}));
    ::setenv("SUTURE_PKI", dir().c_str(), 1);
  }
  static void TearDownTestSuite() {
    ::unsetenv("SUTURE_PKI");
    std::filesystem::remove_all(dir());
  }
  static std::string& dir() {
    static std::string path;
    return path;
  }
  // Replaces the one place where `from` stands.
  static std::string with(std::string text, const std::string& from, const std::string& to) {
    const auto at = text.find(from);
    if (at == std::string::npos) {
      ADD_FAILURE() << "no '" << from << "' in the base text";
      return text;
    }
    return text.replace(at, from.size(), to);
  }

  // Line numbers below count from `node:` = 1.
  static constexpr const char* base =
      "node:\n"                                // 1
      "  id: 1\n"                              // 2
      "  underlay: [198.18.0.1]\n"             // 3
      "  interfaces: [eth0]\n"                 // 4
      "vips: [203.0.113.10]\n"                 // 5
      "listeners:\n"                           // 6
      "  - port: 80\n"                         // 7
      "    mode: http\n"                       // 8
      "    upstream: 127.0.0.1:8080\n"         // 9
      "peers:\n"                               // 10
      "  - id: 2\n"                            // 11
      "    underlay: 198.18.0.2\n"             // 12
      "    statesync: 198.18.0.2:7100\n"       // 13
      "statesync:\n"                           // 14
      "  listen: 198.18.0.1:7100\n"            // 15
      "  cert_file: ${SUTURE_PKI}/pop1.pem\n"  // 16
      "  key_file: ${SUTURE_PKI}/pop1.key\n"   // 17
      "  ca_file: ${SUTURE_PKI}/ca.pem\n";     // 18
};

}  // namespace suture::config
