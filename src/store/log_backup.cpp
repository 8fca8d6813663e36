// Copies of a log: its sealed segments as they are, in another directory, under another key or
// none.
#include <algorithm>
#include <new>

#include "base/errors.hpp"
#include "format/file_name.hpp"
#include "store/log_store.hpp"
#include "store/manifest_file.hpp"

namespace armdb::store {

namespace {

// The first `bytes` of a file; what is missing at its end is not there in the copy either.
Status copy_bytes(File& from, std::uint64_t bytes, FileSystem& to, const std::string& path) {
  constexpr std::size_t kPieceBytes = std::size_t{1} << 20;
  const auto most = static_cast<std::size_t>(std::min<std::uint64_t>(bytes, kPieceBytes));
  const std::unique_ptr<std::uint8_t[]> piece(new (std::nothrow) std::uint8_t[most]);
  if (piece == nullptr) return base::out_of_memory("no memory to copy a file");
  const Result<Owned<File>> file = to.open(path, OpenMode::create_new);
  Status status = file.status();
  for (std::uint64_t done = 0; status.ok() && done < bytes;) {
    const auto want = static_cast<std::size_t>(std::min<std::uint64_t>(bytes - done, most));
    const Result<std::size_t> got = from.read_at(done, {piece.get(), want});
    status = got.status();
    if (!got.ok() || *got == 0) break;
    status = (*file)->write_at(done, Bytes(piece.get(), *got));
    done += *got;
  }
  return status.ok() ? (*file)->sync() : status;
}

}  // namespace

Status LogStore::freeze(LogImage& image) {
  Status status = seal_active();
  if (!status.ok()) return status;
  image.segments = segments();
  // Here and not as they are copied: compaction may replace what this MANIFEST lists meanwhile.
  std::erase_if(image.segments, [](const SegmentPtr& segment) { return segment->retired; });
  image.manifest = manifest_image(durable_sequence());
  // That one was never written here.
  manifest_stale_ = true;
  return {};
}

Status copy_log(const StoreContext& context, const LogImage& image, FileSystem& to,
                const std::string& directory) {
  for (const SegmentPtr& segment : image.segments) {
    const std::string name = format::file_name(format::FileRole::segment, segment->id());
    Status status = copy_bytes(*segment->file, segment->length, to, path_in(directory, name));
    if (!status.ok()) return status;
    // A hint that compaction has removed since is of no use to the copy: that has its segment, and
    // scans it.
    const std::string hint = format::file_name(format::FileRole::hint, segment->id());
    Owned<File> from;
    std::uint64_t size = 0;
    if (!open_file(context.files, context.path_of(hint), OpenMode::read, from, size).ok()) continue;
    status = copy_bytes(*from, size, to, path_in(directory, hint));
    if (!status.ok()) return status;
  }
  return replace_file(to, directory, format::kManifestName, image.manifest);
}

}  // namespace armdb::store
