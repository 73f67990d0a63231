#include "proxy/datapath/any_source.hpp"

#include "proxy/datapath/address.hpp"
#include "proxy/datapath/sysctl.hpp"

namespace suture::datapath {

Result<void> allow_any_source(unsigned ifindex, const std::string& device, const char* address) {
  const auto all = read_sysctl("net/ipv4/conf/all/rp_filter");
  const bool checked = all && *all != 0;
  if (auto done = ensure_sysctl("net/ipv4/conf/" + device + "/rp_filter", checked ? 2 : 0); !done) return done;
  if (!checked) return {};
  return add_address(ifindex, boost::asio::ip::make_address_v4(address));
}

}  // namespace suture::datapath
