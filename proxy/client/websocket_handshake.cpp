#include <proxy/client/websocket_handshake.hpp>

#include <array>
#include <charconv>

#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <proxy/client/heal_reasons.hpp>

namespace suture {
namespace {

constexpr std::string_view kGuid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
constexpr std::string_view kNoTakeover = "client_no_context_takeover";
// statesync/codec.hpp takes no longer ones.
constexpr std::size_t kTermBytesMax = 1024;

std::string base64(const unsigned char* bytes, std::size_t n) {
  std::string text((n + 2) / 3 * 4 + 1, '\0');
  const int written = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data()), bytes, static_cast<int>(n));
  text.resize(static_cast<std::size_t>(written));
  return text;
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

// Up to `separator`, without white space around it; `text` is left with what is behind.
std::string_view take(std::string_view& text, char separator) {
  const auto end = std::min(text.find(separator), text.size());
  const std::string_view item = trimmed(text.substr(0, end));
  text.remove_prefix(std::min(end + 1, text.size()));
  return item;
}

// All lines of a list, as one; nullopt: there is none.
std::optional<std::string> field(const std::vector<Field>& fields, std::string_view name, unsigned& lines) {
  std::optional<std::string> all;
  lines = 0;
  for (const Field& f : fields) {
    if (!equals_nocase(f.name, name)) continue;
    ++lines;
    if (all)
      all->append(", ").append(f.value);
    else
      all.emplace(f.value);
  }
  return all;
}

std::optional<std::string> only(const std::vector<Field>& fields, std::string_view name) {
  unsigned lines = 0;
  auto value = field(fields, name, lines);
  return lines == 1 ? value : std::nullopt;
}

bool upgrades_to_websocket(const std::vector<Field>& fields) {
  unsigned lines = 0;
  const auto value = field(fields, "upgrade", lines);
  return value && list_has(*value, "websocket");
}

// permessage-deflate, once and alone. Quoted values could hide separators, and none of its parameters needs them.
bool is_deflate_alone(std::string_view extensions, bool& no_takeover) {
  if (extensions.find_first_of(",\"") != std::string_view::npos) return false;
  if (!equals_nocase(take(extensions, ';'), "permessage-deflate")) return false;
  no_takeover = false;
  while (!extensions.empty()) no_takeover |= equals_nocase(take(extensions, ';'), kNoTakeover);
  return true;
}

}  // namespace

bool asks_for_websocket(const RequestHead& request) {
  if (request.method != "GET" || !request.upgrade || !upgrades_to_websocket(request.fields)) return false;
  const auto version = only(request.fields, "sec-websocket-version"), key = only(request.fields, "sec-websocket-key");
  return version && *version == "13" && key && key->size() == 24;
}

std::optional<WebSocketTerms> websocket_agreed(const RequestHead& request, const ResponseHead& response) {
  if (response.status != 101 || !asks_for_websocket(request) || !upgrades_to_websocket(response.fields))
    return std::nullopt;
  const auto accept = only(response.fields, "sec-websocket-accept");
  if (!accept || *accept != websocket_accept_of(*only(request.fields, "sec-websocket-key"))) return std::nullopt;
  WebSocketTerms terms;
  unsigned lines = 0;
  if (auto chosen = field(response.fields, "sec-websocket-protocol", lines)) {
    if (lines > 1) return std::nullopt;
    terms.subprotocol = std::move(*chosen);
  }
  if (auto extensions = field(response.fields, "sec-websocket-extensions", lines); extensions && !extensions->empty()) {
    bool no_takeover = false;
    if (!is_deflate_alone(*extensions, no_takeover)) return std::nullopt;
    terms.extensions = std::move(*extensions);
    if (!no_takeover) terms.extensions_changed = terms.extensions + "; " + std::string(kNoTakeover);
  }
  if (terms.subprotocol.size() > kTermBytesMax || terms.extensions.size() > kTermBytesMax) return std::nullopt;
  const auto resume = only(response.fields, "suture-resume");
  terms.resumable = resume && *resume == "1";
  return terms;
}

std::string make_websocket_key() {
  std::array<unsigned char, 16> bytes;
  RAND_bytes(bytes.data(), static_cast<int>(bytes.size()));
  return base64(bytes.data(), bytes.size());
}

std::string websocket_accept_of(std::string_view key) {
  std::string text(key);
  text.append(kGuid);
  std::array<unsigned char, SHA_DIGEST_LENGTH> digest;
  SHA1(reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest.data());
  return base64(digest.data(), digest.size());
}

std::string make_websocket_session() {
  std::array<unsigned char, 16> bytes;
  RAND_bytes(bytes.data(), static_cast<int>(bytes.size()));
  std::string text;
  for (const unsigned byte : bytes) {
    text.push_back("0123456789abcdef"[byte >> 4]);
    text.push_back("0123456789abcdef"[byte & 15]);
  }
  return text;
}

std::string websocket_resume_request(const WebSocketState& state) {
  return state.session + "; received=" + std::to_string(state.received) +
         "; delivered=" + std::to_string(state.delivered);
}

std::optional<std::uint64_t> websocket_resumed(const ResponseHead& response, std::string_view key,
                                               const WebSocketState& state, const char*& why) {
  why = heal_reason::resume_refused;
  const auto resume = only(response.fields, "suture-resume");
  if (response.status != 101 || !resume) return std::nullopt;
  why = heal_reason::resume_mismatch;
  const auto accept = only(response.fields, "sec-websocket-accept");
  if (!response.upgrade || !upgrades_to_websocket(response.fields) || !accept || *accept != websocket_accept_of(key))
    return std::nullopt;
  unsigned lines = 0;
  if (field(response.fields, "sec-websocket-protocol", lines).value_or("") != state.subprotocol) return std::nullopt;
  if (field(response.fields, "sec-websocket-extensions", lines).value_or("") != state.extensions) return std::nullopt;
  std::string_view rest = *resume;
  if (take(rest, ';') != state.session) return std::nullopt;
  std::string_view count = take(rest, ';');
  constexpr std::string_view kReceived = "received=";
  if (!rest.empty() || !count.starts_with(kReceived)) return std::nullopt;
  count.remove_prefix(kReceived.size());
  std::uint64_t received = 0;
  const auto [end, error] = std::from_chars(count.data(), count.data() + count.size(), received);
  if (error != std::errc() || end != count.data() + count.size()) return std::nullopt;
  return received;
}

}  // namespace suture
