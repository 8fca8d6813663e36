// Tests of shared word copies and the sequence lock.
#include "base/shared_bytes.hpp"

#include <memory>
#include <thread>
#include <vector>

#include "support/catch.hpp"

using namespace armdb::base;

TEST_CASE("shared_bytes: copies of any size bring over exactly their bytes", "[pitfall-38]") {
  alignas(8) std::uint8_t shared[48];
  for (std::size_t size = 0; size <= 40; ++size) {
    for (std::size_t shift = 0; shift < 8; ++shift) {  // of the private side, which may be anywhere
      std::uint8_t in[48];
      std::uint8_t out[56];
      for (std::size_t at = 0; at < sizeof in; ++at) in[at] = static_cast<std::uint8_t>(at + 1);
      std::memset(shared, 0xee, sizeof shared);
      std::memset(out, 0xdd, sizeof out);
      copy_to_shared(shared, in + (shift < 8 ? shift : 0), size);
      CHECK(std::memcmp(shared, in + shift, size) == 0);
      CHECK(shared[size] == 0xee);
      copy_from_shared(out + shift, shared, size);
      CHECK(std::memcmp(out + shift, in + shift, size) == 0);
      CHECK(out[shift + size] == 0xdd);
    }
  }
}

TEST_CASE("shared_bytes: a version is still the same until somebody writes") {
  Version version;
  const std::uint32_t before = version.begin_read();
  CHECK(before % 2 == 0);
  CHECK(version.still(before));
  version.begin_write();
  CHECK_FALSE(version.still(before));
  version.end_write();
  CHECK_FALSE(version.still(before));
  CHECK(version.still(version.begin_read()));
}

#if !defined(ARMDB_OMIT_THREADS)

namespace {

// Several nodes on the heap: ThreadSanitizer misses shared objects on a stack.
struct SeqlockNode {
  static constexpr std::size_t kBytes = 100;
  Version version;
  alignas(8) std::uint8_t bytes[kBytes] = {};
};

bool all_equal(const std::uint8_t* bytes) {
  for (std::size_t at = 1; at < SeqlockNode::kBytes; ++at) {
    if (bytes[at] != bytes[0]) return false;
  }
  return true;
}

}  // namespace

TEST_CASE("shared_bytes: a validated read is never a mixture of two writes", "[threads]") {
  constexpr std::size_t kNodes = 4;
  const auto nodes = std::make_unique<SeqlockNode[]>(kNodes);
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> mixed{0};
  std::atomic<std::uint64_t> read{0};
  std::vector<std::thread> readers;
  for (int i = 0; i < 2; ++i) {
    readers.emplace_back([&] {
      std::uint8_t copy[SeqlockNode::kBytes];
      std::uint64_t reads = 0;
      for (std::size_t at = 0; !stop.load(std::memory_order_relaxed); at = (at + 1) % kNodes) {
        const std::uint32_t version = nodes[at].version.begin_read();
        copy_from_shared(copy, nodes[at].bytes, sizeof copy);
        if (!nodes[at].version.still(version)) continue;
        reads += 1;
        if (!all_equal(copy)) mixed.fetch_add(1);
      }
      read.fetch_add(reads);
    });
  }
  std::uint8_t value[SeqlockNode::kBytes];
  for (std::uint32_t round = 0; round < 30000; ++round) {
    SeqlockNode& node = nodes[round % kNodes];
    std::memset(value, static_cast<int>(round & 0xff), sizeof value);
    node.version.begin_write();
    copy_to_shared(node.bytes, value, sizeof value);
    node.version.end_write();
    if (round % 64 == 0) std::this_thread::yield();
  }
  stop = true;
  for (auto& reader : readers) reader.join();
  CHECK(mixed == 0);
  CHECK(read > 0);
}

#endif
