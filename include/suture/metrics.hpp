// Counters: plain atomics that live where they are counted, registered by name so that the exporter finds them.
// Registering and scraping take a mutex; counting does not.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <vector>

namespace suture {

// A monotonic counter. Relaxed: the exporter needs no order between counters.
class Counter {
 public:
  void add(std::uint64_t n = 1) { value_.fetch_add(n, std::memory_order_relaxed); }
  std::uint64_t value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> value_{0};
};

class Gauge {
 public:
  void set(std::int64_t v) { value_.store(v, std::memory_order_relaxed); }
  void add(std::int64_t n) { value_.fetch_add(n, std::memory_order_relaxed); }
  std::int64_t value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::int64_t> value_{0};
};

// Durations in seconds: a Prometheus histogram with fixed bounds, one millisecond to a minute.
class Histogram {
 public:
  static constexpr std::array<double, 15> kBounds{0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2,
                                                  0.35,  0.5,   1,     2,    5,    15,   60};
  void observe(double seconds);
  std::uint64_t count() const;

 private:
  friend class MetricsRegistry;
  std::array<Counter, kBounds.size() + 1> buckets_;  // not cumulative; the last has no bound
  Counter micros_;
};

// name: full metric name ("suture_requests_total"); labels: rendered, without braces ("code=\"2xx\""), "" for none.
// All samples of one name must be registered with the same help and type.
class MetricsRegistry {
 public:
  enum class Type : std::uint8_t { counter, gauge, histogram };
  struct Sample {
    std::string name;  // of a histogram with its suffix: _bucket, _sum, _count
    std::string labels;
    double value;
  };
  struct Family {
    std::string name;
    std::string help;
    Type type;
    std::vector<Sample> samples;
  };

  // The referenced counter must outlive the registry's last scrape. Several counters with the same name and labels
  // (one per worker) are summed.
  void counter(std::string name, std::string help, std::string labels, const Counter& counter);
  void gauge(std::string name, std::string help, std::string labels, const Gauge& gauge);
  void histogram(std::string name, std::string help, const Histogram& histogram);
  // Computed at scrape time, on the scraping (control) thread.
  void computed(std::string name, std::string help, Type type, std::string labels, std::function<double()> value);
  // A whole family computed at scrape time (label sets that come and go, e.g. peers).
  void collector(std::function<std::vector<Family>()> collect);

  std::vector<Family> collect() const;  // sorted by name; samples by labels, a histogram's by bound
  std::string prometheus_text() const;  // text exposition format 0.0.4

 private:
  struct Entry {
    std::string name, help, labels;
    Type type;
    std::function<double()> value;
  };
  mutable std::mutex mutex_;
  std::vector<Entry> entries_;
  std::vector<std::function<std::vector<Family>()>> collectors_;
};

}  // namespace suture
