// Engine: a collection without types: its shards, and what concerns all of them.
//
// Threads: any thread may call any member beside any other; close() may run beside calls, which
// then answer `closed`.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "base/epoch.hpp"
#include "core/config.hpp"
#include "core/file_system.hpp"
#include "engine/router.hpp"
#include "engine/shard.hpp"

namespace armdb::engine {

class Engine {
 public:
  // `shape` is checked against the stored one; without it (null) the stored one is taken and the
  // collection must exist.
  static Result<std::unique_ptr<Engine>> open(const std::string& path, const Shape* shape,
                                              const Config& config);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // Fills in hash and shard; the rest of `request` is the caller's.
  Status write(WriteRequest& request, bool sync);
  // Plain puts, written group by group: after an error those of earlier groups are there.
  Status put_many(std::span<const BytesPair> pairs);
  [[nodiscard]] bool find(const std::uint8_t* key, std::uint8_t* value) const noexcept {
    const std::uint64_t hash = router_.hash(key, shape_.key_size);
    return shards_[router_.shard(key, shape_.key_size, hash)]->find(key, hash, value);
  }
  void find_many(std::span<BytesLookup> gets) const noexcept;
  Result<bool> read(Bytes key, FunctionRef<void(Bytes)> use) const;
  Result<bool> read_view(Bytes key, ByteView& out) const;

  Status flush();
  Status sync();
  Status checkpoint();
  Status warmup();
  Result<VerifyReport> verify();
  Status compact();
  Result<bool> compact_step(std::uint64_t budget);
  Status close();

  [[nodiscard]] bool closed() const noexcept { return closed_.load(std::memory_order_acquire); }
  [[nodiscard]] const Shape& shape() const noexcept { return shape_; }
  [[nodiscard]] const Config& config() const noexcept { return config_; }
  [[nodiscard]] const std::string& path() const noexcept { return path_; }
  [[nodiscard]] const Router& router() const noexcept { return router_; }
  [[nodiscard]] std::uint32_t shard_count() const noexcept { return router_.shard_count(); }
  [[nodiscard]] Shard& shard(std::uint32_t at) const noexcept { return *shards_[at]; }
  [[nodiscard]] std::size_t size() const noexcept;
  // The smallest of the shards' durable sequences does not compare between shards; this is the
  // one of the shard that `key` belongs to.
  [[nodiscard]] std::uint64_t durable_sequence(std::uint32_t at) const noexcept {
    return shards_[at]->durable_sequence();
  }
  [[nodiscard]] Stats stats() const;

 private:
  Engine(std::string path, const Config& config) : path_(std::move(path)), config_(config) {}
  friend class Opening;

  Status refuse_if_closed() const;
  Status on_all_shards(FunctionRef<Status(Shard&)> what);

  const std::string path_;
  const Config config_;
  Shape shape_;
  Router router_;
  Owned<FileLock> lock_;
  base::EpochDomain epochs_;
  std::vector<std::unique_ptr<Shard>> shards_;  // before epochs_ ends
  std::atomic<bool> closed_{false};
  std::atomic<std::uint32_t> compact_next_{0};  // the shard a compact_step() turns to
};

}  // namespace armdb::engine
