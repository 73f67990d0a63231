#include <proxy/config/values.hpp>

#include <algorithm>
#include <charconv>
#include <numeric>
#include <vector>

namespace suture::config {
namespace {

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t substitute = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, substitute});
    }
  }
  return row[b.size()];
}

}  // namespace

std::optional<std::uint64_t> parse_unsigned(std::string_view text) {
  int base = 10;
  if (text.starts_with("0x") || text.starts_with("0X")) {
    text.remove_prefix(2);
    base = 16;
  }
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (text.empty() || error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<Address> parse_address(const std::string& text) {
  boost::system::error_code error;
  const Address address = boost::asio::ip::make_address(text, error);
  // A scope id ("fe80::1%eth0") parses, but no packet of a peer or client carries it.
  if (error || text.find('%') != std::string::npos) return std::nullopt;
  return address;
}

std::optional<TcpEndpoint> parse_endpoint(std::string_view text) {
  const auto colon = text.rfind(':');
  if (colon == std::string_view::npos) return std::nullopt;
  std::string_view host = text.substr(0, colon);
  const bool bracketed = host.size() >= 2 && host.front() == '[' && host.back() == ']';
  if (bracketed) host = host.substr(1, host.size() - 2);
  const auto address = parse_address(std::string(host));
  const std::string_view digits = text.substr(colon + 1);
  const auto port = digits.starts_with("0x") ? std::nullopt : parse_unsigned(digits);
  if (!address || !port || *port > 65535 || address->is_v6() != bracketed) return std::nullopt;
  return TcpEndpoint(*address, static_cast<std::uint16_t>(*port));
}

std::optional<Prefix> parse_prefix(std::string_view text) {
  const std::size_t slash = text.find('/');
  const auto address = parse_address(std::string(text.substr(0, slash)));
  if (!address) return std::nullopt;
  const unsigned all = address->is_v4() ? 32 : 128;
  if (slash == std::string_view::npos) return Prefix{*address, all};
  const std::string_view digits = text.substr(slash + 1);
  const auto bits = digits.starts_with("0x") ? std::nullopt : parse_unsigned(digits);
  if (!bits || *bits > all) return std::nullopt;
  return Prefix{*address, static_cast<unsigned>(*bits)};
}

std::string to_string(const Prefix& prefix) {
  return prefix.address.to_string() + '/' + std::to_string(prefix.bits);
}

std::string not_unicast(const Address& address) {
  if (address.is_unspecified()) return "is the unspecified address";
  if (address.is_multicast()) return "is a multicast address";
  if (address.is_v4()) {
    if (address.to_v4() == boost::asio::ip::address_v4::broadcast()) return "is the broadcast address";
    if (address.to_v4().to_uint() >> 24 == 0) return "is in 0.0.0.0/8, which names no host";
  } else {
    if (address.to_v6().is_v4_mapped()) return "is an IPv4-mapped address; write it as IPv4";
    if (address.to_v6().is_link_local()) return "is link-local, so it cannot be routed to";
  }
  return "";
}

std::optional<UpstreamAddress> parse_upstream(const std::string& text, std::string& why) {
  if (text.starts_with("unix:")) {
    const std::string path = text.substr(5);
    if (!path.starts_with('/')) {
      why = "'" + text + "' has no absolute path; wanted unix:/run/app.sock";
    } else if (path.size() > 107) {  // sockaddr_un.sun_path holds 108 bytes with the terminating zero (unix(7))
      why = "the socket's path is longer than 107 bytes, which unix(7) allows";
    } else {
      return UnixPath{path};
    }
    return std::nullopt;
  }
  const auto endpoint = parse_endpoint(text);
  if (!endpoint || endpoint->port() == 0) {
    why = "'" + text + "' is no upstream; wanted 127.0.0.1:8080, [::1]:8080 or unix:/run/app.sock";
    return std::nullopt;
  }
  if (const auto reason = not_unicast(endpoint->address()); !reason.empty()) {
    why = "'" + text + "' " + reason + "; wanted the application's own address";
    return std::nullopt;
  }
  return *endpoint;
}

bool valid_device_name(std::string_view name) {
  return !name.empty() && name.size() <= 15 && name != "." && name != ".." &&
         std::all_of(name.begin(), name.end(), [](char c) { return c > ' ' && c < 0x7f && c != '/' && c != ':'; });
}

std::string nearest(const std::string& word, const std::set<std::string>& known) {
  std::string best;
  std::size_t best_distance = std::max<std::size_t>(2, word.size() / 3) + 1;
  for (const auto& candidate : known) {
    // "connect" for "connect_ms", "heartbeat_ms" for "heartbeat_limit_ms": a forgotten unit is the usual slip.
    const bool prefix = word.size() >= 3 && candidate.starts_with(word);
    const std::size_t distance = prefix ? 1 : edit_distance(word, candidate);
    if (distance < best_distance) {
      best = candidate;
      best_distance = distance;
    }
  }
  return best;
}

}  // namespace suture::config
