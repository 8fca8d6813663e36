// The model: a std::map that does what a collection should do, and a driver that runs random
// programs on both and compares every answer.
//
// It uses the public header only. A typed adapter makes the four collections look alike: keys
// are 32-bit integers with sign, values are strings (of one length where the type says so).
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "armdb.hpp"

namespace armdb::test {

using ModelKey = std::int32_t;
using ModelMap = std::map<ModelKey, std::string>;
using Entries = std::vector<std::pair<ModelKey, std::string>>;

// Random numbers that are the same everywhere for the same seed. Threads: one.
class Dice {
 public:
  explicit Dice(std::uint64_t seed) : state_(seed) {}
  std::uint64_t next() {
    state_ += 0x9e3779b97f4a7c15u;
    std::uint64_t mixed = state_;
    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9u;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebu;
    return mixed ^ (mixed >> 31);
  }
  std::uint64_t below(std::uint64_t bound) { return next() % bound; }
  bool one_in(std::uint64_t n) { return below(n) == 0; }
  // Bytes that differ from call to call; mostly letters, so that they read well in a failure.
  std::string text(std::size_t size);

 private:
  std::uint64_t state_;
};

enum class SubjectKind { const_tree, const_map, var_tree, var_map };
const char* subject_name(SubjectKind kind);

// One way through a tree.
struct Walk {
  enum class Over { all, range, bounds, prefix };
  Over over = Over::all;
  Bound<ModelKey> first;
  Bound<ModelKey> last;
  std::string prefix;
  bool flipped = false;    // through .reversed()
  bool backwards = false;  // to the end first, then back with --
  bool keys_only = false;  // values are empty then
};

// A collection of any type.
class Subject {
 public:
  static std::unique_ptr<Subject> make(SubjectKind kind);
  virtual ~Subject() = default;

  virtual bool ordered() const = 0;
  virtual std::size_t value_size() const = 0;  // 0: any
  virtual Status open(const std::string& path, const Config& config) = 0;
  virtual void drop() = 0;
  virtual Collection& raw() = 0;

  virtual Status put(ModelKey key, const std::string& value, bool sync) = 0;
  virtual Status insert(ModelKey key, const std::string& value) = 0;
  virtual Status erase(ModelKey key) = 0;
  virtual Status cas(ModelKey key, const std::string& expected, const std::string& desired) = 0;
  virtual Status compare_erase(ModelKey key, const std::string& expected) = 0;
  virtual Result<std::optional<std::string>> exchange(ModelKey key, const std::string& value) = 0;
  virtual Status put_many(const Entries& entries) = 0;
  virtual Result<std::optional<std::string>> get(ModelKey key) = 0;
  virtual Result<std::string> get_or(ModelKey key, const std::string& fallback) = 0;
  virtual bool contains(ModelKey key) = 0;
  virtual Status get_many(const std::vector<ModelKey>& keys,
                          std::vector<std::optional<std::string>>& out) = 0;
  // All entries that the walk meets, in its order. Maps: all entries, in no order.
  virtual Result<Entries> walk(const Walk& how) = 0;
};

// What the model says of a walk.
Entries expected_walk(const ModelMap& model, const Walk& how, bool reversed);

struct ProgramOptions {
  SubjectKind kind = SubjectKind::const_tree;
  std::string path;
  Config config;
  std::uint64_t seed = 1;
  std::size_t operations = 1000;
  ModelKey keys = 400;            // they lie around zero
  std::size_t value_bytes = 100;  // of most values of Var types; some are far longer
  bool long_values = true;
  // Makes all handles dead and keeps the page cache. Programs with it kill and reopen.
  std::function<void()> kill;
  // Makes all handles dead and loses what was not synced, by the seed.
  std::function<void(std::uint64_t seed)> power_cut;
  // With power_cut: the shard of a key, once the collection is open.
  std::function<std::uint32_t(ModelKey key)> shard_of;
};

// Runs a program. Empty when all was as the model says; else what was not, with seed and step.
std::string run_program(const ProgramOptions& options);

}  // namespace armdb::test
