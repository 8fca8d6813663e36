// FaultFileSystem: files in memory that forget, fail and fill up as real disks do.
//
// It keeps two states. The live one is what programs see: the page cache. The durable one is
// what a power cut leaves at least. Between them lie, in order of time,
//   * pending atoms: what was written and not synced, cut at 512-byte boundaries, one atom for a
//     change of size; stores through mappings become atoms when somebody asks;
//   * pending directory operations: what was created, renamed or removed, and not synced.
// A power cut keeps the durable state and any subset of the pending things that a disk could
// have kept. See section 2 of test-tools.md for the model.
//
// A file's sync makes its atoms durable; under Model::ext4 it also commits all directory
// operations before it, under Model::strict it does not. A failed sync forgets the file's atoms:
// they stay readable until drop_cache(), and no later sync brings them back.
//
// Threads: any; one mutex. It outlives all that it gave out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/mutex.hpp"
#include "core/file_system.hpp"

namespace armdb::test {

// Kinds of calls, for faults and counters. `any` is all of them.
enum class Call : std::uint8_t {
  any,
  read,
  write,
  sync,
  truncate,
  allocate,
  drop_cache,
  map,
  open,
  info,
  list,
  create_directory,
  remove,
  rename,
  sync_directory,
  lock,
};

// What a power cut makes of an atom. A change of size is either absent or, else, there.
enum class AtomFate : std::uint8_t {
  absent,
  present,
  zero,     // the size is there, the data is not
  garbage,  // any bytes
  half,     // its first half is new, the rest is old
};

// What may become of atoms at worst, where bytes are changed in place: any of the above; a part of
// an atom, as of a sector whose other bytes are not touched; or all of it or nothing.
enum class Tearing : std::uint8_t { any, half, none };

struct PendingAtom {
  std::string_view path;  // a name of the file, live or durable; empty when it has none
  std::uint64_t inode = 0;
  std::size_t index = 0;  // among all, in order of time
  std::uint64_t offset = 0;
  std::size_t size = 0;  // 0: a change of the file's size
};

class FaultFileSystem final : public FileSystem {
 public:
  enum class Model : std::uint8_t { strict, ext4 };
  static constexpr std::size_t kAtomBytes = 512;
  static constexpr std::size_t kBlockBytes = 4096;  // of set_capacity

  explicit FaultFileSystem(Model model = Model::strict);
  ~FaultFileSystem() override;

  // ---- Crashes: every handle, mapping and lock given out before is dead afterwards ----

  // The machine stops. `fate` is asked for each pending atom, `keep` for each pending directory
  // operation, both in order of time.
  void power_cut(FunctionRef<AtomFate(const PendingAtom& atom)> fate,
                 FunctionRef<bool(std::size_t operation)> keep);
  void power_cut_lose_all();
  void power_cut_keep_all();
  // A random mix, the same for the same seed; directory operations as a prefix, or under
  // Model::strict every other time as any subset. `tearing` is for files whose names end like that.
  void power_cut_random(std::uint64_t seed, Tearing tearing = Tearing::any,
                        std::string_view name_end = {});
  // The process dies; the page cache stays.
  void kill_process();

  [[nodiscard]] std::size_t pending_atoms() const;
  [[nodiscard]] std::size_t pending_directory_operations() const;

  // ---- Faults ----

  // The `nth` call of the kind from now on (1 is the next) fails with this errno, or with
  // `sticky` that one and all after it. A write first writes `short_bytes` of its data.
  void fail(Call call, std::size_t nth, int os_error, bool sticky = false,
            std::size_t short_bytes = 0);
  // As Tearing::none: failed writes to slots.dat end between sectors.
  void set_whole_sectors(bool whole);
  void clear_faults();
  // Files of which a sync failed and whose pages were not dropped since: a reader sees what the
  // disk does not have, and nothing tells.
  [[nodiscard]] std::vector<std::string> stale_files() const;
  // Whether a fault was met since the last clear_faults().
  [[nodiscard]] bool fault_met() const;
  // What the first call that met one since then was; `any` when none did.
  [[nodiscard]] Call first_fault() const;
  // Bytes of blocks the disk has; what would need more is ENOSPC. Blocks that a mapping fills are
  // not counted: allocate them first.
  void set_capacity(std::uint64_t bytes);
  [[nodiscard]] std::uint64_t used_bytes() const;
  // Whether files can be mapped; else `unsupported`, which is no fault.
  void set_mappable(bool mappable);

  // ---- Watching ----

  [[nodiscard]] std::size_t calls(Call call = Call::any) const;
  // Files, mappings and locks that were given out since the last crash and not given back yet.
  [[nodiscard]] std::size_t open_handles() const;
  // "write /a/b 512 100" for each call that changes something, while it is on.
  void set_trace(bool on);
  [[nodiscard]] std::vector<std::string> trace() const;
  // Called, under no lock, before each call that changes something or syncs: the place to take
  // a snapshot.
  void set_observer(std::function<void(Call call, const std::string& path)> observer);

  // ---- States ----

  class Snapshot;
  // Both states and all that is pending. Cheap: bytes are shared until they change.
  [[nodiscard]] Snapshot snapshot() const;
  // Handles die as in a crash. The snapshot may be of another FaultFileSystem.
  void restore(const Snapshot& snapshot);
  // Of the live state: names and bytes. For leaving out what was seen already.
  [[nodiscard]] std::uint64_t hash() const;

  // ---- FileSystem ----

  Result<Owned<File>> open(const std::string& path, OpenMode mode) override;
  Result<FileInfo> info(const std::string& path) override;
  Status list(const std::string& path,
              FunctionRef<void(std::string_view name, FileKind kind)> visit) override;
  Status create_directory(const std::string& path) override;
  Status remove(const std::string& path) override;
  Status rename(const std::string& from, const std::string& to) override;
  Status sync_directory(const std::string& path) override;
  Result<Owned<FileLock>> lock(const std::string& path, LockMode mode) override;

 private:
  friend class FaultFile;
  friend class FaultMapping;
  friend class FaultLock;

  using Inode = std::uint64_t;  // 0: a directory
  using Names = std::map<std::string, Inode, std::less<>>;
  using Buffer = std::vector<std::uint8_t>;

  // Bytes that are copied when they change while somebody else holds them.
  struct Image {
    std::shared_ptr<Buffer> buffer = std::make_shared<Buffer>();
    std::uint64_t size = 0;

    // The buffer with at least `room` bytes, for changing. A pinned one stays in its place while
    // it is large enough, because it is mapped.
    Buffer& own(std::uint64_t room, bool pinned);
    void write(std::uint64_t offset, Bytes data, bool pinned = false);
    void resize(std::uint64_t bytes, bool pinned = false);
  };
  struct FileState {
    Image live;
    Image durable;
    std::vector<bool> blocks;  // which have space on the disk
    Buffer shadow;             // the live bytes as last compared, while mapped_writable
    unsigned mappings = 0;     // alive; the live buffer then stays in its place
    bool mapped_writable = false;
    bool stale = false;  // a sync failed, and the pages were not dropped since
  };
  enum class Change : std::uint8_t { write, resize, extend };
  struct PendingChange {
    Inode inode = 0;
    Change change = Change::write;
    std::uint64_t offset = 0;  // or the new size
    std::shared_ptr<const Buffer> data;
  };
  struct DirectoryOperation {
    std::string removed;  // a name that goes, or empty
    std::string added;    // a name that comes, or empty
    Inode inode = 0;
  };
  struct State {
    Names live;
    Names durable;
    std::map<Inode, FileState> files;
    std::vector<PendingChange> changes;
    std::vector<DirectoryOperation> operations;
    Inode inode_next = 1;
  };
  struct Fault {
    Call call = Call::any;
    std::size_t left = 0;
    int os_error = 0;
    bool sticky = false;
    std::size_t short_bytes = 0;
  };
  struct LockState {
    bool writer = false;
    std::size_t readers = 0;
  };

  // Names, as tables without locks.
  [[nodiscard]] static bool is_directory(const Names& names, const std::string& path);
  [[nodiscard]] static bool has_children(const Names& names, const std::string& path);
  [[nodiscard]] static int parent_error(const Names& names, const std::string& path);
  [[nodiscard]] static int rename_error(const Names& names, const std::string& from,
                                        const std::string& to);
  static void apply(Names& names, const DirectoryOperation& operation);

  // Changes of files.
  static void apply(Image& image, const PendingChange& change);
  static void apply_atom(Image& image, const PendingChange& change, std::uint64_t offset,
                         std::size_t size, AtomFate fate);
  // Calls visit(offset, size) for each atom of a change.
  static void for_each_atom(const PendingChange& change,
                            FunctionRef<void(std::uint64_t offset, std::size_t size)> visit);
  // Turns stores through mappings into pending changes.
  static void absorb(State& state, Inode inode);
  static void absorb_all(State& state);
  void change_live(Inode inode, PendingChange change);
  // Takes blocks for the range; how many of its bytes they cover.
  std::uint64_t take_blocks(FileState& file, std::uint64_t offset, std::uint64_t size,
                            bool all_or_nothing);
  [[nodiscard]] std::uint64_t used_bytes_locked() const;

  // What File and FileLock do; under the lock.
  Status sync_file(Inode inode, const std::string& path, const std::optional<Fault>& fault);
  void drop_cache_of(Inode inode);
  void commit_operations(FunctionRef<bool(const DirectoryOperation& operation)> which);
  void drop_unnamed();
  void invalidate_handles();

  // Counts and traces the call; the fault that meets it, if any.
  std::optional<Fault> count(Call call, const std::string& path, std::uint64_t offset = 0,
                             std::uint64_t size = 0);
  void observe(Call call, const std::string& path);

  const Model model_;
  mutable base::Mutex mutex_;
  mutable State state_;  // mutable: asking for pending atoms absorbs stores through mappings
  std::vector<Fault> faults_;
  Call first_fault_ = Call::any;
  bool fault_met_ = false;
  std::uint64_t capacity_ = ~std::uint64_t{0};
  bool mappable_ = true;
  bool whole_sectors_ = false;
  std::uint64_t generation_ = 1;  // of handles
  std::map<Inode, LockState> locks_;
  std::map<Inode, std::size_t> open_;  // handles alive
  std::size_t calls_[16] = {};
  bool trace_on_ = false;
  std::vector<std::string> trace_;
  std::function<void(Call call, const std::string& path)> observer_;
};

// A value: may be kept, copied, and restored many times.
class FaultFileSystem::Snapshot {
 private:
  friend class FaultFileSystem;
  std::shared_ptr<const State> state_;
};

}  // namespace armdb::test
