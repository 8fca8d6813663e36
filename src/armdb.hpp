// clang-format off

// Before the first put(), know this:
//
//   * A put() that returned survives a crash or kill -9 of the process, not a power cut: only what
//     sync() covered does. Where stats() says that the tail buffer is not mapped, even a process
//     crash asks for flush_buffers() first. README.md has the table.
//   * One process per collection. A second open is refused while the first one lives, and the
//     error names the holder. Inside the process a collection is shared by reference.
//   * The index lives in memory: all keys, and the values of Const, Zero and Typed collections.
//   * Keys have one fixed width per collection, set at compile time. Opening with another key
//     size, value size or order than the stored one is refused.
//   * Trees run from the largest key to the smallest by default (Config::reversed), because the
//     newest is asked for most. range(first, last) is [first, last) in both directions.
//   * Any thread may call any member of an open collection at any time, except moves and the
//     destructor, which need it alone. Iterators and cursors belong to one thread.
//   * After close() writes, syncs and reads of values on disk answer `closed`. What lies in memory
//     (contains, size, get of Const collections) still answers, with what was there then.
//   * Nothing throws; an ignored Status or Result is a compiler warning. value() on an error is
//     the one exception: it throws, or aborts in builds without exceptions.
//   * After a failed write or sync a shard is read-only, with a sticky error, until it is opened
//     again. A full disk is no_space instead, and writes resume when there is space.
//   * No thread, signal handler, environment variable or output unless you ask for it.
//   * Compile armdb.cpp with the same ARMDB_ switches as every file that includes armdb.hpp.

#pragma once

#include "core/version.hpp"
#include "core/bytes.hpp"
#include "core/byte_view.hpp"
#include "core/status.hpp"
#include "core/config.hpp"
#include "core/function_ref.hpp"
#include "core/owned.hpp"
#include "core/hook.hpp"
#include "core/file_system.hpp"
#include "core/stats.hpp"

#include "api/collection.hpp"
#include "api/compactor.hpp"
#include "api/replication.hpp"
#include "api/key_traits.hpp"
#include "api/codec.hpp"
#include "api/view.hpp"
#include "api/values.hpp"
#include "api/hook_adapter.hpp"
#include "api/face.hpp"
#include "api/collections.hpp"
#include "api/write_batch.hpp"
#include "api/collection_meta.hpp"
