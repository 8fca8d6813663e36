// Anonymous mappings for arenas: aligned by mapping too much and giving the rest back.
#include "os/pages.hpp"

#if !defined(ARMDB_OMIT_MMAP)
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#endif

namespace armdb::os {

#if defined(ARMDB_OMIT_MMAP)

base::PageSource page_source() noexcept { return base::PageSource::heap(); }

#else

namespace {

constexpr std::size_t kHugePageBytes = std::size_t{2} << 20;

// What is mapped for a request; munmap wants whole pages. 0 when there is no such number.
std::size_t mapped_bytes(std::size_t bytes) noexcept {
  const long page_or_error = ::sysconf(_SC_PAGESIZE);
  const std::size_t page = page_or_error > 0 ? static_cast<std::size_t>(page_or_error) : 4096;
  if (bytes == 0 || bytes > static_cast<std::size_t>(-1) - kHugePageBytes - page) return 0;
  return (bytes + page - 1) / page * page;
}

void* map_anonymous(std::size_t bytes) noexcept {
  void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return memory == MAP_FAILED ? nullptr : memory;
}

void* allocate_pages(std::size_t request, std::size_t nth) noexcept {
  const std::size_t bytes = mapped_bytes(request);
  if (bytes == 0) return nullptr;
  if (nth == 0 || bytes < kHugePageBytes) {
    void* memory = map_anonymous(bytes);
#if defined(MADV_NOHUGEPAGE)
    // Where huge pages are the system's default, touching one byte would take 2 MiB.
    if (memory != nullptr && nth == 0) ::madvise(memory, bytes, MADV_NOHUGEPAGE);
#endif
    return memory;
  }

  auto* const start = static_cast<std::uint8_t*>(map_anonymous(bytes + kHugePageBytes));
  if (start == nullptr) return map_anonymous(bytes);  // alignment is a wish
  const std::size_t over = reinterpret_cast<std::uintptr_t>(start) % kHugePageBytes;
  const std::size_t head = over == 0 ? 0 : kHugePageBytes - over;
  if (head != 0) ::munmap(start, head);
  if (head != kHugePageBytes) ::munmap(start + head + bytes, kHugePageBytes - head);
#if defined(MADV_HUGEPAGE)
  ::madvise(start + head, bytes, MADV_HUGEPAGE);
#endif
  return start + head;
}

void release_pages(void* memory, std::size_t request) noexcept {
  ::munmap(memory, mapped_bytes(request));
}

}  // namespace

base::PageSource page_source() noexcept { return {allocate_pages, release_pages}; }

#endif

}  // namespace armdb::os
