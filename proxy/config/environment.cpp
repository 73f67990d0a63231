#include <proxy/config/environment.hpp>

#include <algorithm>
#include <map>
#include <set>
#include <string_view>
#include <utility>

#include <proxy/config/values.hpp>

namespace suture::config {
namespace {

using Variables = std::map<std::string, std::string>;

const std::string prefix = "SUTURE_";
constexpr const char* statesync_port = "7100";

// What must be set, and what is wanted of it.
const std::map<std::string, const char*> required{
    {"SUTURE_NODE", "this node's number, 1 to 255, different at every node"},
    {"SUTURE_UNDERLAY", "this node's own address as its peers reach it, e.g. 198.18.0.1 (or an IPv4 and an IPv6 one)"},
    {"SUTURE_UPSTREAM", "the application, e.g. 127.0.0.1:8080"},
    {"SUTURE_VIPS", "the anycast addresses, e.g. 203.0.113.10,2001:db8:113::10"},
};
const std::set<std::string> known{"SUTURE_ADMIN",       "SUTURE_ADMIN_ALLOW_REMOTE",
                                  "SUTURE_ANNOUNCE",    "SUTURE_DRAIN_MS",
                                  "SUTURE_HEALTH_PATH", "SUTURE_INTERFACES",
                                  "SUTURE_LISTEN",      "SUTURE_LOG_FORMAT",
                                  "SUTURE_LOG_LEVEL",   "SUTURE_MODE",
                                  "SUTURE_NAME",        "SUTURE_NODE",
                                  "SUTURE_PEERS",       "SUTURE_PKI",
                                  "SUTURE_UNDERLAY",    "SUTURE_UPSTREAM",
                                  "SUTURE_VIPS"};

// Without what they all begin with: a mistyped one is nearest to another's word.
std::set<std::string> known_words() {
  std::set<std::string> words;
  for (const auto& name : known) words.insert(name.substr(prefix.size()));
  return words;
}

// A Kubernetes Service named "suture" puts these into every pod of its namespace.
bool of_kubernetes(std::string_view name) {
  return name.starts_with("SUTURE_SERVICE_") || name == "SUTURE_PORT" || name.starts_with("SUTURE_PORT_");
}

// A value as a YAML scalar that nothing is expanded in.
std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '"' || c == '\\') out += '\\';
    if (c == '$' && text.substr(i, 2) == "${") out += '$';
    if (static_cast<unsigned char>(c) < ' ') {  // a line end of the variable's must not end the line here
      out += "\\t";
    } else {
      out += c;
    }
  }
  return out + '"';
}

std::vector<std::string> split(const std::string& list) {
  std::vector<std::string> out;
  std::string one;
  for (const char c : list + ',') {
    if (c == ',') {
      if (!one.empty()) out.push_back(std::exchange(one, {}));
    } else if (c != ' ') {
      one += c;
    }
  }
  return out;
}

// YAML, and which variable each of its lines comes from: load_text() knows everything else.
class Text {
 public:
  explicit Text(const Variables& variables) : variables_(variables) {}

  void line(const std::string& text, const std::string& variable = "") {
    text_ += text + '\n';
    variables_of_.push_back(variable);
  }
  const std::string* find(const std::string& variable) const {
    const auto found = variables_.find(variable);
    return found == variables_.end() || found->second.empty() ? nullptr : &found->second;
  }
  // "key: value" if it is set.
  void value(const std::string& key, const std::string& variable) {
    if (const auto* text = find(variable)) line(key + ": " + quoted(*text), variable);
  }
  // A map of those that are set; nothing if none is.
  void section(const std::string& name, const std::vector<std::pair<std::string, std::string>>& keys) {
    if (std::none_of(keys.begin(), keys.end(), [&](const auto& key) { return find(key.second) != nullptr; })) return;
    line(name + ':');
    for (const auto& [key, variable] : keys) value("  " + key, variable);
  }
  void list(const std::string& key, const std::string& variable, const std::string& fallback = "") {
    const auto* text = find(variable);
    std::string items;
    for (const auto& one : split(text == nullptr ? fallback : *text))
      items += (items.empty() ? "" : ", ") + quoted(one);
    line(key + ": [" + items + ']', variable);
  }

  const std::string& text() const { return text_; }
  std::string variable_of(int line) const {
    const auto index = static_cast<std::size_t>(line) - 1;
    const bool one = line > 0 && index < variables_of_.size() && !variables_of_[index].empty();
    return one ? variables_of_[index] : "environment";
  }

 private:
  const Variables& variables_;
  std::string text_;
  std::vector<std::string> variables_of_;
};

// ID=ADDRESS,ID=ADDRESS: state sync at the usual port of the underlay address. The mistake, or empty.
std::string write_peers(Text& out) {
  const auto* text = out.find("SUTURE_PEERS");
  if (text == nullptr) return "";
  out.line("peers:", "SUTURE_PEERS");
  for (const auto& peer : split(*text)) {
    const auto cut = peer.find('=');
    const auto address = cut == std::string::npos ? std::nullopt : parse_address(peer.substr(cut + 1));
    if (!address) return "'" + peer + "' is no peer; wanted ID=ADDRESS, e.g. 2=198.18.0.2,3=198.18.0.3";
    const std::string host = address->is_v6() ? '[' + address->to_string() + ']' : address->to_string();
    out.line("  - {id: " + quoted(peer.substr(0, cut)) + ", underlay: " + quoted(address->to_string()) +
                 ", statesync: " + quoted(host + ':' + statesync_port) + '}',
             "SUTURE_PEERS");
  }
  return "";
}

void write_listener(Text& out) {
  out.list("vips", "SUTURE_VIPS");
  const auto* mode = out.find("SUTURE_MODE");
  const auto* port = out.find("SUTURE_LISTEN");
  out.line("listeners:");
  out.line("  - port: " + quoted(port == nullptr ? "80" : *port), "SUTURE_LISTEN");
  out.line("    mode: " + quoted(mode == nullptr ? "http" : *mode), "SUTURE_MODE");
  out.value("    upstream", "SUTURE_UPSTREAM");
}

void write_statesync(Text& out) {
  const auto* pki = out.find("SUTURE_PKI");
  const auto* given = out.find("SUTURE_NAME");
  const std::string name = given == nullptr ? "pop" + *out.find("SUTURE_NODE") : *given;
  const std::string dir = pki == nullptr ? "/etc/suture/pki" : *pki;
  const auto addresses = split(*out.find("SUTURE_UNDERLAY"));
  const std::string own = addresses.empty() ? "" : addresses.front();
  const bool bracketed = own.find(':') != std::string::npos;
  out.line("statesync:", "SUTURE_PKI");
  out.line("  listen: " + quoted((bracketed ? '[' + own + ']' : own) + ':' + statesync_port), "SUTURE_UNDERLAY");
  out.line("  cert_file: " + quoted(dir + '/' + name + ".pem"), "SUTURE_PKI");
  out.line("  key_file: " + quoted(dir + '/' + name + ".key"), "SUTURE_PKI");
  out.line("  ca_file: " + quoted(dir + "/ca.pem"), "SUTURE_PKI");
}

// A node whose application is down must not attract clients: without a path, the connect alone is the check.
void write_health(Text& out) {
  const auto* path = out.find("SUTURE_HEALTH_PATH");
  out.line("health:");
  out.line(path == nullptr ? "  type: tcp" : "  type: http", "SUTURE_HEALTH_PATH");
  out.value("  path", "SUTURE_HEALTH_PATH");
}

LoadResult wrong(const std::string& variable, const std::string& message) {
  return {std::nullopt, {{variable, 0, message}}};
}

// What can be said of the variables before their values are looked at.
std::vector<Mistake> mistakes_of(const Variables& variables) {
  std::vector<Mistake> out;
  for (const auto& [name, value] : variables) {
    if (known.contains(name)) continue;
    const std::string guess = nearest(name.substr(prefix.size()), known_words());
    const std::string help =
        guess.empty() ? "docs/configuration.md lists those that there are" : "did you mean " + prefix + guess + "?";
    out.push_back({name, 0, "unknown variable; " + help});
  }
  for (const auto& [name, what] : required) {
    const auto found = variables.find(name);
    if (found == variables.end() || found->second.empty())
      out.push_back({name, 0, std::string("is not set; wanted ") + what});
  }
  return out;
}

}  // namespace

LoadResult load_environment(const char* const* environment) {
  Variables variables;
  for (; *environment != nullptr; ++environment) {
    const std::string_view entry(*environment);
    const auto name = entry.substr(0, entry.find('='));
    if (!name.starts_with(prefix) || of_kubernetes(name) || name.size() == entry.size()) continue;
    variables.emplace(name, entry.substr(name.size() + 1));
  }
  if (auto mistakes = mistakes_of(variables); !mistakes.empty()) return {std::nullopt, std::move(mistakes)};

  Text out(variables);
  out.section("node", {{"id", "SUTURE_NODE"}, {"name", "SUTURE_NAME"}});
  out.list("  underlay", "SUTURE_UNDERLAY");
  out.list("  interfaces", "SUTURE_INTERFACES", "eth0");
  write_listener(out);
  if (const auto why = write_peers(out); !why.empty()) return wrong("SUTURE_PEERS", why);
  write_statesync(out);
  out.section("announce", {{"enabled", "SUTURE_ANNOUNCE"}});
  write_health(out);
  out.section("timeouts", {{"drain_ms", "SUTURE_DRAIN_MS"}});
  out.section("admin", {{"listen", "SUTURE_ADMIN"}, {"allow_remote", "SUTURE_ADMIN_ALLOW_REMOTE"}});
  out.section("log", {{"level", "SUTURE_LOG_LEVEL"}, {"format", "SUTURE_LOG_FORMAT"}});

  auto result = load_text(out.text(), "environment");
  // One of each variable: the others follow from it.
  std::set<std::string> said;
  std::vector<Mistake> mistakes;
  for (auto& mistake : result.mistakes) {
    const std::string variable = out.variable_of(mistake.line);
    if (said.insert(variable).second) mistakes.push_back({variable, 0, std::move(mistake.message)});
  }
  // Certificates have the node's number in their names: without one, that they are missing is no news, and would be the
  // last word.
  if (said.contains("SUTURE_NODE")) {
    std::erase_if(mistakes, [](const Mistake& mistake) { return mistake.file == "SUTURE_PKI"; });
  }
  result.mistakes = std::move(mistakes);
  return result;
}

}  // namespace suture::config
