#include "proxy/datapath/tun.hpp"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>

#include <cerrno>
#include <cstring>

#include "proxy/datapath/any_source.hpp"
#include "proxy/datapath/link.hpp"
#include "proxy/datapath/raised_capability.hpp"

namespace suture::datapath {
Result<Tun> Tun::open(const std::string& name) {
  if (name.empty() || name.size() >= IFNAMSIZ)
    return Error{"TUN device name \"" + name + "\" is not 1 to 15 characters long"};
  Tun tun;
  {
    // Where the device is root's alone (mode 600: no udev) and we are not root.
    const RaisedCapability override(CAP_DAC_OVERRIDE);
    tun.fd_ = FileDescriptor(::open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK));
  }
  if (!tun.fd_) {
    Error error = errno_error("open /dev/net/tun");
    if (errno == EACCES)
      error.message +=
          ": chmod 666 /dev/net/tun on the host (anybody may open it; making a device takes CAP_NET_ADMIN)";
    if (errno == ENOENT || errno == ENODEV)
      error.message += ": the kernel needs CONFIG_TUN (modprobe tun); containers: `devices: [/dev/net/tun]`";
    return error;
  }
  ifreq request{};
  std::memcpy(request.ifr_name, name.data(), name.size());
  request.ifr_flags = IFF_TUN | IFF_NO_PI;
  if (::ioctl(tun.fd_.get(), TUNSETIFF, &request) < 0) {
    Error error = errno_error("create TUN device " + name);
    if (error.errno_value == EBUSY || error.errno_value == EINVAL || error.errno_value == EEXIST)
      error.message += ": a device of this name exists and is in use (another suture?)";
    if (error.errno_value == EPERM) error.message += ": needs CAP_NET_ADMIN";
    return error;
  }
  tun.name_ = request.ifr_name;
  tun.ifindex_ = ::if_nametoindex(tun.name_.c_str());
  if (tun.ifindex_ == 0) return errno_error("TUN device " + name);
  if (auto done = set_link_up(tun.ifindex_, tun.name_); !done) return done.error();
  if (auto done = allow_any_source(tun.ifindex_, tun.name_, "127.83.117.1"); !done) return done.error();
  return tun;
}

Result<bool> Tun::restore() {
  const auto link = find_link(name_);
  if (!link) return link.error();
  if (!*link || (*link)->ifindex != ifindex_)
    return Error{"TUN device " + name_ + " is gone: somebody deleted or renamed it. Restart suture"};
  if ((*link)->up) return false;
  if (auto done = set_link_up(ifindex_, name_); !done) return done.error();
  return true;
}

Result<std::size_t> Tun::read(std::span<std::uint8_t> buffer) {
  const ssize_t bytes = ::read(fd_.get(), buffer.data(), buffer.size());
  if (bytes >= 0) return static_cast<std::size_t>(bytes);
  if (errno == EAGAIN || errno == EINTR) return std::size_t{0};
  return errno_error("read from TUN device " + name_);
}

Result<void> Tun::write(std::span<const std::uint8_t> packet) {
  if (::write(fd_.get(), packet.data(), packet.size()) == static_cast<ssize_t>(packet.size())) return {};
  return errno_error("write to TUN device " + name_);
}

}  // namespace suture::datapath
