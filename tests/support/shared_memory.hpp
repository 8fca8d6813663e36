// SharedMemory: an object that this process and its children have in common, and that survives
// their deaths.
#pragma once

#include <sys/mman.h>

#include <new>
#include <type_traits>

namespace armdb::test {

// T begins as zeros. Threads: what T's members allow.
template <class T> class SharedMemory {
 public:
  static_assert(std::is_trivially_destructible_v<T>);
  SharedMemory() {
    void* const memory =
        ::mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    object_ = new (memory) T{};
  }
  ~SharedMemory() { ::munmap(object_, sizeof(T)); }
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;
  T& operator*() const { return *object_; }
  T* operator->() const { return object_; }

 private:
  T* object_;
};

}  // namespace armdb::test
