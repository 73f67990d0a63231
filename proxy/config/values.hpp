// Single values of the configuration, from text. Pure; internal to proxy/config.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include <proxy/config/config.hpp>

namespace suture::config {

// Decimal or 0x hexadecimal, no sign, nothing after it.
std::optional<std::uint64_t> parse_unsigned(std::string_view text);
std::optional<Address> parse_address(const std::string& text);
// "192.0.2.1:80" or "[2001:db8::1]:80"; the port may be 0 here, checks refuse it where it makes no sense.
std::optional<TcpEndpoint> parse_endpoint(std::string_view text);
// "10.0.0.0/8", "2001:db8::/32"; an address alone is all of its bits. Bits beyond the length may be set here.
std::optional<Prefix> parse_prefix(std::string_view text);
std::string to_string(const Prefix& prefix);

// Unicast and usable as somebody's own address. The reason why not, or empty.
std::string not_unicast(const Address& address);
// "127.0.0.1:8080", "[::1]:8080" or "unix:/run/app.sock"; otherwise `why` says what is wrong and what would be right.
std::optional<UpstreamAddress> parse_upstream(const std::string& text, std::string& why);
// What the kernel takes as a device name (dev_valid_name): 1..15 characters, no '/', ':' or space, not "." or "..".
bool valid_device_name(std::string_view name);

// The known key that a mistyped one most likely meant, or empty.
std::string nearest(const std::string& word, const std::set<std::string>& known);

}  // namespace suture::config
