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

Status Shard::copy(const store::LogImage& image, FileSystem& to, const std::string& directory) {
  if (log_ == nullptr) {
    return Status(Errc::unsupported, "a Fixed collection is copied with dump and load");
  }
  return store::copy_log(context_, image, to, directory);
}

Status Engine::backup_to(const std::string& path, const EncryptionKey& key, Cipher cipher) {
  Status status = refuse_if_closed();
  if (status.ok()) status = refuse_write();
  if (status.ok()) status = store::Keyring::check(key);
  if (!status.ok()) return status;
  FileSystem& plain = plain_files();
  Owned<FileLock> lock;
  status = store::begin_copy(plain, path, lock);
  store::Description description = description_;
  description.cipher = Cipher::stored;
  std::unique_ptr<store::Keyring> ring;
  if (status.ok()) {
    status = store::Keyring::settle(plain, path, key, cipher, true, description, ring);
  }
  if (!status.ok()) return std::move(status).at(path);
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
    status = plain.create_directory(directory).at(directory);
    if (status.ok()) status = shards_[at]->copy(images[at], to, directory);
  }
  if (status.ok()) {
    const base::MutexLock state(state_mutex_);
    status = store::replace_state(to, path, state_);
  }
  // db.meta comes last: without it nothing opens.
  if (status.ok()) status = store::create_description(plain, path, description);
  return std::move(status).at(path);
}

}  // namespace armdb::engine
