#include <proxy/admin/process_metrics.hpp>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <limits>
#include <sstream>
#include <string>
#include <vector>

#include <suture/version.hpp>

#include <dirent.h>
#include <sys/resource.h>
#include <unistd.h>

namespace suture::admin {
namespace {

// Field n (1-based, proc(5)) of /proc/self/stat. The second one, the name, may hold spaces and parentheses.
double stat_field(int n) {
  std::ifstream file("/proc/self/stat");
  std::string line;
  std::getline(file, line);
  const auto name_end = line.rfind(')');
  if (name_end == std::string::npos) return 0;
  std::istringstream rest(line.substr(name_end + 1));
  std::string field;
  for (int i = 3; i <= n; ++i) rest >> field;
  return std::strtod(field.c_str(), nullptr);
}

double cpu_seconds() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

double open_fds() {
  DIR* dir = ::opendir("/proc/self/fd");
  if (dir == nullptr) return 0;
  int count = -1;  // opendir's own
  while (const dirent* entry = ::readdir(dir)) count += entry->d_name[0] == '.' ? 0 : 1;
  ::closedir(dir);
  return count;
}

double max_fds() {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  return limit.rlim_cur == RLIM_INFINITY ? std::numeric_limits<double>::infinity()
                                         : static_cast<double>(limit.rlim_cur);
}

// Boot time + start since boot (field 22, clock ticks).
double start_time() {
  std::ifstream file("/proc/stat");
  std::string word;
  double boot = 0;
  while (file >> word) {
    if (word == "btime") {
      file >> boot;
      break;
    }
  }
  return boot + stat_field(22) / static_cast<double>(::sysconf(_SC_CLK_TCK));
}

}  // namespace

void register_process_metrics(MetricsRegistry& registry) {
  using Type = MetricsRegistry::Type;
  registry.computed("suture_build_info", "1, with version and revision as labels.", Type::gauge,
                    std::string("version=\"" SUTURE_VERSION "\",revision=\"") + revision() + "\"", [] { return 1.0; });
  registry.computed("process_cpu_seconds_total", "User and system CPU time spent.", Type::counter, "", cpu_seconds);
  registry.computed("process_resident_memory_bytes", "Resident memory.", Type::gauge, "",
                    [] { return stat_field(24) * static_cast<double>(::sysconf(_SC_PAGESIZE)); });
  registry.computed("process_virtual_memory_bytes", "Virtual memory.", Type::gauge, "", [] { return stat_field(23); });
  registry.computed("process_open_fds", "Open file descriptors.", Type::gauge, "", open_fds);
  registry.computed("process_max_fds", "Limit of open file descriptors.", Type::gauge, "", max_fds);
  registry.computed("process_threads", "Threads of the process.", Type::gauge, "", [] { return stat_field(20); });
  registry.computed("process_start_time_seconds", "Start of the process since the epoch.", Type::gauge, "",
                    [start = start_time()] { return start; });
}

}  // namespace suture::admin
