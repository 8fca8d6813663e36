// EpochDomain: lets readers use memory that a writer may retire, without a lock.
//
// A reader holds a Guard while it follows pointers. A writer first unlinks an object, so that
// nobody finds it any more, then retires it; it is reclaimed when no guard is left that could
// have seen it. Guards write their own cache line only.
//
// Protocol. E is the global epoch, S a slot; a slot that is not 0 belongs to a guard.
//
//   enter    e = E (acquire); S: 0 -> e (acquire: the slot's last owner); full fence F_R;
//            then the reader loads pointers.
//   leave    S = 0 (release).
//   retire   after unlinking: stamp = E, E = E + 1 (release).
//   collect  full fence F_C; loads all slots (acquire); an object may go when its stamp is below
//            every slot that is not 0.
//
//   (1) A guard with e > stamp read E from retire()'s increment, or a later one: acquire pairs
//       with that release, the unlinking happened before, and it does not find the object.
//   (2) A guard with e <= stamp either has F_R before F_C, and collect() sees its slot and waits;
//       or F_C before F_R, and its loads, which follow F_R, see the unlinking, which precedes F_C.
//   (3) A slot seen as 0, or as taken again, pairs its acquire with leave's release (an exchange
//       continues the release sequence): all that guard's reads happened before the reclaiming.
//
// A guard that finds no free slot is counted in overflow_ instead; nothing is reclaimed while
// there is such a one. It never waits, so that nested guards cannot block each other.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "base/mutex.hpp"
#include "base/step_point.hpp"

namespace armdb::base {

// Threads: any thread may call any member and hold any number of guards, nested too. No guard
// may outlive the domain.
class EpochDomain {
 public:
  // Holds off the reclaiming of what can be seen from now on. Short: a guard that stays keeps
  // everything retired after it.
  class Guard {
   public:
    explicit Guard(EpochDomain& domain) noexcept : domain_(domain), slot_(domain.enter()) {}
    ~Guard() { domain_.leave(slot_); }
    Guard(const Guard&) = delete;
    Guard& operator=(const Guard&) = delete;

   private:
    friend class EpochDomain;
    EpochDomain& domain_;
    std::atomic<std::uintptr_t>* slot_;
  };

  EpochDomain() noexcept = default;
  // Reclaims all that is left.
  ~EpochDomain();
  EpochDomain(const EpochDomain&) = delete;
  EpochDomain& operator=(const EpochDomain&) = delete;

  // Calls reclaim(object) once no guard can see it: in a later collect(), or in the destructor.
  // Nobody may find the object from here on. Out of memory: the object is never reclaimed, for
  // waiting instead could be for a guard of our own.
  void retire(void* object, void (*reclaim)(void*)) noexcept;

  // Reclaims what no guard can see; returns how many objects. Reclaimers run under no lock, and
  // may retire.
  std::size_t collect() noexcept;

  // How many objects wait.
  [[nodiscard]] std::size_t pending() const noexcept;

 private:
  static constexpr std::size_t kSlots = 64;

  struct alignas(64) Slot {
    std::atomic<std::uintptr_t> epoch{0};
  };
  struct Retired {
    void* object;
    void (*reclaim)(void*);
    std::uintptr_t stamp;
    Retired* next;
  };

  // The slot that was taken, or null when there was none and overflow_ counts.
  std::atomic<std::uintptr_t>* enter() noexcept;
  std::atomic<std::uintptr_t>* enter_elsewhere(std::size_t first, std::uintptr_t epoch) noexcept;
  void leave(std::atomic<std::uintptr_t>* slot) noexcept;
  // A stamp at or above this one may be seen by a guard.
  [[nodiscard]] std::uintptr_t oldest_guard() const noexcept;
  Retired* take_ready(std::size_t& count) noexcept;
  static void full_fence() noexcept;
  static std::size_t slot_of_this_thread() noexcept;

  Slot slots_[kSlots];
  alignas(64) std::atomic<std::uintptr_t> epoch_{1};  // one step per retire(): never wraps
  std::atomic<std::uintptr_t> overflow_{0};

  mutable Mutex mutex_;
  Retired* retired_ ARMDB_GUARDED_BY(mutex_) = nullptr;
  std::size_t pending_ ARMDB_GUARDED_BY(mutex_) = 0;
};

inline void EpochDomain::full_fence() noexcept {
#if defined(ARMDB_OMIT_THREADS)
#elif defined(__x86_64__) || defined(__i386__)
  // The locked instruction just before was a full fence; only the compiler must be told.
  std::atomic_signal_fence(std::memory_order_seq_cst);
#else
  std::atomic_thread_fence(std::memory_order_seq_cst);
#endif
}

inline std::size_t EpochDomain::slot_of_this_thread() noexcept {
#if defined(ARMDB_OMIT_THREADS)
  return 0;
#else
  // Its address tells threads apart; it is never read. Thread blocks lie pages apart, so the low
  // bits say nothing: multiply and take high ones.
  static thread_local char anchor;
  const auto address = static_cast<std::uint64_t>(reinterpret_cast<std::uintptr_t>(&anchor));
  return static_cast<std::size_t>((address * 0x9e3779b97f4a7c15u) >> 58);
#endif
}

inline std::atomic<std::uintptr_t>* EpochDomain::enter() noexcept {
  const std::size_t first = slot_of_this_thread();
  step_point(Step::read, &epoch_);
  const std::uintptr_t epoch = epoch_.load(std::memory_order_acquire);
  std::uintptr_t free = 0;
  step_point(Step::write, &slots_[first].epoch);
  if (slots_[first].epoch.compare_exchange_strong(free, epoch, std::memory_order_seq_cst,
                                                  std::memory_order_relaxed)) {
    full_fence();
    return &slots_[first].epoch;
  }
  return enter_elsewhere(first, epoch);
}

inline void EpochDomain::leave(std::atomic<std::uintptr_t>* slot) noexcept {
  step_point(Step::write, slot != nullptr ? slot : &overflow_);
  if (slot != nullptr) {
    slot->store(0, std::memory_order_release);
  } else {
    overflow_.fetch_sub(1, std::memory_order_release);
  }
}

}  // namespace armdb::base
