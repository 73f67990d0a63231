#include <suture/certificate.hpp>

#include <charconv>

namespace suture {
namespace {

constexpr std::string_view kUriPrefix = "suture://node/";

std::string_view text_of(const ASN1_STRING* text) {
  return {reinterpret_cast<const char*>(ASN1_STRING_get0_data(text)),
          static_cast<std::size_t>(ASN1_STRING_length(text))};
}

}  // namespace

std::string node_uri(NodeId id) {
  return std::string(kUriPrefix) + std::to_string(to_int(id));
}

std::optional<NodeId> node_id_from_uri(std::string_view uri) {
  if (!uri.starts_with(kUriPrefix)) return std::nullopt;
  uri.remove_prefix(kUriPrefix.size());
  unsigned id = 0;
  const auto [end, error] = std::from_chars(uri.data(), uri.data() + uri.size(), id);
  if (error != std::errc{} || end != uri.data() + uri.size() || uri.front() == '0' || id > 255) return std::nullopt;
  return NodeId{static_cast<std::uint8_t>(id)};
}

std::optional<NodeId> node_of(const X509& cert) {
  const NamesPtr names(static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(&cert, NID_subject_alt_name, nullptr, nullptr)));
  std::optional<NodeId> found;
  for (int i = 0; names && i < sk_GENERAL_NAME_num(names.get()); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(names.get(), i);
    if (name->type != GEN_URI) continue;
    const std::string_view uri = text_of(name->d.uniformResourceIdentifier);
    if (!uri.starts_with(kUriPrefix)) continue;
    const auto id = node_id_from_uri(uri);
    if (!id || (found && *found != *id)) return std::nullopt;
    found = id;
  }
  return found;
}

std::string common_name(const X509& cert) {
  const X509_NAME* subject = X509_get_subject_name(&cert);
  const int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
  if (at < 0) return "";
  return std::string(text_of(X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at))));
}

}  // namespace suture
