#include "proxy/datapath/packet_filter.hpp"

#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>

#include <bpf/libbpf.h>

#include <cerrno>

#include "proxy/datapath/netlink.hpp"

namespace suture::datapath {
namespace {

// The handle says whose the clsact qdisc is, for the process that comes after us.
constexpr std::uint32_t kHandle = 0x5375;           // somebody else's
constexpr std::uint32_t kHandleOwnClsact = 0x5376;  // Suture's
constexpr std::uint32_t kPriority = 0x5375;  // late: filters of others, which have low numbers, see the packet first

bpf_tc_hook hook_of(unsigned ifindex, bpf_tc_attach_point point) {
  bpf_tc_hook hook{};
  hook.sz = sizeof hook;
  hook.ifindex = static_cast<int>(ifindex);
  hook.attach_point = point;
  return hook;
}

bpf_tc_attach_point point_of(TcSide side) {
  return side == TcSide::ingress ? BPF_TC_INGRESS : BPF_TC_EGRESS;
}

bpf_tc_opts options_of(std::uint32_t handle) {
  bpf_tc_opts options{};
  options.sz = sizeof options;
  options.handle = handle;
  options.priority = kPriority;
  return options;
}

// The id of the program in that filter; 0: there is none, or it is not to be learnt.
std::uint32_t query(unsigned ifindex, TcSide side, std::uint32_t handle) {
  const bpf_tc_hook hook = hook_of(ifindex, point_of(side));
  bpf_tc_opts options = options_of(handle);
  return bpf_tc_query(&hook, &options) == 0 ? options.prog_id : 0;
}

Error tc_error(const std::string& what, int code) {
  errno = -code;
  return errno_error(what);
}

// Is the qdisc at ffff: clsact? Else it is `ingress`. The kernel takes an egress filter for an
// `ingress` qdisc, too, and runs it on what comes in (net/sched/sch_ingress.c, ingress_tcf_block).
Result<bool> is_clsact(unsigned ifindex) {
  auto netlink = Netlink::open(NETLINK_ROUTE);
  if (!netlink) return netlink.error();
  NetlinkRequest request;
  nlmsghdr* header = request.header(RTM_GETQDISC, NLM_F_DUMP);
  auto* body = static_cast<tcmsg*>(mnl_nlmsg_put_extra_header(header, sizeof(tcmsg)));
  body->tcm_family = AF_UNSPEC;
  std::string kind;
  const auto listed = netlink->ask(header, "list qdiscs", [&](const nlmsghdr* m) {
    const auto* message = static_cast<const tcmsg*>(mnl_nlmsg_get_payload(m));
    if (message->tcm_ifindex != static_cast<int>(ifindex) || message->tcm_handle != TC_H_MAKE(TC_H_INGRESS, 0)) return;
    each_attribute(m, sizeof *message, [&](const nlattr* a) {
      if (mnl_attr_get_type(a) == TCA_KIND) kind = mnl_attr_get_str(a);
    });
  });
  if (!listed) return listed.error();
  return kind == "clsact";
}

Result<bool> has_filters(unsigned ifindex, std::uint32_t parent) {
  auto netlink = Netlink::open(NETLINK_ROUTE);
  if (!netlink) return netlink.error();
  NetlinkRequest request;
  nlmsghdr* header = request.header(RTM_GETTFILTER, NLM_F_DUMP);
  auto* body = static_cast<tcmsg*>(mnl_nlmsg_put_extra_header(header, sizeof(tcmsg)));
  body->tcm_family = AF_UNSPEC;
  body->tcm_ifindex = static_cast<int>(ifindex);
  body->tcm_parent = parent;
  bool any = false;
  const auto listed = netlink->ask(header, "list tc filters", [&](const nlmsghdr*) { any = true; });
  if (!listed) return listed.error();
  return any;
}

}  // namespace

Result<bool> prepare_clsact(unsigned ifindex, const std::string& device) {
  bpf_tc_hook clsact = hook_of(ifindex, static_cast<bpf_tc_attach_point>(BPF_TC_INGRESS | BPF_TC_EGRESS));
  const int created = bpf_tc_hook_create(&clsact);
  if (created == 0) return true;
  if (created == -EEXIST) {
    const auto fits = is_clsact(ifindex);
    if (!fits) return fits.error();
    if (!*fits)
      return Error{"device " + device + " has an `ingress` qdisc where clsact is needed: tc qdisc del dev " + device +
                   " ingress"};
    return query(ifindex, TcSide::ingress, kHandleOwnClsact) != 0 ||
           query(ifindex, TcSide::egress, kHandleOwnClsact) != 0;
  }
  Error error = tc_error("clsact qdisc on " + device, created);
  if (created == -ENOENT) error.message += ": the kernel needs CONFIG_NET_SCH_INGRESS (modprobe sch_ingress)";
  return error;
}

std::uint32_t attached_program(unsigned ifindex, TcSide side) {
  const std::uint32_t program = query(ifindex, side, kHandleOwnClsact);
  return program != 0 ? program : query(ifindex, side, kHandle);
}

Result<void> attach_program(unsigned ifindex, const std::string& device, TcSide side, int program_fd,
                            bool owns_clsact) {
  const bpf_tc_hook hook = hook_of(ifindex, point_of(side));
  bpf_tc_opts options = options_of(owns_clsact ? kHandleOwnClsact : kHandle);
  options.prog_fd = program_fd;
  options.flags = BPF_TC_F_REPLACE;
  const int attached = bpf_tc_attach(&hook, &options);
  if (attached == 0) return {};
  Error error = tc_error("tc filter on " + device, attached);
  if (attached == -ENOENT || attached == -EOPNOTSUPP)
    error.message += ": the kernel needs CONFIG_NET_CLS_ACT and CONFIG_NET_CLS_BPF (modprobe cls_bpf)";
  return error;
}

Result<void> detach_program(unsigned ifindex, const std::string& device, TcSide side) {
  const bpf_tc_hook hook = hook_of(ifindex, point_of(side));
  for (const std::uint32_t handle : {kHandle, kHandleOwnClsact}) {
    const bpf_tc_opts options = options_of(handle);
    const int detached = bpf_tc_detach(&hook, &options);
    if (detached < 0 && detached != -ENOENT && detached != -EINVAL && detached != -ENODEV)
      return tc_error("remove tc filter from " + device, detached);
  }
  return {};
}

Result<void> remove_empty_clsact(unsigned ifindex, const std::string& device) {
  for (const std::uint32_t parent :
       {TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS), TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_EGRESS)}) {
    const auto any = has_filters(ifindex, parent);
    if (!any) return any.error();
    if (*any) return {};
  }
  bpf_tc_hook clsact = hook_of(ifindex, static_cast<bpf_tc_attach_point>(BPF_TC_INGRESS | BPF_TC_EGRESS));
  const int removed = bpf_tc_hook_destroy(&clsact);
  if (removed < 0 && removed != -ENOENT && removed != -EINVAL && removed != -ENODEV)
    return tc_error("remove clsact qdisc from " + device, removed);
  return {};
}

}  // namespace suture::datapath
