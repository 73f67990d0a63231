#include <suture/ids.hpp>

#include <set>

#include <gtest/gtest.h>

namespace suture {
namespace {

using boost::asio::ip::make_address;
using boost::asio::ip::tcp;

TEST(FlowKey, BothFamiliesRoundTrip) {
  for (const auto& [client, vip] :
       {std::pair{"192.0.2.7", "203.0.113.10"}, std::pair{"2001:db8::7", "2001:db8:113::10"}}) {
    const auto key = make_flow_key({make_address(client), 4242}, {make_address(vip), 80});
    EXPECT_EQ(client_of(key), tcp::endpoint(make_address(client), 4242));
    EXPECT_EQ(vip_of(key), tcp::endpoint(make_address(vip), 80));
  }
  EXPECT_EQ(to_string(make_flow_key({make_address("192.0.2.7"), 4242}, {make_address("203.0.113.10"), 80})),
            "192.0.2.7:4242>203.0.113.10:80");
}

TEST(FlowKey, HashSpreadsNeighbours) {
  std::set<std::size_t> seen;
  for (unsigned short port = 1; port <= 5000; ++port) {
    seen.insert(FlowKeyHash{}(make_flow_key({make_address("192.0.2.7"), port}, {make_address("203.0.113.10"), 80})) %
                65536);
  }
  EXPECT_GT(seen.size(), 4600U);
}

}  // namespace
}  // namespace suture
