// Tests of the page source.
#include "os/pages.hpp"

#include <cstring>
#include <fstream>
#include <memory>
#include <string>

#include "support/catch.hpp"

using namespace armdb;

namespace {

// Bytes of address space of this process; 0 where there is no /proc.
[[maybe_unused]] std::size_t address_space_pages() {
  std::ifstream in("/proc/self/statm");
  std::size_t pages = 0;
  in >> pages;
  return pages;
}

[[maybe_unused]] constexpr bool kPlainAddressSpace =
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    false;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
    false;
#else
    true;
#endif
#else
    true;
#endif

}  // namespace

TEST_CASE("pages: memory is zero, writable to its last byte and aligned") {
  const base::PageSource pages = os::page_source();
  for (const std::size_t nth : {std::size_t{0}, std::size_t{1}, std::size_t{7}}) {
    for (const std::size_t bytes :
         {std::size_t{1}, std::size_t{4096}, std::size_t{100000}, std::size_t{2} << 20,
          (std::size_t{2} << 20) + 4096 * 3 + 5, std::size_t{8} << 20}) {
      auto* memory = static_cast<std::uint8_t*>(pages.allocate(bytes, nth));
      REQUIRE(memory != nullptr);
      CHECK(reinterpret_cast<std::uintptr_t>(memory) % 64 == 0);
#if !defined(ARMDB_OMIT_MMAP)
      if (nth > 0 && bytes >= std::size_t{2} << 20) {
        CHECK(reinterpret_cast<std::uintptr_t>(memory) % (std::size_t{2} << 20) == 0);
      }
#endif
      CHECK(memory[0] == 0);
      CHECK(memory[bytes - 1] == 0);
      std::memset(memory, 1, bytes);
      pages.release(memory, bytes);
    }
  }
}

TEST_CASE("pages: a size that cannot be had is null") {
  const base::PageSource pages = os::page_source();
  CHECK(pages.allocate(~std::size_t{0} - 100, 0) == nullptr);
  CHECK(pages.allocate(~std::size_t{0} - (std::size_t{3} << 20), 1) == nullptr);
}

TEST_CASE("pages: exactly what was mapped is released") {
  if (!kPlainAddressSpace || address_space_pages() == 0) return;
  const base::PageSource pages = os::page_source();
  const auto round = [&] {
    for (std::size_t nth = 0; nth < 50; ++nth) {
      const std::size_t bytes = (std::size_t{2} << 20) + nth * 5000;
      void* memory = pages.allocate(bytes, nth % 3);
      REQUIRE(memory != nullptr);
      pages.release(memory, bytes);
    }
  };
  round();
  const std::size_t before = address_space_pages();
  round();
  // Forgotten trimmings would be 17000 pages; an emulator's own memory may move a little.
  CHECK(address_space_pages() < before + 1000);
}

TEST_CASE("pages: an arena lives on them") {
  base::Arena arena(64, std::size_t{2} << 20, os::page_source());
  for (int i = 0; i < 100000; ++i) REQUIRE(arena.allocate() != base::Arena::kNone);
  CHECK(arena.memory_bytes() >= 6400000);
}
