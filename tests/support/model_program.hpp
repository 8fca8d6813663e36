// One random program: a collection, its model, and the calls that are made on both.
#pragma once

#include <mutex>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "support/model_state.hpp"

namespace armdb::test {

// Throws what went wrong. model_program.cpp has the life of the collection, and reads;
// model_writes.cpp writes of one key, model_groups.cpp those of many.
class Program {
 public:
  explicit Program(const ProgramOptions& options);

  void run();
  [[nodiscard]] std::string where() const { return "step " + std::to_string(step_) + log_; }

 private:
  // A migration that was begun and not finished.
  struct Migration {
    bool open = false;
    std::uint32_t to_version = 0;
    std::uint64_t begun_at = 0;              // the number of the last write before it
    std::map<ModelKey, std::uint64_t> kept;  // what was asked about and kept: its number
    std::map<std::uint32_t, std::pair<ModelKey, std::uint64_t>> changed;  // the last of a shard
  };
  // One call of migrate().
  struct MigrateCall {
    bool may_ask = true;
    std::uint64_t stop_at = 0;  // the report to answer false to; 0: none
    bool stopped = false;
    std::string wrong;
    std::uint64_t reports = 0;
    std::uint64_t updated = 0;
    std::uint64_t erased = 0;
    std::set<ModelKey> asked;
  };
  // An atomic block, as the model sees it.
  struct Block {
    std::uint32_t shard = 0;
    std::map<ModelKey, std::optional<ModelEntry>> own;
    std::vector<std::pair<ModelKey, std::optional<ModelEntry>>> writes;

    void write(ModelKey key, std::optional<ModelEntry> entry) {
      own[key] = entry;
      writes.emplace_back(key, std::move(entry));
    }
  };

  static void take_log(void* self, LogLevel level, std::string_view text);
  static void check(bool good, const std::string& what) {
    if (!good) throw std::runtime_error(what);
  }
  static void need(const Status& status, const std::string& what) {
    if (!status.ok()) throw std::runtime_error(what + ": " + status.message());
  }
  static void check_code(const Status& status, Errc wanted, const std::string& what);

  // ---- Opening, closing, crashing ----

  void open();
  void reopen();
  void kill();
  void power_cut();
  void maybe_crash();
  [[nodiscard]] std::uint32_t shard_of(ModelKey key);

  // ---- Checks ----

  void check_all();
  void check_walk(const Walk& how);
  void check_expiry(ModelKey key);
  void check_one(ModelKey key, const std::string& when);
  void random_walk();
  void random_for_each();

  // ---- What programs are made of ----

  ModelKey random_key();
  ModelKey random_key_of(std::uint32_t shard);
  std::string random_prefix(std::size_t least);
  std::string random_value();
  std::string random_expected(ModelKey key);
  WriteOptions random_options();
  Change random_change(Change::Call call);
  Entries random_entries(std::size_t most);
  // When an entry ends that is put now.
  [[nodiscard]] std::uint64_t expiry_of(std::uint64_t ttl_ms) const;
  // The same where a change keeps what `old` has.
  [[nodiscard]] std::uint64_t expiry_of(std::uint64_t ttl_ms, const ModelEntry* old) const;
  void set(ModelKey key, const std::string& value, WriteOptions options);
  void erased(ModelKey key, WriteOptions options);

  void step();
  void step_bulky(std::uint64_t what);
  void step_rare(std::uint64_t what);
  void care(std::uint64_t what);

  void write_one(std::uint64_t what);
  void compare(ModelKey key, bool cas);
  void change();
  static Errc outcome(const Change& change);
  void persist();

  void atomic();
  AtomicStep random_atomic_step(std::uint32_t shard, bool foreign);
  void check_atomic_step(const AtomicStep& step, Block& block);
  void check_atomic_write(const AtomicStep& step, const ModelEntry* old, Block& block);
  void batch();
  void put_many();
  void load();
  void get_many();
  void erase_some();
  void clear();
  void scan_in_pieces();
  void migrate();
  Status run_migration(MigrateCall& call, std::uint32_t to_version);
  MigrateAnswer answer_migration(MigrateCall& call, ModelKey key, const std::string& value);
  static bool take_report(void* context, const MigrationProgress& progress);
  void finish_migration();

  void read_one(std::uint64_t what);

  const ProgramOptions& options_;
  Config config_;
  std::mutex log_mutex_;
  std::string log_;  // errors since the last open
  Dice dice_;
  std::unique_ptr<Subject> subject_;
  std::map<ModelKey, std::uint32_t> shards_;  // that were asked for
  std::vector<ModelKey> shard_keys_;          // one of each
  ModelState state_;
  Migration migration_;
  std::uint32_t data_version_ = 0;
  bool survives_kill_ = false;
  std::size_t step_ = 0;
};

}  // namespace armdb::test
