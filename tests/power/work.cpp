#include "power/work.hpp"

#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <exception>
#include <stdexcept>
#include <string_view>
#include <thread>
#include <type_traits>

#include "armdb.hpp"
#include "support/random.hpp"

namespace armdb::power {

namespace {

using VarLog = VarTree<std::uint64_t>;
using ConstLog = ConstMap<std::uint64_t, ByteArray<48>>;
using SlotTree = FixedTree<std::uint64_t, ByteArray<48>>;
using SlotMap = FixedMap<std::uint64_t, ByteArray<1500>>;

FixedConfig config_of(const Subject& subject) {
  FixedConfig config;
  if (subject.encrypted) config.encryption_key = ByteArray<32>{4, 2};
  config.shard_count = subject.shards;
  config.single_copy = subject.single_copy;
  config.max_file_size = 64 << 10;
  config.write_buffer_size = 16 << 10;
  config.grow_step = 64 << 10;
  return config;
}

// The size goes with n too, so that entries end anywhere in a page.
std::string value_of(const VarLog&, std::uint64_t n) {
  std::string value(8 + (n % 97 == 0 ? 20000 : n * n % 800), static_cast<char>('a' + n % 26));
  std::memcpy(value.data(), &n, sizeof n);
  return value;
}

template <class Tree> auto value_of(const Tree&, std::uint64_t n) {
  typename Tree::value_type value;
  value.fill(static_cast<std::uint8_t>('a' + n % 26));
  std::memcpy(value.data(), &n, sizeof n);
  return value;
}

template <class Tree> std::uint64_t number_in(const Tree& tree, Bytes value) {
  std::uint64_t n = 0;
  if (value.size() >= sizeof n) std::memcpy(&n, value.data(), sizeof n);
  if (value != Bytes(value_of(tree, n))) throw std::runtime_error("a value that nobody wrote");
  return n;
}

std::uint64_t number_at(const VarLog& tree, std::uint64_t key) {
  const auto value = tree.get(key);
  if (!value.ok()) throw std::runtime_error(value.message());
  return *value ? number_in(tree, Bytes(**value)) : 0;
}
template <class Tree> std::uint64_t number_at(const Tree& tree, std::uint64_t key) {
  const auto value = tree.get(key);
  return value ? number_in(tree, Bytes(*value)) : 0;
}

// For the report of a failure.
void add_line(void* context, LogLevel, std::string_view text) {
  static_cast<std::string*>(context)->append("\n  log: ").append(text);
}

std::uint64_t key_of(unsigned thread, std::uint64_t place) { return thread * kPlaces + place; }

// ---- The writer ----

// What fails by the cut is expected; else the parent sees the end of it.
void require_unless_cut(const Status& status, const Progress& progress, std::string_view what) {
  if (status.ok()) return;
  const bool cut = progress.cut.load();
  if (!cut)
    std::printf("%.*s: %s\n", static_cast<int>(what.size()), what.data(), status.message().c_str());
  std::fflush(stdout);
  ::_exit(cut ? 0 : 1);
}

template <class Tree>
Status write_one(const Subject& subject, Tree& tree, unsigned thread, std::uint64_t n,
                 WriteOptions options) {
  const std::uint64_t key = key_of(thread, place_of(n));
  if constexpr (std::is_same_v<Tree, VarLog> || std::is_same_v<Tree, ConstLog>) {
    if (is_batch(subject, n)) {
      WriteBatch<Tree> batch(tree);
      Status status;
      for (std::uint64_t at = 0; status.ok() && at < kTogether; ++at) {
        status = batch.put(key_of(thread, kKeys + at), value_of(tree, n));
      }
      return status.ok() ? batch.commit(options) : status;
    }
  }
  return is_erase(subject, n) ? tree.erase(key, options)
                              : tree.put(key, value_of(tree, n), options);
}

// With one shard a synced write makes all before it durable; with more only what is in its own.
void note_sync(const Subject& subject, Progress::Thread& own, std::uint64_t n, bool alone) {
  if (!alone || subject.shards == 1) return own.durable.store(n);
  if (!is_batch(subject, n)) return own.synced[place_of(n)].store(n);
  for (std::uint64_t at = kKeys; at < kPlaces; ++at) own.synced[at].store(n);
}

template <class Tree>
void write_thread(const Subject& subject, Tree& tree, unsigned thread, std::uint64_t seed,
                  Progress& progress) {
  base::Random random(seed);
  const std::uint64_t sync_every = 1 + random.below(60);
  Progress::Thread& own = progress.threads[thread];
  for (std::uint64_t n = own.started.load() + 1;; ++n) {
    bool synced = random.one_in(sync_every);
    own.started.store(n);
    const Status status = write_one(subject, tree, thread, n, {.sync = synced});
    if (status.is(Errc::not_found)) {
      synced = false;  // there was nothing to erase, so nothing was synced
    } else {
      require_unless_cut(status, progress, "write");
    }
    own.returned.store(n);
    if (synced || random.one_in(2 * sync_every)) {
      if (!synced) require_unless_cut(tree.sync(), progress, "sync");
      // No sync returns after a real cut; while it shuts down, ext4 may say ok and lose the data.
      if (progress.cut.load()) ::_exit(0);
      note_sync(subject, own, n, synced);
      progress.syncs.fetch_add(1);
    }
    if (random.one_in(40)) ::usleep(static_cast<useconds_t>(random.below(1500)));
  }
}

template <class Tree>
[[noreturn]] void write_tree(const Subject& subject, const std::string& path, std::uint64_t seed,
                             Progress& progress) {
  auto tree = Tree::open(path, config_of(subject));
  require_unless_cut(tree.status(), progress, "open");
  progress.open.store(true);
  std::thread second([&] {
    if (subject.threads > 1) write_thread(subject, *tree, 1, seed * 2 + 1, progress);
  });
  std::thread care([&] {
    base::Random random(seed);
    for (;;) {
      const bool compacts = !random.one_in(3);
      require_unless_cut(compacts ? tree->compact() : tree->checkpoint(), progress, "care");
      progress.compactions.fetch_add(compacts ? 1 : 0);
      ::usleep(static_cast<useconds_t>(random.below(8000)));
    }
  });
  write_thread(subject, *tree, 0, seed * 2, progress);
  ::_exit(1);
}

template <class Tree>
void read_tree(const Subject& subject, const std::string& path, bool read_only, Content& content,
               std::string& log) {
  FixedConfig config = config_of(subject);
  config.read_only = read_only;
  config.log = Log{add_line, &log};
  auto tree = Tree::open(path, config);
  if (!tree.ok()) {
    content = Content{};
    // Cut before there was one.
    if (read_only && tree.is(Errc::not_found)) return;
    throw std::runtime_error("does not open: " + tree.message());
  }
  if (tree->stats().damaged_regions != 0) {
    throw std::runtime_error("damage is reported after a mere power cut");
  }
  std::uint64_t live = 0;
  for (unsigned thread = 0; thread < kThreads; ++thread) {
    for (std::uint64_t place = 0; place < kPlaces; ++place) {
      content[thread][place] = number_at(*tree, key_of(thread, place));
      live += content[thread][place] != 0 ? 1 : 0;
    }
  }
  if (tree->size() != live) throw std::runtime_error("keys that nobody wrote, or one twice");
  const auto report = tree->verify();
  if (!report.ok()) throw std::runtime_error("verify: " + report.message());
  if (report->damaged_regions != 0) throw std::runtime_error("verify finds damage");
  const Status closed = tree->close();
  if (!closed.ok()) throw std::runtime_error("does not close: " + closed.message());
}

template <class Visit> void with_type(Store store, Visit visit) {
  switch (store) {
    case Store::var_tree:
      return visit(static_cast<VarLog*>(nullptr));
    case Store::const_map:
      return visit(static_cast<ConstLog*>(nullptr));
    case Store::fixed_tree:
      return visit(static_cast<SlotTree*>(nullptr));
    case Store::fixed_map:
      return visit(static_cast<SlotMap*>(nullptr));
  }
}

}  // namespace

bool is_batch(const Subject& subject, std::uint64_t n) noexcept {
  return subject.log() && n % 16 == 1;
}

bool is_erase(const Subject& subject, std::uint64_t n) noexcept {
  return !is_batch(subject, n) && (n / kKeys + n) % 11 == 0;
}

void write_for_ever(const Subject& subject, const std::string& path, std::uint64_t seed,
                    Progress& progress) noexcept {
  with_type(subject.store,
            [&]<class Tree>(Tree*) { write_tree<Tree>(subject, path, seed, progress); });
  ::_exit(1);
}

void read_all(const Subject& subject, const std::string& path, bool read_only, Content& content) {
  std::string log;
  try {
    with_type(subject.store,
              [&]<class Tree>(Tree*) { read_tree<Tree>(subject, path, read_only, content, log); });
  } catch (const std::exception& error) {
    throw std::runtime_error(error.what() + log);
  }
}

}  // namespace armdb::power
