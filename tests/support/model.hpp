// The model: a std::map that does what a collection should do, and a driver that runs random
// programs on both and compares every answer.
//
// It uses the public header only. A typed adapter (model_subject.hpp) makes the ten collections
// look alike: keys are 32-bit integers with sign, values are strings (of one length where the type
// says so).
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

enum class SubjectKind {
  const_tree,
  const_map,
  zero_tree,
  zero_map,
  typed_tree,
  typed_map,
  var_tree,
  var_map,
  var_typed_tree,
  var_typed_map,
  fixed_tree,
  fixed_map,
  fixed_single,  // a tree with one copy of each slot
};
inline constexpr int kSubjectKinds = 13;
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

// What is thrown by a function given to a collection.
struct Thrown {};

// What the function given to update(), fetch_update() or upsert() does, and what it saw.
struct Change {
  enum class Call { update, fetch_update, upsert };
  enum class Answer { value, optional, result };
  Call call = Call::update;
  Answer answer = Answer::value;  // what it returns: V, std::optional<V> or Result<V>
  Errc refuse = Errc::ok;         // not with `value`; with `optional` it comes out as `aborted`
  bool throws = false;
  std::string fresh;
  // Filled in by the call.
  std::size_t calls = 0;
  std::optional<std::string> seen;
};

// One call on the handle of an atomic block, and what it answered.
struct AtomicStep {
  enum class Kind { put, insert, erase, get, contains, update };
  Kind kind = Kind::put;
  ModelKey key = 0;
  std::string value;
  std::uint64_t ttl_ms = 0;
  Change change;  // of `update`
  // Filled in by the call.
  Status status;
  std::optional<std::string> got;
};
// How an atomic block ends: ok, by returning nothing, with an error, with an exception.
enum class AtomicEnd { ok, nothing, error, throws };
inline constexpr Errc kBlockError = Errc::unsupported;

struct BatchItem {
  ModelKey key = 0;
  std::optional<std::string> value;  // without: an erase
  std::uint64_t ttl_ms = 0;
};

struct MigrateAnswer {
  MigrateVerdict verdict = MigrateVerdict::keep;
  std::string fresh;
};

// A collection of any type.
class Subject {
 public:
  using Found = std::optional<std::string>;
  using Visit = std::function<bool(ModelKey key, const std::string& value)>;
  using Decide = std::function<MigrateAnswer(ModelKey key, const std::string& value)>;

  static std::unique_ptr<Subject> make(SubjectKind kind);
  virtual ~Subject() = default;

  virtual bool ordered() const = 0;
  // On the Fixed store: atomic() is refused, batch() writes one entry after the other, and a power
  // cut leaves of each key a state at or past its last sync.
  virtual bool fixed() const = 0;
  virtual std::size_t value_size() const = 0;  // 0: any
  virtual Status open(const std::string& path, const Config& config) = 0;
  virtual void drop() = 0;
  virtual Collection& raw() = 0;

  virtual Status put(ModelKey key, const std::string& value, WriteOptions options) = 0;
  virtual Status insert(ModelKey key, const std::string& value, WriteOptions options) = 0;
  virtual Status erase(ModelKey key, WriteOptions options) = 0;
  virtual Status cas(ModelKey key, const std::string& expected, const std::string& desired,
                     WriteOptions options) = 0;
  virtual Status compare_erase(ModelKey key, const std::string& expected, WriteOptions options) = 0;
  virtual Result<Found> exchange(ModelKey key, const std::string& value, WriteOptions options) = 0;
  virtual Result<std::string> change(ModelKey key, Change& change, WriteOptions options) = 0;
  virtual Status persist(ModelKey key, WriteOptions options) = 0;

  virtual Status atomic(ModelKey key, std::vector<AtomicStep>& steps, AtomicEnd end,
                        WriteOptions options) = 0;
  virtual Status batch(const std::vector<BatchItem>& items, WriteOptions options) = 0;
  virtual Status put_many(const Entries& entries, WriteOptions options) = 0;
  virtual Status load(const Entries& entries, WriteOptions options) = 0;
  virtual Status migrate(const Decide& decide, MigrateOptions options) = 0;
  virtual Result<std::uint64_t> clear() = 0;
  virtual Result<std::uint64_t> sweep_expired(std::uint64_t budget) = 0;
  // Trees.
  virtual Result<std::uint64_t> erase_range(ModelKey first, ModelKey last) = 0;
  virtual Result<std::uint64_t> erase_prefix(const std::string& prefix) = 0;

  virtual Result<Found> get(ModelKey key) = 0;
  virtual Result<Found> read(ModelKey key) = 0;  // through read(key, fn)
  virtual Result<std::string> get_or(ModelKey key, const std::string& fallback) = 0;
  virtual bool contains(ModelKey key) = 0;
  virtual Status get_many(const std::vector<ModelKey>& keys, std::vector<Found>& out) = 0;
  virtual Result<std::uint64_t> expires_at(ModelKey key) = 0;
  // All entries that the walk meets, in its order. Maps: all entries, in no order.
  virtual Result<Entries> walk(const Walk& how) = 0;
  virtual Status for_each(const Visit& visit) = 0;
  // Maps.
  virtual Result<std::uint64_t> scan(std::uint64_t cursor, std::size_t limit,
                                     const Visit& visit) = 0;
};

struct ProgramOptions {
  SubjectKind kind = SubjectKind::const_tree;
  std::string path;
  Config config;
  std::uint64_t seed = 1;
  std::size_t operations = 1000;
  ModelKey keys = 400;            // they lie around zero
  std::size_t value_bytes = 100;  // of most values of types without a fixed size; some are longer
  bool long_values = true;
  bool expiries = true;  // some entries get a time to live, of hours
  bool bulky = false;    // mostly large loads, migrations, clears and crashes
  // Makes all handles dead and keeps the page cache. Programs with it kill and reopen.
  std::function<void()> kill;
  // Makes all handles dead and loses what was not synced, by the seed.
  std::function<void(std::uint64_t seed)> power_cut;
  // The shard of a key, once the collection is open. Without it the collection itself is asked.
  std::function<std::uint32_t(ModelKey key)> shard_of;
};

// Runs a program. Empty when all was as the model says; else what was not, with seed and step.
std::string run_program(const ProgramOptions& options);

// Entries that expire within a millisecond are gone for every call from then on, also after the
// next open, and sweep_expired() erases just these. Waits until they are seen to have expired.
std::string run_expiry_program(const ProgramOptions& options);

// The start of what the two above answer when something went wrong.
std::string program_name(const ProgramOptions& options);

}  // namespace armdb::test
