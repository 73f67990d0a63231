#include <suture/metrics.hpp>

#include <gtest/gtest.h>

namespace suture {
namespace {

TEST(Metrics, SumsPerWorkerCountersAndSortsFamilies) {
  MetricsRegistry registry;
  Counter a, b;
  Gauge g;
  a.add(2);
  b.add(3);
  g.set(-7);
  registry.counter("suture_z_total", "Zs.", "kind=\"x\"", a);
  registry.counter("suture_z_total", "Zs.", "kind=\"x\"", b);
  registry.gauge("suture_a", "As.", "", g);
  EXPECT_EQ(registry.prometheus_text(),
            "# HELP suture_a As.\n# TYPE suture_a gauge\nsuture_a -7\n"
            "# HELP suture_z_total Zs.\n# TYPE suture_z_total counter\nsuture_z_total{kind=\"x\"} 5\n");
}

TEST(Metrics, CollectorsMayComeAndGo) {
  MetricsRegistry registry;
  registry.collector([] {
    return std::vector<MetricsRegistry::Family>{
        {"suture_peer_up", "Peers.", MetricsRegistry::Type::gauge, {{"suture_peer_up", "peer=\"pop2\"", 1}}}};
  });
  EXPECT_NE(registry.prometheus_text().find("suture_peer_up{peer=\"pop2\"} 1\n"), std::string::npos);
}

}  // namespace
}  // namespace suture
