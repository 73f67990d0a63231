#include <proxy/config/reader.hpp>

#include <algorithm>
#include <cstdlib>

#include <proxy/config/values.hpp>

namespace suture::config {
namespace {

const char* kind_of(const YAML::Node& node) {
  if (node.IsMap()) return "a map";
  if (node.IsSequence()) return "a list";
  if (node.IsScalar()) return "a single value";
  return "nothing";
}

std::string joined(const std::vector<std::string>& names) {
  std::string out;
  for (const auto& name : names) out += (out.empty() ? "" : ", ") + name;
  return out;
}

bool env_name(const std::string& name) {
  if (name.empty() || (name[0] >= '0' && name[0] <= '9')) return false;
  return std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
  });
}

}  // namespace

void Document::mistake(int line, std::string message) {
  mistakes_.push_back({file_, line, std::move(message)});
}

void Document::mistake_at(const std::string& path, std::string message) {
  mistake(line_of(path), std::move(message));
}

void Document::mistake_between(const std::string& path, const std::string& other, std::string message) {
  mistake_at(lines_.contains(path) || !lines_.contains(other) ? path : other, std::move(message));
}

int Document::line_of(std::string path) const {
  while (!path.empty()) {
    if (const auto found = lines_.find(path); found != lines_.end()) return found->second;
    const auto cut = path.find_last_of(".[");
    path.resize(cut == std::string::npos ? 0 : cut);
  }
  return 1;
}

std::vector<Mistake> Document::take() {
  std::stable_sort(mistakes_.begin(), mistakes_.end(),
                   [](const Mistake& a, const Mistake& b) { return a.line < b.line; });
  return std::move(mistakes_);
}

std::optional<std::string> Document::expand(const std::string& text, const std::string& path, int line) {
  std::string out;
  for (std::size_t i = 0; i < text.size();) {
    if (text.compare(i, 3, "$${") == 0) {
      out += "${";
      i += 3;
      continue;
    }
    if (text.compare(i, 2, "${") != 0) {
      out += text[i++];
      continue;
    }
    const auto end = text.find('}', i);
    if (end == std::string::npos) {
      mistake(line, path + ": '${' without '}'; wanted ${NAME} or ${NAME:-default} (a literal ${ is $${)");
      return std::nullopt;
    }
    std::string name = text.substr(i + 2, end - i - 2);
    std::optional<std::string> fallback;
    if (const auto cut = name.find(":-"); cut != std::string::npos) {
      fallback = name.substr(cut + 2);
      name.resize(cut);
    }
    if (!env_name(name)) {
      mistake(line, path + ": '" + name +
                        "' is not the name of an environment variable; wanted ${NAME} or "
                        "${NAME:-default}");
      return std::nullopt;
    }
    const char* value = std::getenv(name.c_str());
    if (value == nullptr && !fallback) {
      mistake(line, path + ": environment variable " + name + " is not set; set it or write ${" + name + ":-default}");
      return std::nullopt;
    }
    out += fallback && (value == nullptr || *value == '\0') ? *fallback : std::string(value);
    i = end + 1;
  }
  return out;
}

Section::Section(Document& document, const YAML::Node& node, std::string path, int line)
    : document_(&document), path_(std::move(path)), line_(line) {
  if (!node.IsMap()) {
    valid_ = false;
    document_->mistake(line_, (path_.empty() ? "the configuration" : path_) +
                                  ": wanted a map of 'key: value' lines, found " + kind_of(node));
    return;
  }
  for (const auto& pair : node) {
    const int at = pair.first.Mark().line + 1;
    if (!pair.first.IsScalar()) {
      document_->mistake(at, (path_.empty() ? "the configuration" : path_) + ": a key must be a plain word");
      continue;
    }
    const std::string key = pair.first.Scalar();
    if (const auto earlier = entries_.find(key); earlier != entries_.end()) {
      document_->mistake(
          at, path_of(key) + ": given twice, first in line " + std::to_string(earlier->second.line) + "; keep one");
      continue;
    }
    entries_.emplace(key, Entry{pair.second, at});
    document_->note(path_of(key), at);
  }
}

std::string Section::path_of(const std::string& key) const {
  return path_.empty() ? key : path_ + '.' + key;
}

bool Section::is_list(const std::string& key) const {
  const auto found = entries_.find(key);
  return found != entries_.end() && found->second.value.IsSequence();
}

const Section::Entry* Section::find(const std::string& key) {
  asked_.insert(key);
  const auto found = entries_.find(key);
  return found == entries_.end() ? nullptr : &found->second;
}

void Section::require(const std::string& key, const std::string& what) {
  if (valid_ && find(key) == nullptr) document_->mistake(line_, path_of(key) + " is missing; wanted: " + what);
}

void Section::wrong(const std::string& key, const std::string& message) {
  document_->mistake_at(path_of(key), path_of(key) + ": " + message);
}

std::optional<std::string> Section::scalar(const std::string& key) {
  const Entry* entry = find(key);
  if (entry == nullptr) return std::nullopt;
  if (!entry->value.IsScalar()) {
    wrong(key, std::string("wanted a single value, found ") + kind_of(entry->value));
    return std::nullopt;
  }
  return document_->expand(entry->value.Scalar(), path_of(key), entry->line);
}

void Section::text(const std::string& key, std::string& out) {
  const auto value = scalar(key);
  if (!value) return;
  if (value->empty()) return wrong(key, "must not be empty");
  out = *value;
}

void Section::flag(const std::string& key, bool& out) {
  const auto value = scalar(key);
  if (!value) return;
  if (*value == "true") {
    out = true;
  } else if (*value == "false") {
    out = false;
  } else {
    wrong(key, "'" + *value + "' is not a truth value; wanted true or false");
  }
}

std::optional<std::uint64_t> Section::unsigned_number(const std::string& key, std::uint64_t min, std::uint64_t max,
                                                      const char* unit) {
  const auto value = scalar(key);
  if (!value) return std::nullopt;
  const std::string range = std::to_string(min) + " to " + std::to_string(max) + (*unit == '\0' ? "" : " ") + unit;
  const auto number = parse_unsigned(*value);
  if (!number) {
    wrong(key, "'" + *value + "' is not a whole number; wanted " + range);
    return std::nullopt;
  }
  if (*number < min || *number > max) {
    wrong(key, *value + " is out of range; wanted " + range);
    return std::nullopt;
  }
  return number;
}

std::optional<std::size_t> Section::one_of(const std::string& key, const std::vector<std::string>& names) {
  const auto value = scalar(key);
  if (!value) return std::nullopt;
  const auto found = std::find(names.begin(), names.end(), *value);
  if (found == names.end()) {
    const std::string guess = nearest(*value, {names.begin(), names.end()});
    wrong(key, "'" + *value + "' is unknown; wanted one of " + joined(names) +
                   (guess.empty() ? "" : " (did you mean " + guess + "?)"));
    return std::nullopt;
  }
  return static_cast<std::size_t>(found - names.begin());
}

std::optional<Section> Section::child(const std::string& key) {
  const Entry* entry = find(key);
  if (entry == nullptr || entry->value.IsNull()) return std::nullopt;
  return Section(*document_, entry->value, path_of(key), entry->line);
}

std::vector<Section::Item> Section::list(const std::string& key, const char* at_least_one) {
  std::vector<Item> out;
  const Entry* entry = find(key);
  if (entry == nullptr) return out;
  const bool null = entry->value.IsNull();
  if (at_least_one != nullptr && (null || (entry->value.IsSequence() && entry->value.size() == 0))) {
    wrong(key, std::string("empty; wanted at least one ") + at_least_one);
    return out;
  }
  if (null) return out;
  if (!entry->value.IsSequence()) {
    wrong(key, std::string("wanted a list, found ") + kind_of(entry->value));
    return out;
  }
  for (const auto& node : entry->value) {
    const std::string path = path_of(key) + '[' + std::to_string(out.size()) + ']';
    const int line = node.Mark().line + 1;
    document_->note(path, line);
    out.push_back({node, path, line});
  }
  return out;
}

std::vector<std::pair<std::string, Section::Item>> Section::scalar_list(const std::string& key,
                                                                        const char* at_least_one) {
  std::vector<std::pair<std::string, Item>> out;
  for (const auto& item : list(key, at_least_one)) {
    if (!item.node.IsScalar()) {
      document_->mistake(item.line, item.path + ": wanted a single value, found " + kind_of(item.node));
      continue;
    }
    if (const auto value = document_->expand(item.node.Scalar(), item.path, item.line)) out.emplace_back(*value, item);
  }
  return out;
}

void Section::finish() {
  for (const auto& [key, entry] : entries_) {
    if (asked_.contains(key)) continue;
    const std::string guess = nearest(key, asked_);
    document_->mistake(entry.line, path_of(key) + ": unknown key; " +
                                       (guess.empty() ? "known here: " + joined({asked_.begin(), asked_.end()})
                                                      : "did you mean " + guess + "?"));
  }
}

}  // namespace suture::config
