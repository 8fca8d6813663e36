// Sealed files: the files of an encrypted collection, which read and write like plain ones.
//
// A File of this FileSystem shows the plain bytes; on disk they lie in frames, format/sealed.hpp.
// What cannot be authenticated reads as zeros, which no part of armdb takes for data: the parsers
// above find that it is damaged, and say where. Files whose content tells nothing (`reserve`,
// marks) pass as they are, and so do tail.buf and slots.dat, whose pieces are sealed by those who
// write them.
//
// Invariants:
//   (1) A file is written by the open that created it, from front to end, and by nobody else later.
//   (2) A nonce is never used twice: the counter only rises, also when a write fails; the file's
//       key comes from a salt of 32 random bytes.
//   (3) Bytes that were written and acknowledged are never sealed again.
//
// There are no mappings: a read decrypts into the caller's buffer.
//
// Threads: as File and FileSystem say.
#pragma once

#include "core/file_system.hpp"

namespace armdb::store {

class Keyring;

// Both must outlive it. Null when out of memory.
[[nodiscard]] Owned<FileSystem> make_sealed_file_system(FileSystem& files, const Keyring& keys);

// The data key by which a file of this file system is sealed; not for those that pass.
[[nodiscard]] std::uint32_t sealed_key_id(const File& file) noexcept;

}  // namespace armdb::store
