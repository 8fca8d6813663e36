// EpochDomain: the rare parts. The protocol is described in epoch.hpp.
#include "base/epoch.hpp"

#include <new>

#include "base/check.hpp"

namespace armdb::base {

std::atomic<std::uintptr_t>* EpochDomain::enter_elsewhere(std::size_t first,
                                                          std::uintptr_t epoch) noexcept {
  for (std::size_t step = 1; step < kSlots; ++step) {
    std::atomic<std::uintptr_t>& slot = slots_[(first + step) % kSlots].epoch;
    step_point(Step::write, &slot);
    std::uintptr_t free = slot.load(std::memory_order_relaxed);
    if (free == 0 && slot.compare_exchange_strong(free, epoch, std::memory_order_seq_cst,
                                                  std::memory_order_relaxed)) {
      full_fence();
      return &slot;
    }
  }
  step_point(Step::write, &overflow_);
  overflow_.fetch_add(1, std::memory_order_seq_cst);
  full_fence();
  return nullptr;
}

std::uintptr_t EpochDomain::oldest_guard() const noexcept {
  step_point(Step::read, &overflow_);
  // Acquire pairs with the release in leave(): point (3) of the protocol.
  if (overflow_.load(std::memory_order_acquire) != 0) return 0;
  std::uintptr_t oldest = static_cast<std::uintptr_t>(-1);
  for (const Slot& slot : slots_) {
    step_point(Step::read, &slot.epoch);
    const std::uintptr_t epoch = slot.epoch.load(std::memory_order_acquire);
    if (epoch != 0 && epoch < oldest) oldest = epoch;
  }
  return oldest;
}

void EpochDomain::retire(void* object, void (*reclaim)(void*)) noexcept {
  auto* retired = new (std::nothrow) Retired{object, reclaim, 0, nullptr};
  if (retired == nullptr) return;
  const MutexLock lock(mutex_);
  step_point(Step::write, &epoch_);
  // Release pairs with the acquire in enter(): point (1). A locked instruction, and with it on
  // x86 a full fence; acq_rel so that stamps also order retiring threads.
  retired->stamp = epoch_.fetch_add(1, std::memory_order_acq_rel);
  retired->next = retired_;
  retired_ = retired;
  pending_ += 1;
}

// Those that no guard can reach any more, taken off the list.
EpochDomain::Retired* EpochDomain::take_ready(std::size_t& count) noexcept {
  const MutexLock lock(mutex_);
  if (retired_ == nullptr) return nullptr;
#if !defined(ARMDB_OMIT_THREADS)
  std::atomic_thread_fence(std::memory_order_seq_cst);  // F_C
#endif
  const std::uintptr_t oldest = oldest_guard();
  Retired* ready = nullptr;
  for (Retired** link = &retired_; *link != nullptr;) {
    Retired* const retired = *link;
    if (retired->stamp < oldest) {
      *link = retired->next;
      retired->next = ready;
      ready = retired;
      count += 1;
    } else {
      link = &retired->next;
    }
  }
  pending_ -= count;
  return ready;
}

std::size_t EpochDomain::collect() noexcept {
  std::size_t count = 0;
  for (Retired* ready = take_ready(count); ready != nullptr;) {
    Retired* const retired = ready;
    ready = retired->next;
    retired->reclaim(retired->object);
    delete retired;
  }
  return count;
}

std::size_t EpochDomain::pending() const noexcept {
  const MutexLock lock(mutex_);
  return pending_;
}

EpochDomain::~EpochDomain() {
  ARMDB_ASSERT(oldest_guard() == static_cast<std::uintptr_t>(-1));
  // A reclaimer may retire more.
  while (collect() != 0) {
  }
}

}  // namespace armdb::base
