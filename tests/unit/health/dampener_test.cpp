#include <proxy/health/dampener.hpp>

#include <string>

#include <gtest/gtest.h>

namespace suture {
namespace {

// Results as a string (+ success, - failure), and the state after each (u up, d down); capitals where it changed.
struct Row {
  std::uint32_t rise, fall;
  const char* results;
  const char* states;
};

TEST(Dampener, Table) {
  const Row rows[] = {
      {2, 3, "+", "U"},                    // the first result decides alone
      {2, 3, "-", "D"},                    //
      {2, 3, "+---", "UuuD"},              // fall in a row
      {2, 3, "+--+--+---", "UuuuuuuuuD"},  // a success in between starts over
      {2, 3, "-++", "DdU"},                // rise in a row
      {2, 3, "-+-+-++", "DdddddU"},        //
      {1, 1, "+-+-", "UDUD"},              //
      {3, 1, "+-++-+++", "UDdddddU"},      //
      {0, 0, "+-+", "UDU"},                // 0 counts as 1
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.results);
    Dampener dampener(row.rise, row.fall);
    EXPECT_EQ(dampener.state(), HealthState::unknown);
    std::string states;
    for (const char* r = row.results; *r != '\0'; ++r) {
      const bool changed = dampener.record(*r == '+');
      const bool up = dampener.state() == HealthState::up;
      states += changed ? (up ? 'U' : 'D') : (up ? 'u' : 'd');
    }
    EXPECT_EQ(states, row.states);
  }
}

}  // namespace
}  // namespace suture
