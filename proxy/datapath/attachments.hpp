// Which programs are attached where: the tunnel's at the VXLAN device, the ladder and the egress rules at each access
// interface. Attached once at the start, looked after from then on: other programs remove qdiscs, interfaces vanish and
// come back under another index.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <suture/metrics.hpp>
#include <suture/result.hpp>

namespace suture::datapath {

struct Link;

// Of the access interfaces, after a look.
struct AccessState {
  bool any = true;                   // one of them has its programs, or none is configured
  std::vector<std::string> missing;  // "eth1: does not exist", ...: those that have not
  bool operator==(const AccessState&) const = default;
};

class Attachments {
 public:
  // Descriptors; their owner outlives this.
  struct Programs {
    int tunnel_ingress = -1, ingress = -1, ingress_l3 = -1, egress = -1, egress_l3 = -1;
  };
  explicit Attachments(Programs programs) : programs_(programs) {}
  Attachments(const Attachments&) = delete;
  Attachments& operator=(const Attachments&) = delete;

  // All interfaces are looked up before the first is touched. On an error whatever this call attached is detached
  // again, but for filters that took the place of a former process's: those keep its sockets silent.
  Result<void> attach(const std::vector<std::string>& interfaces, unsigned tunnel_ifindex, unsigned tun_ifindex);
  // Attaches what is missing, counted and logged. An interface that cannot be looked at keeps its last verdict.
  AccessState restore(unsigned tunnel_ifindex);
  // Removes the programs, and the clsact qdiscs that this process or a former one had to add and nobody else uses.
  Result<void> detach();

  const Counter& restored() const { return restored_; }

 private:
  struct Device {
    std::string name;
    unsigned ifindex = 0;
    int ingress = -1, egress = -1;  // programs; egress -1: none
    bool owns_clsact = false;
    bool replaced_former = false;  // a former process's filter was there
    std::string problem{};         // why it has not its programs; empty: it has
  };
  Device device_of(const Link& link) const;
  static Result<void> attach_to(Device& device);
  static bool has_its_programs(const Device& device);
  static Result<void> detach_from(const Device& device);
  void look_after(Device& device);

  Programs programs_;
  std::vector<Device> access_;
  std::vector<Device> renamed_;  // still have our programs, under a name that is not configured
  Device tunnel_;
  Counter restored_;
};

}  // namespace suture::datapath
