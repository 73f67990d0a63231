#include "proxy/datapath/steering.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <atomic>
#include <bit>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <limits>

#include <suture/log.hpp>

#include "proxy/datapath/flow_states.hpp"
#include "proxy/datapath/jiffies.hpp"
#include "proxy/datapath/kernel_owner_map.hpp"
#include "steer.skel.h"

namespace suture::datapath {
namespace {

static_assert(sizeof(suture_flow_key) == 36 && sizeof(suture_vip_key) == 20 && sizeof(suture_owner) == 8);
static_assert(sizeof(suture_not_mine_key) == 40 && sizeof(suture_peer) == 40 && sizeof(suture_flow_state) == 8);
static_assert(sizeof(suture_node_state) % 8 == 0 && offsetof(suture_node_state, heartbeat_ns) == 0);

// What libbpf and the verifier had to say, for the error message: the end of it names the cause.
thread_local std::string libbpf_words;

int remember_libbpf(libbpf_print_level level, const char* format, va_list arguments) {
  if (level == LIBBPF_DEBUG) return 0;
  char line[1024];
  std::vsnprintf(line, sizeof line, format, arguments);
  libbpf_words += line;
  if (libbpf_words.size() > 4000) libbpf_words.erase(0, libbpf_words.size() - 4000);
  return 0;
}

Error bpf_error(const std::string& what, int code) {
  errno = code < 0 ? -code : code;
  return errno_error(what);
}

template <class T>
void store(T& field, T value) {
  std::atomic_ref<T>(field).store(value, std::memory_order_relaxed);
}

Result<void> check_kernel() {
  if (::access("/sys/kernel/btf/vmlinux", R_OK) != 0)
    return Error{"the kernel has no type information (/sys/kernel/btf/vmlinux): it needs CONFIG_DEBUG_INFO_BTF"};
  if (libbpf_probe_bpf_prog_type(BPF_PROG_TYPE_SCHED_CLS, nullptr) == 0)
    return Error{"the kernel cannot load tc programs: it needs CONFIG_BPF_SYSCALL and CONFIG_NET_CLS_BPF"};
  if (libbpf_probe_bpf_map_type(BPF_MAP_TYPE_RINGBUF, nullptr) == 0)
    return Error{"the kernel has no BPF ring buffer: Suture needs Linux 6.1 or later"};
  return {};
}

Result<void> check_config(const SteeringConfig& c) {
  if (c.node_id == NodeId{}) return Error{"steering: node id must be 1 to 255"};
  if ((c.vni_base & SUTURE_TUNNEL_KIND_MASK) != 0 || c.vni_base >= 1U << 24)
    return Error{"steering: vni_base must be below 2^24 with its low 3 bits 0"};
  if (!std::has_single_bit(c.fin_mark) || !std::has_single_bit(c.rst_mark) || c.fin_mark == c.rst_mark)
    return Error{"steering: fin_mark and rst_mark must be two different single bits"};
  if (c.vxlan_ifindex == 0 || c.tun_ifindex == 0) return Error{"steering: VXLAN and TUN device must exist first"};
  if (c.heartbeat_limit_ns == 0 || c.lease_ns == 0 || c.owners_max == 0 || c.flow_states_max == 0)
    return Error{"steering: limits must be above 0"};
  if (c.hint_per_second == 0 || c.punt_per_second == 0 || c.claim_per_second == 0 || c.event_per_second == 0 ||
      c.punt_total_per_second == 0)
    return Error{"steering: rates must be above 0"};
  return {};
}

}  // namespace

void Steering::CloseSkeleton::operator()(steer_bpf* skeleton) const {
  steer_bpf::destroy(skeleton);
}
void Steering::FreeRing::operator()(ring_buffer* ring) const {
  ring_buffer__free(ring);
}
void Steering::UnmapNode::operator()(suture_node_state* state) const {
  ::munmap(state, sizeof *state);
}
Steering::~Steering() = default;

Result<std::unique_ptr<Steering>> Steering::load(const SteeringConfig& config) {
  for (const auto& check : {check_config(config), check_kernel()})
    if (!check) return check.error();
  std::unique_ptr<Steering> steering(new Steering);
  if (auto done = steering->open(config); !done) return done.error();
  if (auto done = steering->map_node(config); !done) return done.error();
  if (auto done = steering->measure_clock(); !done) return done.error();
  if (auto done = steering->open_events(); !done) return done.error();
  for (const auto& vip : config.vips)
    if (auto done = steering->set_vip(vip); !done) return done.error();
  auto& s = *steering;
  s.attachments_ = std::make_unique<Attachments>(
      Attachments::Programs{s.program_fd("tunnel_ingress"), s.program_fd("ingress"), s.program_fd("ingress_l3"),
                            s.program_fd("egress"), s.program_fd("egress_l3")});
  if (auto done = s.attachments_->attach(config.interfaces, config.vxlan_ifindex, config.tun_ifindex); !done)
    return done.error();
  return steering;
}

Result<void> Steering::open(const SteeringConfig& config) {
  libbpf_set_print(remember_libbpf);
  libbpf_words.clear();
  skeleton_.reset(steer_bpf::open());
  if (!skeleton_) return errno_error("open the BPF object");
  bpf_map__set_max_entries(skeleton_->maps.owners, config.owners_max);
  bpf_map__set_max_entries(skeleton_->maps.flows, config.flow_states_max);
  if (const int code = steer_bpf::load(skeleton_.get()); code != 0) {
    Error error = bpf_error("load the BPF programs", code);
    if (!libbpf_words.empty()) error.message += "\n" + libbpf_words;
    return error;
  }
  owners_ =
      std::make_unique<KernelOwnerMap>(bpf_map__fd(skeleton_->maps.owners), bpf_map__fd(skeleton_->maps.not_mine));
  return {};
}

Result<void> Steering::map_node(const SteeringConfig& config) {
  void* page = ::mmap(nullptr, sizeof(suture_node_state), PROT_READ | PROT_WRITE, MAP_SHARED,
                      bpf_map__fd(skeleton_->maps.node), 0);
  if (page == MAP_FAILED) return errno_error("map the BPF node state");
  node_.reset(static_cast<suture_node_state*>(page));
  *node_ = suture_node_state{};
  node_->heartbeat_limit_ns = config.heartbeat_limit_ns;
  node_->vni_base = config.vni_base;
  node_->flags = config.return_tunnel ? SUTURE_NODE_RETURN_TUNNEL : 0;
  node_->fin_mark = config.fin_mark;
  node_->rst_mark = config.rst_mark;
  node_->vxlan_ifindex = config.vxlan_ifindex;
  node_->tun_ifindex = config.tun_ifindex;
  node_->node_id = static_cast<__u8>(to_int(config.node_id));
  node_->hint_burst = config.hint_burst;
  node_->hint_per_second = config.hint_per_second;
  node_->punt_burst = config.punt_burst;
  node_->punt_per_second = config.punt_per_second;
  node_->event_burst = config.event_burst;
  node_->event_per_second = config.event_per_second;
  node_->claim_burst = config.claim_burst;
  node_->claim_per_second = config.claim_per_second;
  node_->punt_total_burst = config.punt_total_burst;
  node_->punt_total_per_second = config.punt_total_per_second;
  const auto lease = to_jiffies(config.lease_ns);
  if (!lease) return lease.error();
  node_->lease_jiffies = *lease;
  flow_states_ = std::make_unique<FlowStates>(bpf_map__fd(skeleton_->maps.flows), node_->flow_states);
  return {};
}

// The narrowest of a few readings between two of our own clock: a preemption only widens one of them.
Result<void> Steering::measure_clock() {
  const auto own_ns = [] {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now().time_since_epoch()).count();
  };
  std::int64_t narrowest = std::numeric_limits<std::int64_t>::max();
  for (int i = 0; i < 8; ++i) {
    char packet[64] = {};
    bpf_test_run_opts run{};
    run.sz = sizeof run;
    run.data_in = packet;
    run.data_size_in = sizeof packet;
    const std::int64_t before = own_ns();
    const int code = bpf_prog_test_run_opts(bpf_program__fd(skeleton_->progs.read_clock), &run);
    const std::int64_t after = own_ns();
    if (code != 0) return bpf_error("read the kernel's clock", code);
    if (after - before >= narrowest) continue;
    narrowest = after - before;
    clock_ahead_ns_ = static_cast<std::int64_t>(skeleton_->bss->clock_ns) - (before + (after - before) / 2);
  }
  // Below the measurement's own width there is no time namespace.
  if (clock_ahead_ns_ > -1000000 && clock_ahead_ns_ < 1000000) clock_ahead_ns_ = 0;
  set_slot_offset(0);
  return {};
}

Result<void> Steering::open_events() {
  const auto deliver = [](void* context, void* data, std::size_t bytes) {
    auto* self = static_cast<Steering*>(context);
    if (bytes < sizeof(suture_event) || !self->on_event_) return 0;
    suture_event event;
    std::memcpy(&event, data, sizeof event);
    self->on_event_(event);
    return 0;
  };
  ring_.reset(ring_buffer__new(bpf_map__fd(skeleton_->maps.events), deliver, this, nullptr));
  if (!ring_) return errno_error("open the BPF event buffer");
  return {};
}

Result<void> Steering::detach() {
  return attachments_->detach();
}

AccessState Steering::restore(unsigned vxlan_ifindex) {
  store(node_->vxlan_ifindex, static_cast<__u32>(vxlan_ifindex));
  return attachments_->restore(vxlan_ifindex);
}

Result<void> Steering::set_vip(const SteeringConfig::Vip& vip) {
  for (const std::uint16_t port : {vip.port, std::uint16_t{0}}) {
    suture_vip_key key{};
    key.addr = to_addr(vip.address);
    key.port = static_cast<__be16>(__builtin_bswap16(port));
    if constexpr (std::endian::native == std::endian::big) key.port = port;
    const __u8 yes = 1;
    if (const int code = bpf_map_update_elem(bpf_map__fd(skeleton_->maps.vips), &key, &yes, BPF_ANY); code != 0)
      return bpf_error("add VIP " + vip.address.to_string() + ":" + std::to_string(vip.port), code);
  }
  return {};
}

Result<void> Steering::set_peer(NodeId id, const suture_peer& peer) {
  const std::uint32_t index = to_int(id);
  if (index == 0) return Error{"peer id must be 1 to 255"};
  const int underlay_fd = bpf_map__fd(skeleton_->maps.underlay_peers);
  suture_peer& known = peers_[index];
  const bool was = (known.flags & SUTURE_PEER_CONFIGURED) != 0;
  const bool is = (peer.flags & SUTURE_PEER_CONFIGURED) != 0;
  if (was && (!is || !(known.remote == peer.remote))) bpf_map_delete_elem(underlay_fd, &known.remote);
  if (is && (!was || !(known.remote == peer.remote))) {
    if (const int code = bpf_map_update_elem(underlay_fd, &peer.remote, &index, BPF_ANY); code != 0)
      return bpf_error("set the underlay address of peer " + std::to_string(index), code);
  }
  if (const int code = bpf_map_update_elem(bpf_map__fd(skeleton_->maps.peers), &index, &peer, BPF_ANY); code != 0)
    return bpf_error("set peer " + std::to_string(index), code);
  known = peer;
  return {};
}

void Steering::set_heir(NodeId id) {
  store(node_->heir_id, static_cast<__u8>(to_int(id)));
}

std::uint64_t Steering::kernel_ns(TimePoint t) const {
  const auto own = std::chrono::duration_cast<std::chrono::nanoseconds>(t.time_since_epoch()).count();
  return static_cast<std::uint64_t>(own + clock_ahead_ns_);
}

void Steering::beat(TimePoint now) {
  store(node_->heartbeat_ns, static_cast<__u64>(kernel_ns(now)));
}

// As is_stale() in ladder.bpf.h.
bool Steering::beats(TimePoint now) const {
  const auto last = std::atomic_ref<__u64>(node_->heartbeat_ns).load(std::memory_order_relaxed);
  return last != 0 &&
         static_cast<std::int64_t>(kernel_ns(now) - last) <= static_cast<std::int64_t>(node_->heartbeat_limit_ns);
}

void Steering::set_slot_offset(std::uint64_t offset_ms) {
  const auto ahead_ms = static_cast<std::uint64_t>(clock_ahead_ns_ / 1000000);
  store(node_->slot_offset_ms, static_cast<__u64>(offset_ms - ahead_ms));
}

void Steering::set_flags(std::uint32_t flags) {
  store(node_->flags, static_cast<__u32>(flags));
}
std::uint32_t Steering::flags() const {
  return std::atomic_ref<__u32>(node_->flags).load(std::memory_order_relaxed);
}

Result<void> Steering::mark_not_mine(const suture_flow_key& key, NodeId peer, TimePoint now, Millis lifetime) {
  const suture_not_mine_key mark{key, to_int(peer)};
  const __u64 until = kernel_ns(now + lifetime);
  if (const int code = bpf_map_update_elem(bpf_map__fd(skeleton_->maps.not_mine), &mark, &until, BPF_ANY); code != 0)
    return bpf_error("mark a flow as not " + std::to_string(to_int(peer)) + "'s", code);
  if (until > node_->not_mine_until_ns) store(node_->not_mine_until_ns, until);
  owners_->marks_live_until(now + lifetime);
  return {};
}

std::vector<std::uint64_t> Steering::sum_per_cpu(int map_fd, std::uint32_t entries) const {
  static const int cpus = libbpf_num_possible_cpus();
  std::vector<std::uint64_t> sums(entries);
  std::vector<std::uint64_t> values(static_cast<std::size_t>(cpus));
  for (std::uint32_t i = 0; i < entries; ++i) {
    if (bpf_map_lookup_elem(map_fd, &i, values.data()) != 0) continue;
    for (const std::uint64_t v : values) sums[i] += v;
  }
  return sums;
}

RungCounts Steering::counters() const {
  RungCounts counts{};
  const auto sums = sum_per_cpu(bpf_map__fd(skeleton_->maps.rungs), SUTURE_RUNG_COUNT);
  std::copy(sums.begin(), sums.end(), counts.begin());
  return counts;
}

PeerCounts Steering::forwarded() const {
  PeerCounts counts{};
  const auto sums = sum_per_cpu(bpf_map__fd(skeleton_->maps.forwarded), SUTURE_NODES_MAX);
  std::copy(sums.begin(), sums.end(), counts.begin());
  return counts;
}

OwnerMap& Steering::owner_map() {
  return *owners_;
}
FlowStates& Steering::flow_states() {
  return *flow_states_;
}
int Steering::event_fd() const {
  return ring_buffer__epoll_fd(ring_.get());
}

int Steering::poll_events(const std::function<void(const suture_event&)>& callback) {
  on_event_ = callback;
  const int events = ring_buffer__consume(ring_.get());
  on_event_ = nullptr;
  return events;
}

int Steering::program_fd(const std::string& name) const {
  const bpf_program* program = bpf_object__find_program_by_name(skeleton_->obj, name.c_str());
  return program == nullptr ? -1 : bpf_program__fd(program);
}

void Steering::register_metrics(MetricsRegistry& registry) {
  static constexpr std::array<const char*, SUTURE_RUNG_COUNT> labels = {
#define SUTURE_RUNG_LABEL(name, label) label,
      SUTURE_RUNGS(SUTURE_RUNG_LABEL)
#undef SUTURE_RUNG_LABEL
  };
  registry.collector([this] {
    MetricsRegistry::Family family{"suture_steer_packets_total",
                                   "Packets by the rung of the steering ladder that decided about them.",
                                   MetricsRegistry::Type::counter,
                                   {}};
    const RungCounts counts = counters();
    for (std::size_t i = 0; i < counts.size(); ++i)
      family.samples.push_back(
          {family.name, "rung=\"" + std::string(labels[i]) + "\"", static_cast<double>(counts[i])});
    return std::vector<MetricsRegistry::Family>{std::move(family)};
  });
  registry.counter("suture_owner_map_full_total", "Owners that the kernel's map had no room for.", "", owners_->full());
  registry.counter("suture_filters_restored_total",
                   "Devices whose BPF programs somebody had removed, or that came back without them.", "",
                   attachments_->restored());
}

}  // namespace suture::datapath
