#include "proxy/privileges.hpp"

#include <cstdint>
#include <fstream>
#include <utility>

#include <linux/capability.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace suture {
namespace {

std::uint64_t effective_capabilities() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("CapEff:")) return std::stoull(line.substr(7), nullptr, 16);
  }
  return 0;
}

// Those that suture uses all the time. CAP_DAC_OVERRIDE is not one of them: datapath/raised_capability.hpp.
constexpr int kUsed[] = {CAP_NET_ADMIN, CAP_NET_RAW,   CAP_NET_BIND_SERVICE, CAP_BPF,
                         CAP_PERFMON,   CAP_SYS_ADMIN, CAP_SYS_NICE};

}  // namespace

void raise_capabilities() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3] = {};
  if (::syscall(SYS_capget, &header, sets) != 0) return;
  for (const int capability : kUsed) {
    auto& set = sets[CAP_TO_INDEX(capability)];
    set.effective |= set.permitted & CAP_TO_MASK(capability);
  }
  (void)::syscall(SYS_capset, &header, sets);  // what it did not raise is missing below
}

Result<void> check_capabilities(bool privileged_ports) {
  const std::uint64_t have = effective_capabilities();
  const auto has = [have](int capability) { return (have >> capability & 1) != 0; };
  std::vector<const char*> missing;
  if (!has(CAP_NET_ADMIN)) missing.push_back("CAP_NET_ADMIN");
  if (!has(CAP_NET_RAW)) missing.push_back("CAP_NET_RAW");
  if (!has(CAP_SYS_ADMIN)) {
    if (!has(CAP_BPF)) missing.push_back("CAP_BPF");
    if (!has(CAP_PERFMON)) missing.push_back("CAP_PERFMON");
  }
  if (privileged_ports && !has(CAP_NET_BIND_SERVICE)) missing.push_back("CAP_NET_BIND_SERVICE");
  if (missing.empty()) return {};
  std::string names;
  for (const char* name : missing) names += (names.empty() ? "" : " ") + std::string(name);
  return Error{
      "missing capabilities: " + names + ". Run as root, or grant them: systemd `AmbientCapabilities=" + names +
      "`; Docker `cap_add` with the same names without CAP_ (an engine that does not know BPF and PERFMON takes "
      "SYS_ADMIN instead)"};
}

std::vector<std::string> set_limits() {
  std::vector<std::string> notes;
  const rlimit none{0, 0};
  if (::setrlimit(RLIMIT_CORE, &none) != 0) notes.emplace_back("core dumps could not be turned off");
  rlimit files{};
  if (::getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
    files.rlim_cur = files.rlim_max;
    if (::setrlimit(RLIMIT_NOFILE, &files) != 0) notes.emplace_back("the descriptor limit could not be raised");
  }
  const rlimit memlock{RLIM_INFINITY, RLIM_INFINITY};  // kernels before 5.11 charge BPF maps against it
  ::setrlimit(RLIMIT_MEMLOCK, &memlock);
  return notes;
}

void prefer_this_thread() {
  constexpr int kControlNice = -10;
  (void)::setpriority(PRIO_PROCESS, 0, kControlNice);  // of the calling thread only: setpriority(2), NOTES
}

}  // namespace suture
