// FaultFileSystem between its two states: pending changes, syncs, crashes, snapshots.
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <unordered_map>
#include <utility>

#include "base/hash64.hpp"
#include "base/shared_bytes.hpp"
#include "support/fault_file_system.hpp"
#include "support/random.hpp"

#if defined(__clang__)
#define TEST_NO_TSAN __attribute__((no_sanitize("thread"), noinline))
#else
#define TEST_NO_TSAN __attribute__((no_sanitize_thread, noinline))
#endif

namespace armdb::test {
namespace {

// Copies a piece of mapped bytes when it differs from `shadow`. The program may be storing into
// it at this moment, as it may under a real page cache; ThreadSanitizer need not know.
TEST_NO_TSAN bool copy_if_changed(std::uint8_t* shadow, const std::uint8_t* mapped,
                                  std::size_t size) {
  const volatile std::uint8_t* const from = mapped;
  bool changed = false;
  std::size_t at = 0;
  for (; at + 8 <= size; at += 8) {
    const auto word = *reinterpret_cast<const volatile std::uint64_t*>(from + at);
    std::uint64_t old;
    __builtin_memcpy(&old, shadow + at, 8);
    if (old == word) continue;
    changed = true;
    __builtin_memcpy(shadow + at, &word, 8);
  }
  for (; at < size; ++at) {
    const std::uint8_t byte = from[at];
    changed = changed || shadow[at] != byte;
    shadow[at] = byte;
  }
  return changed;
}

}  // namespace

// ---- Images and changes ----

FaultFileSystem::Buffer& FaultFileSystem::Image::own(std::uint64_t room, bool pinned) {
  const auto bytes = static_cast<std::size_t>(room);
  if (pinned && bytes <= buffer->size()) return *buffer;
  if (pinned || buffer.use_count() > 1) {
    // Copied without what is past the end of the file: that may be a mapping's, or stale.
    auto copy = std::make_shared<Buffer>(std::max(bytes, static_cast<std::size_t>(size)));
    std::copy_n(buffer->begin(), size, copy->begin());
    buffer = std::move(copy);
  } else if (bytes > buffer->size()) {
    if (bytes > buffer->capacity()) buffer->reserve(bytes + bytes / 2);
    buffer->resize(bytes);
  }
  return *buffer;
}

void FaultFileSystem::Image::write(std::uint64_t offset, Bytes data, bool pinned) {
  if (data.empty()) return;
  if (offset + data.size() > size) resize(offset + data.size(), pinned);
  std::memcpy(own(size, pinned).data() + offset, data.data(), data.size());
}

void FaultFileSystem::Image::resize(std::uint64_t bytes, bool pinned) {
  if (bytes > size) {
    std::uint8_t* const data = own(bytes, pinned).data();
    std::memset(data + size, 0, static_cast<std::size_t>(bytes - size));
  }
  size = bytes;
}

void FaultFileSystem::apply(Image& image, const PendingChange& change) {
  switch (change.change) {
    case Change::write:
      image.write(change.offset, Bytes(*change.data));
      break;
    case Change::resize:
      image.resize(change.offset);
      break;
    case Change::extend:
      if (change.offset > image.size) image.resize(change.offset);
      break;
  }
}

void FaultFileSystem::for_each_atom(
    const PendingChange& change, FunctionRef<void(std::uint64_t offset, std::size_t size)> visit) {
  if (change.change != Change::write) return visit(change.offset, 0);
  const std::uint64_t end = change.offset + change.data->size();
  for (std::uint64_t at = change.offset; at < end;) {
    const std::uint64_t next = std::min(end, at - at % kAtomBytes + kAtomBytes);
    visit(at, static_cast<std::size_t>(next - at));
    at = next;
  }
}

void FaultFileSystem::apply_atom(Image& image, const PendingChange& change, std::uint64_t offset,
                                 std::size_t size, AtomFate fate) {
  if (fate == AtomFate::absent) return;
  if (change.change != Change::write) return apply(image, change);
  const Bytes data(change.data->data() + (offset - change.offset), size);
  if (offset + size > image.size) image.resize(offset + size);
  std::uint8_t bytes[kAtomBytes] = {};
  switch (fate) {
    case AtomFate::absent:
      break;
    case AtomFate::present:
      image.write(offset, data);
      break;
    case AtomFate::half:
      image.write(offset, data.sub(0, (size + 1) / 2));
      break;
    case AtomFate::zero:
      image.write(offset, Bytes(bytes, size));
      break;
    case AtomFate::garbage:
      base::Random random(offset * 31 + size);
      for (std::uint8_t& byte : bytes) byte = static_cast<std::uint8_t>(random.next());
      image.write(offset, Bytes(bytes, size));
      break;
  }
}

void FaultFileSystem::absorb(State& state, Inode inode) {
  FileState& file = state.files[inode];
  if (!file.mapped_writable) return;
  const std::uint8_t* const live = file.live.buffer->data();
  const auto end = static_cast<std::size_t>(file.live.size);
  for (std::size_t at = 0; at < end; at += kAtomBytes) {
    const std::size_t size = std::min(kAtomBytes, end - at);
    std::uint8_t* const shadow = file.shadow.data() + at;
    if (!copy_if_changed(shadow, live + at, size)) continue;
    state.changes.push_back(
        {inode, Change::write, at, std::make_shared<Buffer>(shadow, shadow + size)});
  }
}

void FaultFileSystem::absorb_all(State& state) {
  for (const auto& [inode, file] : state.files) absorb(state, inode);
}

void FaultFileSystem::change_live(Inode inode, PendingChange change) {
  absorb(state_, inode);
  FileState& file = state_.files[inode];
  const bool pinned = file.mappings != 0;
  switch (change.change) {
    case Change::write:
      file.live.write(change.offset, Bytes(*change.data), pinned);
      break;
    case Change::resize:
    case Change::extend:
      file.live.resize(change.offset, pinned);
      break;
  }
  if (file.mapped_writable) {
    file.shadow.resize(static_cast<std::size_t>(file.live.size));
    if (change.change == Change::write) {
      std::copy(change.data->begin(), change.data->end(),
                file.shadow.begin() + static_cast<std::ptrdiff_t>(change.offset));
    }
  }
  state_.changes.push_back(std::move(change));
}

// ---- Space ----

std::uint64_t FaultFileSystem::used_bytes_locked() const {
  std::uint64_t blocks = 0;
  const auto add = [&](const FileState& file) {
    blocks += static_cast<std::uint64_t>(std::count(file.blocks.begin(), file.blocks.end(), true));
  };
  for (const auto& [name, inode] : state_.live) {
    if (inode != 0) add(state_.files.at(inode));
  }
  for (const auto& opened : open_) {
    const bool named = std::any_of(state_.live.begin(), state_.live.end(),
                                   [&](const auto& item) { return item.second == opened.first; });
    if (!named) add(state_.files.at(opened.first));
  }
  return blocks * kBlockBytes;
}

std::uint64_t FaultFileSystem::take_blocks(FileState& file, std::uint64_t offset,
                                           std::uint64_t size, bool all_or_nothing) {
  if (size == 0) return 0;
  const auto first = static_cast<std::size_t>(offset / kBlockBytes);
  const auto last = static_cast<std::size_t>((offset + size - 1) / kBlockBytes);
  const auto has = [&](std::size_t at) { return at < file.blocks.size() && file.blocks[at]; };
  std::uint64_t missing = 0;
  for (std::size_t at = first; at <= last; ++at) missing += has(at) ? 0 : 1;
  if (missing == 0) return size;
  std::uint64_t left = ~std::uint64_t{0};
  if (capacity_ != ~std::uint64_t{0}) {
    const std::uint64_t used = used_bytes_locked();
    left = used < capacity_ ? (capacity_ - used) / kBlockBytes : 0;
  }
  if (all_or_nothing && missing > left) return 0;
  for (std::size_t at = first; at <= last; ++at) {
    if (has(at)) continue;
    if (left == 0) {
      const std::uint64_t end = static_cast<std::uint64_t>(at) * kBlockBytes;
      return end > offset ? end - offset : 0;
    }
    left -= 1;
    if (at >= file.blocks.size()) file.blocks.resize(at + 1);
    file.blocks[at] = true;
  }
  return size;
}

void FaultFileSystem::set_capacity(std::uint64_t bytes) {
  const base::MutexLock lock(mutex_);
  capacity_ = bytes;
}

void FaultFileSystem::set_mappable(bool mappable) {
  const base::MutexLock lock(mutex_);
  mappable_ = mappable;
}

std::uint64_t FaultFileSystem::used_bytes() const {
  const base::MutexLock lock(mutex_);
  return used_bytes_locked();
}

// ---- Becoming durable ----

Status FaultFileSystem::sync_file(Inode inode, const std::string& path,
                                  const std::optional<Fault>& fault) {
  absorb(state_, inode);
  FileState& file = state_.files[inode];
  if (!fault) {
    for (const PendingChange& change : state_.changes) {
      if (change.inode == inode) apply(file.durable, change);
    }
  }
  // After a failure too: the kernel holds the pages for clean, and tells of the loss only once.
  std::erase_if(state_.changes, [&](const PendingChange& change) { return change.inode == inode; });
  if (fault) {
    file.stale = true;
    return Status::from_os(fault->os_error, "injected fault: sync").at(path);
  }
  if (model_ == Model::ext4) {
    commit_operations([](const DirectoryOperation&) { return true; });
  }
  return {};
}

std::vector<std::string> FaultFileSystem::stale_files() const {
  const base::MutexLock lock(mutex_);
  std::vector<std::string> names;
  for (const auto& [name, inode] : state_.live) {
    if (inode != 0 && state_.files.at(inode).stale) names.push_back(name);
  }
  return names;
}

void FaultFileSystem::drop_cache_of(Inode inode) {
  absorb(state_, inode);
  FileState& file = state_.files[inode];
  file.stale = false;
  Image disk = file.durable;
  for (const PendingChange& change : state_.changes) {
    if (change.inode == inode) apply(disk, change);
  }
  if (file.mappings == 0) {
    file.live = std::move(disk);
    return;
  }
  // A mapping shows the new bytes too.
  file.live.resize(disk.size, true);
  std::copy_n(disk.buffer->begin(), disk.size, file.live.buffer->begin());
  if (file.mapped_writable) {
    file.shadow.assign(disk.buffer->begin(),
                       disk.buffer->begin() + static_cast<std::ptrdiff_t>(disk.size));
  }
}

void FaultFileSystem::commit_operations(
    FunctionRef<bool(const DirectoryOperation& operation)> which) {
  std::vector<DirectoryOperation> kept;
  for (DirectoryOperation& operation : state_.operations) {
    if (which(operation)) {
      apply(state_.durable, operation);
    } else {
      kept.push_back(std::move(operation));
    }
  }
  state_.operations = std::move(kept);
  drop_unnamed();
}

// Forgets files that no name, operation or handle leads to.
void FaultFileSystem::drop_unnamed() {
  std::map<Inode, bool> wanted;
  for (const auto& [name, inode] : state_.live) wanted[inode] = true;
  for (const auto& [name, inode] : state_.durable) wanted[inode] = true;
  for (const auto& operation : state_.operations) wanted[operation.inode] = true;
  for (const auto& [inode, handles] : open_) wanted[inode] = true;
  const auto unwanted = [&](Inode inode) { return !wanted.contains(inode); };
  std::erase_if(state_.files, [&](const auto& item) {
    return item.second.mappings == 0 && unwanted(item.first);
  });
  std::erase_if(state_.changes,
                [&](const PendingChange& change) { return !state_.files.contains(change.inode); });
}

// ---- Crashes ----

void FaultFileSystem::invalidate_handles() {
  generation_ += 1;
  locks_.clear();
  open_.clear();
}

void FaultFileSystem::kill_process() {
  const base::MutexLock lock(mutex_);
  absorb_all(state_);
  for (auto& [inode, file] : state_.files) {
    if (file.mappings == 0) continue;
    // Away from the mapping, through which the dead may still store.
    file.live.buffer = std::make_shared<Buffer>(*file.live.buffer);
    file.mappings = 0;
    file.mapped_writable = false;
    file.shadow = {};
  }
  invalidate_handles();
  drop_unnamed();
}

void FaultFileSystem::power_cut(FunctionRef<AtomFate(const PendingAtom& atom)> fate,
                                FunctionRef<bool(std::size_t operation)> keep) {
  const base::MutexLock lock(mutex_);
  absorb_all(state_);
  std::unordered_map<Inode, std::string_view> paths;
  for (const auto& [name, inode] : state_.durable) paths[inode] = name;
  for (const auto& [name, inode] : state_.live) paths[inode] = name;

  std::map<Inode, Image> images;
  std::size_t index = 0;
  for (const PendingChange& change : state_.changes) {
    auto [image, fresh] = images.try_emplace(change.inode);
    if (fresh) image->second = state_.files[change.inode].durable;
    const auto path = paths.find(change.inode);
    PendingAtom atom;
    atom.inode = change.inode;
    if (path != paths.end()) atom.path = path->second;
    for_each_atom(change, [&, at = image](std::uint64_t offset, std::size_t size) {
      atom.index = index++;
      atom.offset = offset;
      atom.size = size;
      apply_atom(at->second, change, offset, size, fate(atom));
    });
  }

  State next;
  next.inode_next = state_.inode_next;
  Names names = state_.durable;
  for (std::size_t at = 0; at < state_.operations.size(); ++at) {
    if (keep(at)) apply(names, state_.operations[at]);
  }
  // Parents sort before what is in them, so one pass finds what can be reached.
  for (const auto& [name, inode] : names) {
    if (parent_error(next.live, name) != 0) continue;
    next.live.emplace(name, inode);
    if (inode == 0 || next.files.contains(inode)) continue;
    const auto changed = images.find(inode);
    FileState& before = state_.files[inode];
    FileState& file = next.files[inode];
    file.durable = changed == images.end() ? before.durable : std::move(changed->second);
    file.live = file.durable;
    file.blocks = std::move(before.blocks);
    const std::uint64_t blocks = (file.live.size + kBlockBytes - 1) / kBlockBytes;
    if (blocks < file.blocks.size()) file.blocks.resize(static_cast<std::size_t>(blocks));
  }
  next.durable = next.live;
  state_ = std::move(next);
  invalidate_handles();
}

void FaultFileSystem::power_cut_lose_all() {
  power_cut([](const PendingAtom&) { return AtomFate::absent; }, [](std::size_t) { return false; });
}

void FaultFileSystem::power_cut_keep_all() {
  power_cut([](const PendingAtom&) { return AtomFate::present; }, [](std::size_t) { return true; });
}

void FaultFileSystem::power_cut_random(std::uint64_t seed, Tearing tearing,
                                       std::string_view name_end) {
  base::Random random(seed);
  const std::size_t atoms = pending_atoms();
  const std::size_t operations = pending_directory_operations();
  // Operations: a prefix, or any subset where the model allows that.
  const std::uint64_t prefix = random.below(operations + 1);
  const bool subset = model_ == Model::strict && random.one_in(2);
  // Atoms: a prefix whose last one is torn somehow, or a mix; each with its own leaning.
  const std::uint64_t style = random.below(3);
  const std::uint64_t cut = random.below(atoms + 1);
  const std::uint64_t present_of_8 = random.below(9);
  const auto torn = [&](const PendingAtom& atom) {
    const auto fate = static_cast<AtomFate>(random.below(5));
    const bool any = tearing == Tearing::any || !atom.path.ends_with(name_end);
    if (any || fate <= AtomFate::present) return fate;
    return tearing == Tearing::half ? AtomFate::half : AtomFate::present;
  };
  power_cut(
      [&](const PendingAtom& atom) {
        if (style == 0) {
          if (atom.index + 1 == cut) return torn(atom);
          return atom.index < cut ? AtomFate::present : AtomFate::absent;
        }
        if (style == 1 && random.below(4) == 0) return torn(atom);
        return random.below(8) < present_of_8 ? AtomFate::present : AtomFate::absent;
      },
      [&](std::size_t operation) { return subset ? random.one_in(2) : operation < prefix; });
}

std::size_t FaultFileSystem::pending_atoms() const {
  const base::MutexLock lock(mutex_);
  absorb_all(state_);
  std::size_t count = 0;
  for (const PendingChange& change : state_.changes) {
    for_each_atom(change, [&](std::uint64_t, std::size_t) { count += 1; });
  }
  return count;
}

std::size_t FaultFileSystem::pending_directory_operations() const {
  const base::MutexLock lock(mutex_);
  return state_.operations.size();
}

// ---- States ----

FaultFileSystem::Snapshot FaultFileSystem::snapshot() const {
  const base::MutexLock lock(mutex_);
  absorb_all(state_);
  auto copy = std::make_shared<State>(state_);
  for (auto& [inode, file] : copy->files) {
    if (file.mappings == 0) continue;
    // The mapped bytes go on changing in place. The shadow is what was absorbed of them.
    auto bytes = file.mapped_writable ? std::make_shared<Buffer>(std::move(file.shadow))
                                      : std::make_shared<Buffer>(*file.live.buffer);
    file.live.buffer = std::move(bytes);
    file.mappings = 0;
    file.mapped_writable = false;
    file.shadow = {};
  }
  Snapshot snapshot;
  snapshot.state_ = std::move(copy);
  return snapshot;
}

void FaultFileSystem::restore(const Snapshot& snapshot) {
  const base::MutexLock lock(mutex_);
  state_ = *snapshot.state_;
  invalidate_handles();
}

std::uint64_t FaultFileSystem::hash() const {
  const base::MutexLock lock(mutex_);
  absorb_all(state_);
  std::uint64_t sum = 0;
  for (const auto& [name, inode] : state_.live) {
    const Bytes text(name);
    sum = base::hash64(text.data(), text.size(), sum + (inode == 0 ? 1 : 2));
    if (inode == 0) continue;
    const Image& live = state_.files.at(inode).live;
    sum = base::hash64(live.buffer->data(), static_cast<std::size_t>(live.size), sum);
  }
  return sum;
}

}  // namespace armdb::test
#undef TEST_NO_TSAN
