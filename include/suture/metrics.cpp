#include <suture/metrics.hpp>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>

namespace suture {
namespace {

std::string number(double value) {
  char text[64];
  // The shortest that reads back as the same number.
  const auto end = value == std::floor(value) && std::fabs(value) < 9e15
                       ? std::to_chars(text, text + sizeof text, value, std::chars_format::fixed, 0).ptr
                       : std::to_chars(text, text + sizeof text, value).ptr;
  return {text, end};
}

const char* to_string(MetricsRegistry::Type type) {
  switch (type) {
    case MetricsRegistry::Type::counter:
      return "counter";
    case MetricsRegistry::Type::gauge:
      return "gauge";
    case MetricsRegistry::Type::histogram:
      return "histogram";
  }
  return "untyped";
}

}  // namespace

void MetricsRegistry::counter(std::string name, std::string help, std::string labels, const Counter& counter) {
  computed(std::move(name), std::move(help), Type::counter, std::move(labels),
           [&counter] { return static_cast<double>(counter.value()); });
}

void MetricsRegistry::gauge(std::string name, std::string help, std::string labels, const Gauge& gauge) {
  computed(std::move(name), std::move(help), Type::gauge, std::move(labels),
           [&gauge] { return static_cast<double>(gauge.value()); });
}

void MetricsRegistry::computed(std::string name, std::string help, Type type, std::string labels,
                               std::function<double()> value) {
  const std::lock_guard lock(mutex_);
  entries_.push_back({std::move(name), std::move(help), std::move(labels), type, std::move(value)});
}

void Histogram::observe(double seconds) {
  const auto bucket = std::lower_bound(kBounds.begin(), kBounds.end(), seconds) - kBounds.begin();
  buckets_[static_cast<std::size_t>(bucket)].add();
  micros_.add(static_cast<std::uint64_t>(std::max(0.0, seconds) * 1e6));
}

std::uint64_t Histogram::count() const {
  std::uint64_t sum = 0;
  for (const auto& bucket : buckets_) sum += bucket.value();
  return sum;
}

void MetricsRegistry::histogram(std::string name, std::string help, const Histogram& histogram) {
  collector([name = std::move(name), help = std::move(help), &histogram] {
    Family family{name, help, Type::histogram, {}};
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < histogram.buckets_.size(); ++i) {
      sum += histogram.buckets_[i].value();
      const std::string bound = i < Histogram::kBounds.size() ? number(Histogram::kBounds[i]) : "+Inf";
      family.samples.push_back({name + "_bucket", "le=\"" + bound + '"', static_cast<double>(sum)});
    }
    family.samples.push_back({name + "_sum", "", static_cast<double>(histogram.micros_.value()) / 1e6});
    family.samples.push_back({name + "_count", "", static_cast<double>(sum)});
    return std::vector<Family>{std::move(family)};
  });
}

void MetricsRegistry::collector(std::function<std::vector<Family>()> collect) {
  const std::lock_guard lock(mutex_);
  collectors_.push_back(std::move(collect));
}

std::vector<MetricsRegistry::Family> MetricsRegistry::collect() const {
  struct Merged {
    std::string help;
    Type type = Type::counter;
    std::map<std::string, double> values;
    std::vector<Sample> histogram;  // in its own order
  };
  std::map<std::string, Merged> families;
  const std::lock_guard lock(mutex_);
  for (const auto& entry : entries_) {
    auto& family = families[entry.name];
    family.help = entry.help;
    family.type = entry.type;
    family.values[entry.labels] += entry.value();
  }
  for (const auto& collect : collectors_) {
    for (const auto& extra : collect()) {
      auto& family = families[extra.name];
      family.help = extra.help;
      family.type = extra.type;
      if (extra.type == Type::histogram) {
        family.histogram = extra.samples;
        continue;
      }
      for (const auto& sample : extra.samples) family.values[sample.labels] += sample.value;
    }
  }
  std::vector<Family> out;
  for (auto& [name, merged] : families) {
    Family family{name, merged.help, merged.type, std::move(merged.histogram)};
    for (auto& [labels, value] : merged.values) family.samples.push_back({name, labels, value});
    out.push_back(std::move(family));
  }
  return out;
}

std::string MetricsRegistry::prometheus_text() const {
  std::string out;
  for (const auto& family : collect()) {
    out += "# HELP " + family.name + ' ' + family.help + '\n';
    out += "# TYPE " + family.name + ' ' + to_string(family.type) + '\n';
    for (const auto& sample : family.samples) {
      out += sample.name;
      if (!sample.labels.empty()) out += '{' + sample.labels + '}';
      out += ' ' + number(sample.value) + '\n';
    }
  }
  return out;
}

}  // namespace suture
