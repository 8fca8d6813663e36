// Reads of the tail buffer beside its writer: all interleavings with few preemptions.
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "armdb.hpp"
#include "base/epoch.hpp"
#include "base/shared_bytes.hpp"
#include "store/tail_buffer.hpp"
#include "support/catch.hpp"
#include "support/index_program.hpp"
#include "support/interleaving.hpp"

#if defined(ARMDB_CHECKS) && !defined(ARMDB_OMIT_THREADS)

namespace {

using armdb::base::load_relaxed;
using armdb::base::Location;
using armdb::base::store_relaxed;
using namespace armdb;

constexpr std::uint32_t kSeed = 7;

// The writer appends and publishes locations; when it has flushed, it begins anew with the next
// offset, or with the next segment. A reader reads what was published last, and what was there
// first.
class Flushing final : public test::Interleaved {
 public:
  explicit Flushing(bool next_segment) : next_segment_(next_segment) {}

  void set_up() override {
    files_ = make_memory_file_system();
    if (!files_->create_directory("c").ok()) std::abort();
    context_ = std::make_unique<store::StoreContext>(
        store::StoreContext{*files_, config_, epochs_, "c", {}, 0, 1, {}, false, nullptr});
    tail_ = std::make_unique<store::TailBuffer>();
    if (!tail_->open(*context_, 512, true).ok()) std::abort();
    test::interleaved_object(tail_.get());
    published_ = static_cast<std::uint64_t*>(test::interleaved_pages().allocate(8, 0));
    entries_.clear();
    flushed_ = false;
    fault_.clear();
    sequence_ = 0;
    segment_ = 1;
    tail_->reset(segment_, 4096);
    first_ = append(8);
  }

  void run(unsigned thread) override {
    if (thread == 0) {
      append(8);
      flushed_ = true;
      const std::uint64_t next = tail_->next_offset();
      if (next_segment_) segment_ += 1;
      tail_->reset(segment_, next_segment_ ? 64 : next);
      append(24);
      append(8);
    } else {
      read(load_relaxed(published_));
      read(first_);
    }
  }

  std::string check() override { return fault_; }

 private:
  std::uint64_t append(std::size_t value_size) {
    std::uint8_t key[8];
    std::uint8_t value[32];
    sequence_ += 1;
    std::fill(std::begin(key), std::end(key), static_cast<std::uint8_t>(sequence_));
    std::fill(std::begin(value), std::end(value), static_cast<std::uint8_t>(sequence_ * 17));
    const format::Entry entry{0, sequence_, 0, Bytes(key), Bytes(value, value_size)};
    std::vector<std::uint8_t> bytes(
        static_cast<std::size_t>(format::entry_bytes(8, value_size, false)));
    format::encode_entry(entry, kSeed, bytes.data());
    const Location at(segment_, tail_->next_offset(), bytes.size());
    entries_[at.packed()] = bytes;
    tail_->append(entry, kSeed, bytes.size());
    store_relaxed(published_, at.packed());
    return at.packed();
  }

  // It is there, whole, or it was flushed.
  void read(std::uint64_t at) {
    store::ReadBuffer buffer;
    Bytes entry;
    bool out_of_memory = false;
    if (!tail_->read(Location(at), buffer, entry, out_of_memory)) {
      if (!flushed_ || out_of_memory) fault_ = "an entry is not there";
    } else if (entry != Bytes(entries_[at])) {
      fault_ = "an entry is a mixture";
    }
  }

  const bool next_segment_;
  Config config_;
  base::EpochDomain epochs_;
  Owned<FileSystem> files_;
  std::unique_ptr<store::StoreContext> context_;
  std::unique_ptr<store::TailBuffer> tail_;
  std::uint64_t* published_ = nullptr;
  std::map<std::uint64_t, std::vector<std::uint8_t>> entries_;
  bool flushed_ = false;
  std::string fault_;
  std::uint64_t sequence_ = 0;
  std::uint32_t segment_ = 1;
  std::uint64_t first_ = 0;
};

}  // namespace

TEST_CASE("tail_buffer interleaving: an entry is read whole, or was flushed") {
  for (const bool next_segment : {false, true}) {
    Flushing program(next_segment);
    test::explore_all(program, 2, 2);
  }
}

#endif
