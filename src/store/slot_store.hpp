// SlotStore: the Fixed store of one shard: slots of one size in slots.dat, written in place.
//
// Invariants:
//   (1) With two copies a slot is written, between two syncs, to one copy only, and that is not
//       the one that holds its last durable state: a torn write never costs a synced value.
//   (2) Each write goes to one of the first places of the stage, in turn. From there it goes to
//       its slot when that place is needed again, which is when the slot's page and lines have
//       come to the processor; and before a sync begins. So a process that is killed, halfway too,
//       leaves the new state or the one before whole, synced or not.
//   (3) Versions rise by one per write, over all slots.
//   (4) A key has one live slot. After a crash two may claim it: the larger version wins, and the
//       loser is erased durably before anything else is written.
//   (5) After a failed write or sync nothing more is written: failed() is sticky.
//   (6) What recovery found torn is zeros before anything else is written: it never becomes whole.
//
// While a sync runs, a slot that it is to make durable can change in neither copy: one is the state
// of the sync before, the other is being written to the disk. Such a write goes to a place of the
// stage, and from there to the slot when the sync has ended, some at a time: see end_sync(). When
// no place is left the writer waits for that end: see write().
//
// A slot that was erased may be used by any key at once: whatever a power cut leaves of it is a
// state that the slot had at or after the last sync.
//
// Threads: run_sync() by one thread beside a writer; everything else by the holder of the shard's
// lock. Nobody reads values here: the index has them.
#pragma once

#include <memory>
#include <vector>

#include "format/slot.hpp"
#include "store/slot_changes.hpp"
#include "store/slot_sealer.hpp"
#include "store/store.hpp"

namespace armdb::store {

struct SlotOptions {
  bool create = true;  // slots.dat, when there is none
  // Of a new file.
  std::uint32_t copies = 2;
  std::uint32_t stage_bytes = 64 << 10;

  // Slots that go home from the stage with one end_sync(): a first store to a page takes
  // microseconds.
  std::uint32_t unstage_step = 64;
  // Behind the last slot that is in use so many are counted, or as many as lie before it.
  std::uint64_t unseen_slots = 16 << 20;
  std::uint64_t grow_step_bytes = 0;  // the file grows by doubling, but by no more than this
  std::uint64_t sync_batch = 0;       // so many writes want a sync; 0: none do
};

// Room for what reading a sealed copy gives: of the best one so far, and of the next.
struct SlotRoom {
  std::vector<std::uint8_t> rooms[2];
  std::size_t next = 0;
  Status status;  // why one could not be opened, which says nothing about its bytes
  [[nodiscard]] bool failed() const noexcept { return crypto::kHasCrypto && !status.ok(); }
};

// A part of slots.dat in memory: whole groups, from a group's first slot on.
struct SlotPiece {
  std::vector<std::uint8_t> bytes;
  std::uint64_t first = 0;
  std::uint64_t count = 0;  // of slots
  std::vector<std::uint8_t> in_use;
};

class SlotStore final : public Store {
 public:
  // Reads what slots.dat holds, or creates it; tells `visit` each live slot, in no order. Then
  // start(), when all of them were settled.
  static Result<std::unique_ptr<SlotStore>> open(const StoreContext& context,
                                                 const SlotOptions& options, RecoveryVisitor visit);
  SlotStore(const SlotStore&) = delete;
  SlotStore& operator=(const SlotStore&) = delete;

  // Brings what recovery found into order, durably; from then on it may be written. Changes nothing
  // when the configuration is read_only.
  Status start();

  // Reads the other one again, to compare; start() will erase the loser.
  Result<bool> settle(base::Location old, const RecoveredEntry& entry) override;

  // Writes the entry over the one at `old`, or to a free slot; erases it when it is a tombstone.
  // The new place differs from all before it.
  Status write(const Write& write, base::Location old, base::Location& at) override;
  void mark_dead(base::Location) noexcept override {}
  Status flush() override { return {}; }  // written is written
  // Brings in what the last write will need when it goes to its slot. Called before the next one
  // looks for its key: both then wait for memory at the same time.
  void look_ahead() noexcept;

  SyncTicket begin_sync(Status& status) override;
  Status run_sync(const SyncTicket& ticket) override;
  Status end_sync(const SyncTicket& ticket, Status outcome) override;
  Status fail(Status cause) override { return poison(cause); }
  void add_stats(Stats& stats) const override;
  [[nodiscard]] Status describe(Status status, base::Location at) const override;

  // Of the live slot with the highest number below `end`, while a free one lies before it: its key,
  // and where it is; `end` becomes its number. not_found when there is none, or when it was written
  // after the version `newest`.
  Status last_live(std::uint64_t newest, std::uint64_t& end, std::vector<std::uint8_t>& key,
                   base::Location& at);
  // Free groups at the end of the file are given back in two steps, with a sync between them: the
  // largest version has to stay in the file. No sync may run in either of them. not_found when
  // there are none.
  Status begin_trim();
  // Syncs the new size. `aborted` when somebody wrote meanwhile.
  Status end_trim();

  // Copies the slots from the group of `first` on, as many as fit into a piece; none at the end.
  Status read_piece(std::uint64_t first, SlotPiece& piece);
  // Tells the live slots of a piece as they were in the file then; needs no lock. Adds to the
  // report.
  Status visit_piece(const SlotPiece& piece, VerifyReport& report,
                     FunctionRef<Status(const RecoveredEntry&)> visit) const;

  // Writes slots from `number` on once more as they are, sealed anew, about `most` of them;
  // `number` moves on, to slot_count() at the end. No sync may run.
  Status renew(std::uint64_t& number, std::uint64_t most);
  // Makes the stage zeros. Right after a sync.
  Status wipe_stage();
  // Seals by the newest data key from now on.
  void renew_session() noexcept {
    if (sealer_ != nullptr) sealer_->renew();
  }
  // Of a copy of another store: takes an entry with its version.
  Status adopt(const RecoveredEntry& entry);

#if !defined(ARMDB_OMIT_REPLICATION)
  // Told of each write from here on, but for those that move an entry; null: nobody is.
  SlotChanges* tell_changes_to(SlotChanges* changes) noexcept {
    return std::exchange(changes_, changes);
  }
  // The version, as far as the place of an entry tells: the latest one it may have.
  [[nodiscard]] std::uint64_t version_of(base::Location at) const noexcept;
  [[nodiscard]] static std::uint64_t slot_of(base::Location at) noexcept { return number_of(at); }
  // The next write has a version above this one.
  void raise(std::uint64_t version) noexcept;
  // Slots that are damaged, and hold nothing that could be told, are free from here on.
  Status clear_damaged();
  // The file as it is, for a copy of it; `bytes` is cut off at its end.
  // What that copy is called, where it is to be kept aside.
  [[nodiscard]] std::string aside_path(FileSystem& files) const;
  Status read_raw(std::uint64_t offset, std::vector<std::uint8_t>& bytes);
#endif

  // All of a sync at once, where nobody may write meanwhile.
  Status sync();
  // Syncs, then marks the file as clean and syncs that.
  Status close();

  [[nodiscard]] std::uint32_t copies() const noexcept { return layout_.copies(); }
  [[nodiscard]] std::uint64_t slot_count() const noexcept { return slot_count_; }
  [[nodiscard]] std::uint64_t live_count() const noexcept { return live_; }
  [[nodiscard]] std::uint64_t file_bytes() const noexcept { return file_bytes_; }
  [[nodiscard]] bool was_clean() const noexcept { return was_clean_; }
  // Copies that were written, but not whole, when the file was opened; slots that lost all of
  // theirs.
  [[nodiscard]] std::uint64_t torn_copies() const noexcept { return torn_copies_; }
  [[nodiscard]] std::uint64_t damaged_slots() const noexcept { return damaged_slots_; }
  // Of these, those that look as if they had never been used.
  [[nodiscard]] std::uint64_t missing_slots() const noexcept { return missing_slots_; }

 private:
  static constexpr const char* kSlotsLost = "slots.dat lost what it had: restore it from a backup";
  static constexpr std::uint8_t kSlotCopyBit = 0x80;  // of a stamp
  static constexpr std::uint32_t kFailedMarkId = 1;
  static constexpr std::uint32_t kOnWayMax = 4;
  static constexpr std::uint32_t kNowhere = ~std::uint32_t{0};

  explicit SlotStore(const StoreContext& context);

  Status open_file(const SlotOptions& options);
  Status create_file(const SlotOptions& options);
  void map_file();
  Status recover(RecoveryVisitor visit);
  Status finish_recovery();
  Status recover_slot(std::uint64_t number, const std::uint8_t* group, RecoveryVisitor visit);
  format::SlotRead read_copy(std::uint64_t number, Bytes copy, SlotRoom& room,
                             format::Slot& slot) const;
  std::uint32_t judge(std::uint64_t number, Bytes copy, SlotRoom& room, format::Slot& best,
                      bool& won) const;
  std::uint32_t judge_copies(std::uint64_t number, const std::uint8_t* group, SlotRoom& room,
                             format::Slot& best, std::uint32_t& copy) const;
  std::uint32_t judge_stage(std::uint64_t number, SlotRoom& room, format::Slot& best) const;
  void log_damage(std::uint64_t number) const;
  Status read_stage();
  Status read_newest(std::uint64_t number, std::vector<std::uint8_t>& copy, format::Slot& slot);

  Status count_slots(std::uint64_t unseen);
  Status set_slot_count(std::uint64_t slots);
  Status take_free(std::uint64_t& number);
  Status grow();
  Status allocate(std::uint64_t from, std::uint64_t bytes);
  void give_free(std::uint64_t number) noexcept;
  // Slots that are there can be counted in memory.
  [[nodiscard]] std::uint8_t& stamp_of(std::uint64_t number) noexcept {
    return stamps_[static_cast<std::size_t>(number)];
  }
  [[nodiscard]] std::uint64_t& word_of(std::uint64_t number) noexcept {
    return free_[static_cast<std::size_t>(number / 64)];
  }
  [[nodiscard]] static std::uint64_t bit_of(std::uint64_t number) noexcept {
    return std::uint64_t{1} << (number % 64);
  }
  [[nodiscard]] bool is_free(std::uint64_t number) const noexcept {
    return (free_[static_cast<std::size_t>(number / 64)] & bit_of(number)) != 0;
  }
  [[nodiscard]] std::uint64_t end_of_used(std::uint64_t end) const noexcept;
  [[nodiscard]] std::uint64_t slots_to_keep() const noexcept;
  Status refuse_damaged(std::uint64_t number) const;
  Status write_erased(std::uint64_t number, Bytes key);
  // Under the next version.
  Status write_slot(std::uint64_t number, format::Slot slot);
  Status write_version(std::uint64_t number, const format::Slot& slot);
  Status encode(std::uint64_t number, const format::Slot& slot, MutableBytes place);
  // A copy in one of the first places of the stage that is not where it belongs yet: in the slot of
  // that number, or in the place `to` of the stage.
  struct OnWay {
    std::uint64_t number = 0;
    std::uint64_t to = 0;   // of a slot not known before aim()
    std::size_t bytes = 0;  // the last ones of the place; 0: there is nothing
  };
  void aim(OnWay& way) noexcept;
  void finish(std::uint32_t place) noexcept;
  void finish_all() noexcept;
  Status read_bytes(std::uint64_t at, MutableBytes bytes) const;
  Status write_bytes(std::uint64_t at, Bytes bytes);
  Status write_zeros(std::uint64_t at, std::size_t bytes);
  Status clear_stage();
  std::uint32_t stage_place(std::uint64_t number) noexcept;
  Status bring_home(std::uint64_t number, Bytes copy);
  Status unstage();
  [[nodiscard]] std::uint64_t next_version() const noexcept;
  [[nodiscard]] bool is_durable(std::uint8_t stamp) const noexcept;
  [[nodiscard]] bool is_syncing(std::uint8_t stamp) const noexcept;
  [[nodiscard]] std::uint32_t after(std::uint32_t place) const noexcept {
    return (place + 1) & (on_way_count_ - 1);
  }
  // Behind the first places of the stage.
  [[nodiscard]] std::uint64_t staged_place(std::uint32_t at) const noexcept {
    return layout_.stage_at(on_way_count_ + at);
  }
  [[nodiscard]] Bytes staged_at(std::uint32_t place) const noexcept {
    return Bytes(stage_).sub(place * layout_.stage_bytes(), layout_.stage_bytes());
  }
  void forget_old_generations() noexcept;
  Status poison(const Status& cause);

  [[nodiscard]] static RecoveredEntry entry_of(std::uint64_t number,
                                               const format::Slot& slot) noexcept;
  // A slot's place: its number, and enough of the version to tell two states of it apart.
  [[nodiscard]] static base::Location location_of(std::uint64_t number,
                                                  std::uint64_t version) noexcept {
    return base::Location((version << 32) | number);
  }
  [[nodiscard]] static std::uint64_t number_of(base::Location at) noexcept {
    return at.packed() & 0xffffffff;
  }

  const StoreContext context_;
  const std::string path_;
  std::uint64_t grow_step_bytes_ = 0;
  std::uint64_t sync_batch_ = 0;
  std::uint32_t unstage_step_ = 0;
  std::uint64_t sync_wanted_from_ = 0;  // the sequence from which a sync is wanted
  format::SlotsHeader header_;
  format::SlotLayout layout_;
  std::uint32_t seed_ = 0;
  std::unique_ptr<SlotSealer> sealer_;  // of an encrypted collection
  SlotRoom room_;                       // for the holder of the lock

  Owned<File> file_;
  Owned<Mapping> mapping_;  // null: written with write_at()
  std::uint64_t size_at_open_ = 0;
  std::uint64_t file_bytes_ = 0;     // of whole groups
  std::vector<std::uint8_t> image_;  // of a place of the stage, where nothing is mapped

  // A bit per slot that is free; behind these words a stamp for each: the copy that counts (bit 7),
  // and the generation of syncs it was written in, 0 when that is durable.
  std::unique_ptr<std::uint64_t[]> free_;
  std::size_t free_words_ = 0;
  std::uint8_t* stamps_ = nullptr;
  std::uint64_t slot_count_ = 0;
  std::uint64_t free_count_ = 0;
  bool full_ = false;           // the last growth found no space
  std::size_t free_first_ = 0;  // no free slot in words before it
  std::uint64_t live_ = 0;
  std::uint64_t kept_version_ = 0;  // see begin_trim()
  std::uint64_t opened_ = 0;        // live slots that recovery told

  bool rewritten_ = false;  // slots, under the version that they had

  std::uint8_t generation_ = 1;  // of writes: 1 to 127, again and again
  std::uint8_t syncing_ = 0;     // the generation that a sync is making durable
  bool draining_ = false;        // it has, and slots that waited for that are still staged
  std::uint64_t forget_at_ = 0;

  // Places of the stage that all writes go by in turn, and which is next.
  OnWay on_way_[kOnWayMax];
  std::uint32_t on_way_count_ = 1;
  std::uint32_t on_way_next_ = 0;
  // The slots that are staged, by place behind these; and where each is in that list, plus 1: a
  // hash table of twice the places, 0 where there is none.
  std::vector<std::uint32_t> staged_;
  std::uint32_t staged_count_ = 0;
  std::vector<std::uint32_t> staged_find_;

  // During recovery: the stage as it was, which of its places are newer than their slots, the
  // slots that lost their key to another one.
  std::vector<std::uint8_t> stage_;
  std::vector<std::uint32_t> stage_order_;  // places with a copy, by number, then version
  std::vector<std::uint32_t> stage_wins_;
  std::vector<std::uint64_t> losers_;
  std::vector<std::uint64_t> torn_;  // where copies lie that must never count
#if !defined(ARMDB_OMIT_REPLICATION)
  SlotChanges* changes_ = nullptr;
  std::vector<std::uint64_t> damaged_;  // slots that recovery left alone
#endif
  bool was_clean_ = false;
  std::uint64_t torn_copies_ = 0;
  std::uint64_t damaged_slots_ = 0;
  std::uint64_t missing_slots_ = 0;
};

}  // namespace armdb::store
