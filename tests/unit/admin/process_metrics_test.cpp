#include <proxy/admin/process_metrics.hpp>

#include <ctime>
#include <map>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

namespace suture::admin {
namespace {

std::map<std::string, double> values(const MetricsRegistry& registry) {
  std::map<std::string, double> out;
  for (const auto& family : registry.collect()) out[family.name] = family.samples.at(0).value;
  return out;
}

TEST(ProcessMetrics, AreThisProcess) {
  MetricsRegistry registry;
  register_process_metrics(registry);
  const auto before = values(registry);
  EXPECT_EQ(before.at("suture_build_info"), 1);
  EXPECT_GT(before.at("process_cpu_seconds_total"), 0);
  EXPECT_GT(before.at("process_resident_memory_bytes"), 1e6);
  EXPECT_GT(before.at("process_virtual_memory_bytes"), before.at("process_resident_memory_bytes"));
  EXPECT_GE(before.at("process_threads"), 1);
  const double age = static_cast<double>(std::time(nullptr)) - before.at("process_start_time_seconds");
  EXPECT_GT(age, -3);
  EXPECT_LT(age, 300);
  const int fd = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  EXPECT_EQ(values(registry).at("process_open_fds"), before.at("process_open_fds") + 1);
  ::close(fd);
  EXPECT_NE(registry.prometheus_text().find("suture_build_info{version=\"" SUTURE_VERSION "\",revision=\"\"} 1\n"),
            std::string::npos);
}

}  // namespace
}  // namespace suture::admin
