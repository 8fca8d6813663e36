// Sealed tail: what the write buffer of an encrypted shard leaves in tail.buf for the case that the
// process dies.
//
// The buffer itself is plain memory then. Each entry, or each group of them that is written under
// one lock, is also sealed in a frame (format/sealed.hpp) in a file that is mapped shared. The
// frames stand one behind the other from the end of the header on, without regard to pages, with
// rising counters, and `position` is where in the segment their bytes belong. When the buffer is
// begun anew so are they: what is left behind the new ones has lower counters, or another seed.
//
// The key comes from a salt that each open draws anew, and again before its counter runs out.
//
// Threads: the holder of the shard's lock.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "store/frame_seal.hpp"
#include "store/store.hpp"

namespace armdb::store {

#if ARMDB_WITH_OPENSSL

class SealedTail {
 public:
  // Makes tail.buf, for a buffer of `capacity` bytes; what was in it is gone then. Null where there
  // are no shared mappings.
  static Status open(const StoreContext& context, const std::string& path, std::size_t capacity,
                     std::unique_ptr<SealedTail>& opened);
  // The plain bytes that a tail.buf holds, up to the first frame that does not follow.
  static Status read(const StoreContext& context, Bytes file, std::vector<std::uint8_t>& plain);

  // Adds bytes that belong at `position`. False when that failed: the file is of no use any more.
  [[nodiscard]] bool add(Bytes bytes, std::uint64_t position) noexcept;
  // The buffer begins anew. False as add().
  [[nodiscard]] bool restart() noexcept;

 private:
  SealedTail(const StoreContext& context) : context_(context) {}
  Status new_key();

  const StoreContext& context_;
  Owned<File> file_;
  Owned<Mapping> mapping_;
  FrameSeal seal_;
  std::size_t used_ = 0;
};

#else
// There never is one.
class SealedTail {
 public:
  static Status open(const StoreContext&, const std::string&, std::size_t,
                     std::unique_ptr<SealedTail>&) {
    return {};
  }
  static Status read(const StoreContext&, Bytes, std::vector<std::uint8_t>&) { return {}; }
  [[nodiscard]] bool add(Bytes, std::uint64_t) noexcept { return false; }
  [[nodiscard]] bool restart() noexcept { return false; }
};
#endif

}  // namespace armdb::store
