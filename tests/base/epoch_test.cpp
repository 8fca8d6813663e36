// Tests of EpochDomain.
#include "base/epoch.hpp"

#include <atomic>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "support/catch.hpp"

using armdb::base::EpochDomain;

namespace {

struct Tracked {
  std::atomic<int>* reclaimed;
  std::uint64_t first = 1;
  std::uint64_t second = 1;
  static void reclaim(void* object) {
    auto* self = static_cast<Tracked*>(object);
    self->reclaimed->fetch_add(1, std::memory_order_relaxed);
    self->first = 0;  // a reader that is still there would see it
    delete self;
  }
};

}  // namespace

TEST_CASE("epoch: what no guard saw is reclaimed at the next collect") {
  const auto domain = std::make_unique<EpochDomain>();
  std::atomic<int> reclaimed{0};
  CHECK(domain->collect() == 0);
  domain->retire(new Tracked{&reclaimed}, Tracked::reclaim);
  domain->retire(new Tracked{&reclaimed}, Tracked::reclaim);
  CHECK(domain->pending() == 2);
  CHECK(reclaimed == 0);
  CHECK(domain->collect() == 2);
  CHECK(reclaimed == 2);
  CHECK(domain->pending() == 0);
}

TEST_CASE("epoch: a guard holds what was retired after it began, and only that") {
  const auto domain = std::make_unique<EpochDomain>();
  std::atomic<int> reclaimed{0};
  domain->retire(new Tracked{&reclaimed}, Tracked::reclaim);
  {
    const EpochDomain::Guard guard(*domain);
    domain->retire(new Tracked{&reclaimed}, Tracked::reclaim);
    domain->collect();
#if !defined(ARMDB_OMIT_THREADS)
    CHECK(reclaimed == 1);
#endif
    CHECK(domain->pending() >= 1);
    {
      const EpochDomain::Guard nested(*domain);
      domain->collect();
    }
    domain->collect();
    CHECK(reclaimed <= 1);
  }
  domain->collect();
  CHECK(reclaimed == 2);
}

TEST_CASE("epoch: any number of guards may be held at once, in any order of leaving") {
  const auto domain = std::make_unique<EpochDomain>();
  std::atomic<int> reclaimed{0};
  std::vector<std::unique_ptr<EpochDomain::Guard>> guards;
  for (int i = 0; i < 200; ++i) guards.push_back(std::make_unique<EpochDomain::Guard>(*domain));
  domain->retire(new Tracked{&reclaimed}, Tracked::reclaim);
  while (guards.size() > 1) {
    guards.erase(guards.begin() + static_cast<std::ptrdiff_t>(guards.size() / 3));
    CHECK(domain->collect() == 0);
  }
  guards.clear();
  CHECK(domain->collect() == 1);
}

TEST_CASE("epoch: the end of the domain reclaims all, and reclaimers may retire") {
  std::atomic<int> reclaimed{0};
  struct Chain {
    EpochDomain* domain;
    std::atomic<int>* reclaimed;
    int left;
    static void reclaim(void* object) {
      auto* self = static_cast<Chain*>(object);
      *self->reclaimed += 1;
      if (self->left > 0) {
        self->domain->retire(new Chain{self->domain, self->reclaimed, self->left - 1}, reclaim);
      }
      delete self;
    }
  };
  {
    EpochDomain domain;
    domain.retire(new Chain{&domain, &reclaimed, 3}, Chain::reclaim);
  }
  CHECK(reclaimed == 4);
}

#if !defined(ARMDB_OMIT_THREADS)

TEST_CASE("epoch: readers never meet a reclaimed object", "[threads]") {
  const auto domain = std::make_unique<EpochDomain>();
  std::atomic<int> reclaimed{0};
  const auto current = std::make_unique<std::atomic<Tracked*>>(new Tracked{&reclaimed});
  std::atomic<bool> stop{false};
  std::atomic<bool> wrong{false};
  std::vector<std::thread> readers;
  for (int i = 0; i < 3; ++i) {
    readers.emplace_back([&] {
      while (!stop.load(std::memory_order_relaxed)) {
        const EpochDomain::Guard guard(*domain);
        const Tracked* object = current->load(std::memory_order_acquire);
        if (object->first != object->second) wrong = true;
        const EpochDomain::Guard nested(*domain);
        if (object->first != 1) wrong = true;
      }
    });
  }
  // Two writers, as two shards of a collection would.
  std::vector<std::thread> writers;
  constexpr int kWrites = 3000;
  for (int i = 0; i < 2; ++i) {
    writers.emplace_back([&] {
      for (int at = 0; at < kWrites; ++at) {
        Tracked* old = current->exchange(new Tracked{&reclaimed}, std::memory_order_acq_rel);
        domain->retire(old, Tracked::reclaim);
        domain->collect();
      }
    });
  }
  for (auto& thread : writers) thread.join();
  stop = true;
  for (auto& thread : readers) thread.join();
  CHECK_FALSE(wrong);
  domain->collect();
  CHECK(reclaimed == 2 * kWrites);
  delete current->load();
}

#endif
