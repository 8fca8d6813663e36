// Compactor: a background thread that compacts a collection while it lives.
#pragma once

#include <cstdint>

#include "api/collection.hpp"

namespace armdb {

struct CompactorOptions {
  std::uint64_t step_bytes = std::uint64_t{4} << 20;  // read per step, before it looks up
  std::uint32_t pause_ms = 1;    // after each step, so that it leaves the disk to others
  std::uint32_t idle_ms = 1000;  // when there was nothing to do
};

// The library starts no thread unasked: this is the asking. The collection must outlive it
// (moving its handle is harmless). Stops, and waits for the running step, when it is destroyed.
// Threads: one owner.
class Compactor {
 public:
  Compactor() noexcept = default;
  Compactor(Compactor&&) noexcept;
  Compactor& operator=(Compactor&&) noexcept;
  ~Compactor();
  // `unsupported` in builds with ARMDB_OMIT_THREADS: call compact_step() there.
  static Result<Compactor> start(Collection& collection, CompactorOptions options = {});
  // The error that the last step met; ok when it went well. It goes on trying.
  Status last_error() const;
  void stop();

 private:
  struct State;
  explicit Compactor(State* state) noexcept : state_(state) {}
  State* state_ = nullptr;
};

}  // namespace armdb
