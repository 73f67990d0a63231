#include <proxy/health/announcer.hpp>

#include <map>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace suture {
namespace {

using boost::asio::ip::make_address;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

struct FakeRoutes : AnnouncedRoutes {
  std::set<std::string> routes;
  std::map<std::string, int> failures;  // how often the next calls for this VIP fail
  int calls = 0;

  bool fails(const std::string& vip) {
    ++calls;
    auto& left = failures[vip];
    return left > 0 && left-- > 0;
  }
  bool blind = false;  // it cannot be asked what is there
  Result<bool> present(const boost::asio::ip::address& vip) override {
    if (blind) return Error{"Too many open files"};
    return routes.contains(vip.to_string());
  }
  Result<void> add(const boost::asio::ip::address& vip) override {
    if (fails(vip.to_string())) return Error{"Network is down"};
    routes.insert(vip.to_string());
    return {};
  }
  Result<void> remove(const boost::asio::ip::address& vip) override {
    if (fails(vip.to_string())) return Error{"Operation not permitted"};
    routes.erase(vip.to_string());
    return {};
  }
};

class AnnouncerTest : public ::testing::Test {
 protected:
  AnnouncerTest() { announcer_.register_metrics(metrics_); }

  static Announcer::Options options() {
    return {{make_address("203.0.113.10"), make_address("2001:db8:113::10")}, true, Millis(1)};
  }
  double metric(const std::string& name, const std::string& labels = "") const {
    for (const auto& family : metrics_.collect()) {
      for (const auto& sample : family.samples) {
        if (sample.name == name && sample.labels == labels) return sample.value;
      }
    }
    ADD_FAILURE() << "no metric " << name << '{' << labels << '}';
    return -1;
  }
  // While a route is wanted the timer never rests, so the loop does not end by itself.
  bool run_until(const std::function<bool()>& condition) {
    const auto end = Clock::now() + std::chrono::seconds(20);
    while (!condition()) {
      if (Clock::now() > end) return false;
      io_.run_one_for(std::chrono::milliseconds(100));
    }
    return true;
  }
  void make_ready() {
    announcer_.set_synchronised(true);
    announcer_.set_health(HealthState::up, "status 200");
  }

  boost::asio::io_context io_;
  FakeRoutes routes_;
  Announcer announcer_{io_, routes_, options()};
  MetricsRegistry metrics_;
};

TEST_F(AnnouncerTest, AnnouncesOnlyWhenAllThreeHold) {
  // Every combination, each reached from a fresh announcer.
  for (const bool synchronised : {false, true}) {
    for (const HealthState health : {HealthState::unknown, HealthState::up, HealthState::down}) {
      for (const bool draining : {false, true}) {
        FakeRoutes routes;
        Announcer announcer(io_, routes, options());
        announcer.set_synchronised(synchronised);
        announcer.set_health(health, "x");
        announcer.set_draining(draining);
        const bool expected = synchronised && health == HealthState::up && !draining;
        EXPECT_EQ(announcer.announced(), expected);
        EXPECT_EQ(announcer.wanted(), expected);
        EXPECT_EQ(routes.routes.size(), expected ? 2U : 0U);
        EXPECT_EQ(announcer.blockers().empty(), expected);
      }
    }
  }
}

TEST_F(AnnouncerTest, RepetitionsCostNothing) {
  make_ready();
  const int calls = routes_.calls;
  make_ready();
  make_ready();
  announcer_.set_draining(false);
  EXPECT_EQ(routes_.calls, calls);
  EXPECT_EQ(metric("suture_route_changes_total", "reason=\"ready\""), 1);
}

TEST_F(AnnouncerTest, WithdrawsAndCountsTheReason) {
  make_ready();
  announcer_.set_health(HealthState::down, "status 500");
  EXPECT_THAT(routes_.routes, IsEmpty());
  EXPECT_THAT(announcer_.blockers(), ElementsAre(HasSubstr("application down: status 500")));
  announcer_.set_health(HealthState::up, "status 200");
  announcer_.set_draining(true);
  EXPECT_THAT(announcer_.blockers(), ElementsAre("draining"));
  announcer_.set_draining(false);
  announcer_.set_synchronised(false);
  EXPECT_THAT(routes_.routes, IsEmpty());
  EXPECT_EQ(metric("suture_route_changes_total", "reason=\"ready\""), 3);
  EXPECT_EQ(metric("suture_route_changes_total", "reason=\"unhealthy\""), 1);
  EXPECT_EQ(metric("suture_route_changes_total", "reason=\"draining\""), 1);
  EXPECT_EQ(metric("suture_route_changes_total", "reason=\"unsynchronised\""), 1);
  EXPECT_EQ(metric("suture_route_announced"), 0);
}

TEST_F(AnnouncerTest, AFailingAddIsRetriedAlone) {
  routes_.failures["203.0.113.10"] = 3;
  make_ready();
  EXPECT_THAT(routes_.routes, ElementsAre("2001:db8:113::10"));  // the other one stands
  EXPECT_FALSE(announcer_.announced());
  EXPECT_EQ(metric("suture_route_announced"), 0);
  EXPECT_THAT(announcer_.blockers(), ElementsAre(HasSubstr("route of 203.0.113.10 not added: Network is down")));
  EXPECT_EQ(routes_.calls, 2);
  EXPECT_TRUE(run_until([&] { return announcer_.announced(); }));
  EXPECT_EQ(routes_.calls, 5);
  EXPECT_EQ(metric("suture_route_errors_total"), 3);
  EXPECT_EQ(metric("suture_route_announced"), 1);
  EXPECT_THAT(announcer_.blockers(), IsEmpty());
}

TEST_F(AnnouncerTest, AFailingRemoveIsRetriedToo) {
  make_ready();
  routes_.failures["203.0.113.10"] = 1;
  announcer_.set_draining(true);
  EXPECT_THAT(routes_.routes, ElementsAre("203.0.113.10"));
  io_.run();
  EXPECT_THAT(routes_.routes, IsEmpty());
}

TEST_F(AnnouncerTest, ARetryFollowsTheLatestWish) {
  routes_.failures["203.0.113.10"] = 1;
  make_ready();
  announcer_.set_draining(true);  // before the retry
  io_.run();
  EXPECT_THAT(routes_.routes, IsEmpty());
  EXPECT_FALSE(announcer_.announced());
}

TEST_F(AnnouncerTest, ARouteThatSomebodyRemovedComesBack) {
  make_ready();
  const int calls = routes_.calls;
  routes_.routes.erase("203.0.113.10");
  EXPECT_TRUE(run_until([&] { return routes_.routes.size() == 2; }));
  EXPECT_EQ(routes_.calls, calls + 1) << "the one that stood is left alone";
  EXPECT_EQ(metric("suture_route_restored_total"), 1);
  EXPECT_EQ(metric("suture_route_errors_total"), 0);
  routes_.routes.clear();
  routes_.failures["203.0.113.10"] = 1;  // its device is down for a while
  EXPECT_TRUE(run_until([&] { return metric("suture_route_errors_total") == 1; }));
  EXPECT_FALSE(announcer_.announced());
  EXPECT_EQ(metric("suture_route_announced"), 0);
  EXPECT_THAT(announcer_.blockers(), ElementsAre(HasSubstr("route of 203.0.113.10 not added")));
  EXPECT_TRUE(run_until([&] { return announcer_.announced(); }));
  EXPECT_THAT(announcer_.blockers(), IsEmpty());
  EXPECT_EQ(metric("suture_route_restored_total"), 3);
  announcer_.set_draining(true);
  routes_.routes.insert("203.0.113.10");  // an operator's; whatever it is, the timer rests
  io_.run();
  EXPECT_EQ(metric("suture_route_restored_total"), 3);
}

TEST_F(AnnouncerTest, WhatCannotBeLookedAtIsLeftAlone) {
  make_ready();
  routes_.blind = true;
  const int calls = routes_.calls;
  bool later = false;
  boost::asio::steady_timer timer(io_, std::chrono::milliseconds(20));
  timer.async_wait([&](const boost::system::error_code&) { later = true; });
  EXPECT_TRUE(run_until([&] { return later; }));
  EXPECT_EQ(routes_.calls, calls);
  EXPECT_TRUE(announcer_.announced());
}

TEST_F(AnnouncerTest, InterfacesWithoutTheirPrograms) {
  make_ready();
  announcer_.set_interfaces(true, {"eth1: does not exist"});
  EXPECT_TRUE(announcer_.announced()) << "another one serves";
  EXPECT_THAT(announcer_.blockers(), ElementsAre("interface eth1: does not exist"));
  announcer_.set_interfaces(false, {"eth0: does not exist", "eth1: does not exist"});
  EXPECT_FALSE(announcer_.announced());
  EXPECT_FALSE(announcer_.wanted());
  EXPECT_THAT(routes_.routes, IsEmpty());
  EXPECT_EQ(announcer_.blockers().size(), 2U);
  EXPECT_EQ(metric("suture_route_changes_total", "reason=\"no_interface\""), 1);
  announcer_.set_interfaces(true, {});
  EXPECT_TRUE(announcer_.announced());
  EXPECT_THAT(announcer_.blockers(), IsEmpty());
}

TEST_F(AnnouncerTest, DisabledTouchesNoRoute) {
  FakeRoutes routes;
  auto disabled = options();
  disabled.enabled = false;
  Announcer announcer(io_, routes, disabled);
  announcer.set_synchronised(true);
  announcer.set_health(HealthState::up, "x");
  EXPECT_TRUE(announcer.announced());
  announcer.set_draining(true);
  EXPECT_FALSE(announcer.announced());
  EXPECT_EQ(routes.calls, 0);
}

}  // namespace
}  // namespace suture
