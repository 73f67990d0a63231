#include "proxy/datapath/attachments.hpp"

#include <net/if.h>

#include <bpf/bpf.h>

#include <utility>

#include <suture/log.hpp>

#include "proxy/datapath/link.hpp"
#include "proxy/datapath/packet_filter.hpp"

namespace suture::datapath {
namespace {

std::uint32_t id_of(int program_fd) {
  bpf_prog_info info{};
  __u32 bytes = sizeof info;
  return bpf_obj_get_info_by_fd(program_fd, &info, &bytes) == 0 ? info.id : 0;
}

}  // namespace

Attachments::Device Attachments::device_of(const Link& link) const {
  const bool l2 = link.has_ethernet_header();
  Device device;
  device.name = link.name;
  device.ifindex = link.ifindex;
  device.ingress = l2 ? programs_.ingress : programs_.ingress_l3;
  device.egress = l2 ? programs_.egress : programs_.egress_l3;
  return device;
}

// Egress first: from then on no FIN or RST of a stray leaves.
Result<void> Attachments::attach_to(Device& device) {
  device.replaced_former =
      attached_program(device.ifindex, TcSide::ingress) != 0 || attached_program(device.ifindex, TcSide::egress) != 0;
  const auto owns = prepare_clsact(device.ifindex, device.name);
  if (!owns) return owns.error();
  device.owns_clsact = *owns;
  if (device.egress >= 0) {
    if (auto done = attach_program(device.ifindex, device.name, TcSide::egress, device.egress, *owns); !done)
      return done;
  }
  return attach_program(device.ifindex, device.name, TcSide::ingress, device.ingress, *owns);
}

Result<void> Attachments::attach(const std::vector<std::string>& interfaces, unsigned tunnel_ifindex,
                                 unsigned tun_ifindex) {
  char tunnel[IF_NAMESIZE] = {};
  if (::if_indextoname(tunnel_ifindex, tunnel) == nullptr) return errno_error("VXLAN device");
  std::vector<Device> wanted;
  for (const std::string& name : interfaces) {
    const auto link = find_link(name);
    if (!link) return link.error();
    if (!link->has_value())
      return Error{
          "interface \"" + name +
          "\" does not exist in this network namespace: correct node.interfaces (ip -br link shows what exists)"};
    // User space writes packets into the TUN device, and nodes into the VXLAN device, that must not meet the ladder
    // again.
    if ((*link)->ifindex == tun_ifindex || (*link)->ifindex == tunnel_ifindex)
      return Error{"interface \"" + name + "\" is Suture's own device: take it out of node.interfaces"};
    wanted.push_back(device_of(**link));
  }
  tunnel_.name = tunnel;
  tunnel_.ifindex = tunnel_ifindex;
  tunnel_.ingress = programs_.tunnel_ingress;
  auto done = attach_to(tunnel_);
  for (Device& device : wanted) {
    if (!done) break;
    access_.push_back(std::move(device));  // before it is touched: half attached is attached
    done = attach_to(access_.back());
    if (done) log::info("steering_attached", {{"interface", access_.back().name}});
  }
  if (done) return {};
  for (const Device& device : access_)
    if (!device.replaced_former) (void)detach_from(device);
  if (!tunnel_.replaced_former) (void)detach_from(tunnel_);
  access_.clear();
  tunnel_ = {};
  return done;
}

bool Attachments::has_its_programs(const Device& device) {
  const auto has = [&](TcSide side, int program_fd) {
    return program_fd < 0 || attached_program(device.ifindex, side) == id_of(program_fd);
  };
  return has(TcSide::egress, device.egress) && has(TcSide::ingress, device.ingress);
}

// Of a device that exists.
void Attachments::look_after(Device& device) {
  if (has_its_programs(device)) {
    device.problem.clear();
    return;
  }
  if (auto done = attach_to(device); !done) {
    if (std::exchange(device.problem, done.error().message) != device.problem)
      log::error("filters_not_restored", {{"interface", device.name}, {"reason", device.problem}});
    return;
  }
  device.problem.clear();
  restored_.add();
  log::warn("filters_restored", {{"interface", device.name}, {"reason", "somebody removed or replaced them"}});
}

AccessState Attachments::restore(unsigned tunnel_ifindex) {
  tunnel_.ifindex = tunnel_ifindex;
  look_after(tunnel_);
  AccessState state;
  state.any = access_.empty();
  for (Device& device : access_) {
    const auto link = find_link(device.name);
    if (link && !*link) {
      if (std::exchange(device.problem, "does not exist") != device.problem)
        log::error("interface_vanished", {{"interface", device.name}});
    } else if (link) {
      if ((*link)->ifindex != device.ifindex) {
        char other[IF_NAMESIZE] = {};
        if (::if_indextoname(device.ifindex, other) != nullptr) {
          renamed_.push_back(device);
          renamed_.back().name = other;
        }
        std::string problem = std::move(device.problem);
        device = device_of(**link);
        device.problem = std::move(problem);
      }
      look_after(device);
    }
    if (device.problem.empty())
      state.any = true;
    else
      state.missing.push_back(device.name + ": " + device.problem);
  }
  return state;
}

Result<void> Attachments::detach_from(const Device& device) {
  Result<void> first;
  const auto keep_first = [&](const Result<void>& done) {
    if (!done && first) first = done;
  };
  keep_first(detach_program(device.ifindex, device.name, TcSide::ingress));
  if (device.egress >= 0) keep_first(detach_program(device.ifindex, device.name, TcSide::egress));
  if (device.owns_clsact) keep_first(remove_empty_clsact(device.ifindex, device.name));
  log::info("steering_detached", {{"interface", device.name}});
  return first;
}

Result<void> Attachments::detach() {
  Result<void> first;
  const auto detach = [&](const Device& device) {
    auto done = detach_from(device);
    if (!done && first) first = done;
  };
  if (tunnel_.ifindex != 0) detach(tunnel_);
  for (const Device& device : access_) detach(device);
  for (const Device& device : renamed_) detach(device);
  tunnel_ = {};
  access_.clear();
  renamed_.clear();
  return first;
}

}  // namespace suture::datapath
