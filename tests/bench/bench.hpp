// The bench's own harness: options, a timer, keys and distributions, repeats and the report.
#pragma once

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "armdb.hpp"

namespace bench {

using armdb::Bytes;

struct Options {
  std::string filter;  // rows whose name contains one of its words (a,b); all when empty
  std::string peers;   // likewise, of those that are built in; armdb always runs
  std::uint64_t keys = 1'000'000;      // entries of the main collections
  std::uint64_t operations = 200'000;  // of one measurement of a point operation
  std::size_t key_bytes = 8;           // 8 or 16
  std::uint64_t sync_ms = 400;         // one measurement of synced puts
  int repeats = 3;
  std::string folder = "build/bench-data";  // removed and recreated
  std::string out = "build/bench.jsonl";
};

// Whether one of the words (a,b) is in the text; yes when there is none.
bool has_word_of(const std::string& text, std::string_view words);

[[noreturn]] inline void fail(const std::string& what) { throw std::runtime_error(what); }
inline void check(const armdb::Status& status) {
  if (!status.ok()) fail(status.message());
}

inline std::uint64_t now_ns() {
  return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(
                                        std::chrono::steady_clock::now().time_since_epoch())
                                        .count());
}
// Nanoseconds of one of `count` operations that `work` does.
template <class F> double per_operation(std::uint64_t count, F&& work) {
  const std::uint64_t begin = now_ns();
  work();
  return static_cast<double>(now_ns() - begin) / static_cast<double>(count);
}
// Keeps a result alive, so that the compiler cannot drop the work behind it.
inline void keep(std::uint64_t value) { asm volatile("" : : "r"(value) : "memory"); }

// A bijection of 64 bits (splitmix64's finaliser): distinct numbers give distinct keys.
inline std::uint64_t mix64(std::uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}
  std::uint64_t next() { return mix64(state_ += 0x9e3779b97f4a7c15u); }
  std::uint64_t below(std::uint64_t bound) {
    return static_cast<std::uint64_t>((static_cast<unsigned __int128>(next()) * bound) >> 64);
  }

 private:
  std::uint64_t state_;
};

// Key number `at`: big-endian, in no order; 16-byte keys end in the number itself.
class KeyBuffer {
 public:
  explicit KeyBuffer(std::size_t bytes) : bytes_(bytes) {}
  Bytes make(std::uint64_t at) {
    store(mix64(at + 1), buffer_);
    store(at, buffer_ + 8);
    return {buffer_, bytes_};
  }
  // Keys in groups of 100 that share their first four bytes.
  Bytes make_grouped(std::uint64_t at) {
    store((mix64(at / 100) & ~std::uint64_t{0xffffffff}) | (at & 0xffffffff), buffer_);
    store(at, buffer_ + 8);
    return {buffer_, bytes_};
  }

 private:
  static void store(std::uint64_t number, std::uint8_t* out) {
    number = __builtin_bswap64(number);
    std::memcpy(out, &number, 8);
  }
  std::size_t bytes_;
  std::uint8_t buffer_[16] = {};
};

// A value whose first bytes differ from number to number.
class ValueBuffer {
 public:
  explicit ValueBuffer(std::size_t bytes) : buffer_(bytes) {
    Random random(7);
    for (auto& byte : buffer_) byte = static_cast<std::uint8_t>(random.next());
  }
  Bytes make(std::uint64_t at) {
    std::memcpy(buffer_.data(), &at, sizeof at);
    return buffer_;
  }

 private:
  std::vector<std::uint8_t> buffer_;
};

// Made before the clock runs.
std::vector<std::uint32_t> uniform_numbers(std::uint64_t bound, std::size_t count,
                                           std::uint64_t seed);
// Zipfian, theta 0.99, the ranks scattered over the keys (as YCSB does).
std::vector<std::uint32_t> zipfian_numbers(std::uint64_t bound, std::size_t count,
                                           std::uint64_t seed);

// Collects measurements, prints each row when it is done and writes the JSON lines.
class Report {
 public:
  explicit Report(const Options& options);
  ~Report();
  [[nodiscard]] bool wanted(const std::string& row) const;
  void add(const std::string& row, const std::string& store, double value);
  void failed(const std::string& row, const std::string& store, const std::string& why);
  // Prints and writes a row. `unit` ending in "/s" means that more is better.
  void finish(const std::string& row, const std::string& unit, const std::string& note = "");

 private:
  struct Line {
    std::string store;
    std::vector<double> values;
  };
  const Options& options_;
  std::map<std::string, std::vector<Line>> rows_;
  std::map<std::string, std::string> failures_;
  std::FILE* out_ = nullptr;
};

double median(std::vector<double> values);

}  // namespace bench
