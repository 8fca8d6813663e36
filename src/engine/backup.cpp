// Backups: a copy of the collection in a directory of its own, under another key or none.
#include "base/errors.hpp"
#include "engine/engine.hpp"
#include "os/thread.hpp"
#include "store/collection_files.hpp"

namespace armdb::engine {

Status Shard::freeze(store::LogImage& image) {
  const base::MutexLock lock(mutex_);
  Status status = refuse_if_closed();
  return status.ok() && log_ != nullptr ? log_->freeze(image) : status;
}

Status Shard::copy(const store::LogImage& image, const store::Keyring* keys, FileSystem& to,
                   const std::string& directory) {
  return log_ != nullptr ? store::copy_log(context_, image, to, directory)
                         : copy_slots(keys, to, directory);
}

// Each entry as it is at some moment, under its version.
Status Shard::copy_slots(const store::Keyring* keys, FileSystem& to, const std::string& directory) {
  store::StoreContext context{to,
                              context_.config,
                              context_.epochs,
                              directory,
                              context_.store_id,
                              context_.shard,
                              context_.shard_count,
                              context_.shape,
                              false,
                              keys};
  store::SlotOptions options;
  options.copies = slots_->copies();
  Result<std::unique_ptr<store::SlotStore>> copy = store::SlotStore::open(
      context, options, [](store::Store&, const store::RecoveredEntry&) { return Status(); });
  if (!copy.ok()) return std::move(copy).status();
  Status status = (*copy)->start();
  VerifyReport report;
  if (status.ok()) {
    // compact() moves slots from behind to places that were copied before: not meanwhile.
    const base::MutexLock maintenance(maintenance_);
    status = each_slot(
        0, report, [&](const store::RecoveredEntry& entry) { return (*copy)->adopt(entry); },
        [](std::uint64_t) { return Status(); });
  }
  return status.ok() ? (*copy)->close() : status;
}

Status Engine::backup_to(const std::string& path, const EncryptionKey& key, Cipher cipher) {
  Status status = refuse_upkeep();
  if (status.ok()) status = store::Keyring::check(key);
  if (status.ok() && shape_.fixed && common_.migrating) {
    status = Status(Errc::unsupported, "a migration is under way: finish it before the backup");
  }
  if (!status.ok()) return std::move(status).at(path_);
  return copy_to(path, key, cipher).at(path);
}

// What goes wrong here is told with the path, where no file is named.
Status Engine::copy_to(const std::string& path, const EncryptionKey& key, Cipher cipher) {
  FileSystem& plain = plain_files();
  Owned<FileLock> lock;
  Status status = store::begin_copy(plain, path, lock);
  store::Description description = description_;
  description.cipher = Cipher::stored;
  std::unique_ptr<store::Keyring> ring;
  if (status.ok()) {
    status = store::Keyring::settle(plain, path, key, cipher, true, description, ring);
  }
  if (!status.ok()) return status;
  FileSystem& to = ring == nullptr ? plain : ring->sealed_files();

  std::vector<store::LogImage> images(shards_.size());
  {
    // No batch over several shards comes between two of them.
    const base::MutexLock joint(joint_mutex_);
    for (std::size_t at = 0; status.ok() && at < shards_.size(); ++at) {
      status = shards_[at]->freeze(images[at]);
    }
  }
  for (std::size_t at = 0; status.ok() && at < shards_.size(); ++at) {
    const std::string directory = store::shard_path(path, static_cast<std::uint32_t>(at));
    status = plain.create_directory(directory);
    if (status.ok()) status = shards_[at]->copy(images[at], ring.get(), to, directory);
  }
  if (status.ok()) {
    const base::MutexLock state(state_mutex_);
    status = store::replace_state(to, path, state_);
  }
  // db.meta comes last: without it nothing opens.
  if (status.ok()) status = store::create_description(plain, path, description);
  return status;
}

}  // namespace armdb::engine
