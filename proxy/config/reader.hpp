// Reading YAML with every mistake kept: a Document collects mistakes and remembers the line of every key, a Section is
// one map of it with typed access to its keys. Internal to proxy/config.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <yaml-cpp/yaml.h>

#include <proxy/config/config.hpp>

namespace suture::config {

class Document {
 public:
  explicit Document(std::string file) : file_(std::move(file)) {}

  void mistake(int line, std::string message);
  // At the line of a path such as "listeners[0].port", or of its nearest ancestor that is in the file.
  void mistake_at(const std::string& path, std::string message);
  // Of two values that contradict each other: at the first that the file gives (the other is a default).
  void mistake_between(const std::string& path, const std::string& other, std::string message);
  void note(const std::string& path, int line) { lines_[path] = line; }
  bool gives(const std::string& path) const { return lines_.contains(path); }
  int line_of(std::string path) const;

  bool clean() const { return mistakes_.empty(); }
  std::vector<Mistake> take();  // in file order

  // ${NAME}, ${NAME:-default} (also for a NAME that is set but empty), $${ for a literal ${. Nothing: a mistake was
  // noted.
  std::optional<std::string> expand(const std::string& text, const std::string& path, int line);

 private:
  std::string file_;
  std::vector<Mistake> mistakes_;
  std::map<std::string, int> lines_;
};

// Ask for each key, then finish(): keys that nobody asked for are unknown. A getter leaves its output untouched when
// the key is absent (the struct's default stands) or wrong (a mistake was noted).
class Section {
 public:
  // `path`: "" for the whole file, else "node", "listeners[0].limits", ...
  Section(Document& document, const YAML::Node& node, std::string path, int line);

  void require(const std::string& key, const std::string& what);
  bool has(const std::string& key) const { return entries_.contains(key); }
  bool valid() const { return valid_; }
  bool is_list(const std::string& key) const;
  std::string path_of(const std::string& key) const;

  void text(const std::string& key, std::string& out);  // not empty
  void flag(const std::string& key, bool& out);
  template <class T>
  void number(const std::string& key, T& out, std::uint64_t min = 0, std::uint64_t max = std::numeric_limits<T>::max(),
              const char* unit = "") {
    static_assert(std::is_unsigned_v<T>);
    if (const auto value = unsigned_number(key, min, max, unit)) out = static_cast<T>(*value);
  }
  template <class E>
  void choice(const std::string& key, E& out, const std::vector<std::pair<std::string, E>>& choices) {
    std::vector<std::string> names;
    for (const auto& c : choices) names.push_back(c.first);
    if (const auto index = one_of(key, names)) out = choices[*index].second;
  }
  // Any single value, expanded. The caller parses it further.
  std::optional<std::string> scalar(const std::string& key);
  void wrong(const std::string& key, const std::string& message);  // "path.key: message" at the key's line

  // A map below this one; absent or empty: nothing.
  std::optional<Section> child(const std::string& key);
  struct Item {
    YAML::Node node;
    std::string path;
    int line;
  };
  // `at_least_one`: what an element is; a list that is there must then not be empty (one that is missing is
  // require()'s).
  std::vector<Item> list(const std::string& key, const char* at_least_one = nullptr);
  std::vector<std::pair<std::string, Item>> scalar_list(const std::string& key, const char* at_least_one = nullptr);

  void finish();

 private:
  struct Entry {
    YAML::Node value;
    int line;
  };
  std::optional<std::uint64_t> unsigned_number(const std::string& key, std::uint64_t min, std::uint64_t max,
                                               const char* unit);
  std::optional<std::size_t> one_of(const std::string& key, const std::vector<std::string>& names);
  const Entry* find(const std::string& key);

  Document* document_;
  std::string path_;
  int line_;
  bool valid_ = true;
  std::map<std::string, Entry> entries_;
  std::set<std::string> asked_;
};

}  // namespace suture::config
