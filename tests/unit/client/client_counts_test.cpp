#include <gtest/gtest.h>
#include <proxy/client/client_counts.hpp>

namespace suture {
namespace {

ClientCounts::Key key(const char* address, std::uint16_t port = 80) {
  return ClientCounts::key_of(boost::asio::ip::make_address(address), port);
}

TEST(ClientCounts, AClientIsAnIPv4AddressOrAnIPv6Network) {
  EXPECT_EQ(key("2001:db8:1:2::1"), key("2001:db8:1:2:ffff::9"));
  EXPECT_FALSE(key("2001:db8:1:2::1") == key("2001:db8:1:3::1"));
  EXPECT_FALSE(key("192.0.2.1") == key("192.0.2.2"));
  EXPECT_FALSE(key("192.0.2.1", 80) == key("192.0.2.1", 81));
  EXPECT_FALSE(key("0.0.0.0") == key("::"));
}

TEST(ClientCounts, GivesBackWhatWasTaken) {
  auto counts = std::make_shared<ClientCounts>();
  const auto one = key("192.0.2.1"), other = key("192.0.2.2");
  EXPECT_TRUE(counts->take(one, 2));
  {
    EXPECT_TRUE(counts->take(one, 2));
    ClientSlot slot(counts, one);
    ClientSlot moved(std::move(slot));
    ClientSlot assigned;
    assigned = std::move(moved);
    EXPECT_EQ(counts->count(one), 2U);
    EXPECT_FALSE(counts->take(one, 2));
    EXPECT_TRUE(counts->take(other, 2));
  }
  EXPECT_EQ(counts->count(one), 1U);
  EXPECT_TRUE(counts->take(one, 2));
  counts->give(other);
  EXPECT_EQ(counts->count(other), 0U);
}

}  // namespace
}  // namespace suture
